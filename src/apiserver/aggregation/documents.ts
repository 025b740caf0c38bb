import type { ApiResponse, UserInfo } from "../../api/index.ts";
import { unavailable } from "../../base/index.ts";
import type { ForeignDocuments } from "../machinery/options.ts";
import { forward, type Upstream } from "./proxy.ts";

const TIMEOUT_MS = 5_000;

interface Index {
  readonly paths?: Readonly<Record<string, { readonly serverRelativeURL?: string }>>;
}

/** Gets documents of a server behind us, as somebody who may. */
export class Asker {
  readonly #upstream: Upstream;
  readonly #user: UserInfo;

  constructor(upstream: Upstream, user: UserInfo) {
    this.#upstream = upstream;
    this.#user = user;
  }

  get(path: string): Promise<ApiResponse> {
    const headers = { accept: "application/json" };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return forward(this.#upstream, { method: "GET", path, query: new URLSearchParams(), headers, signal }, this.#user);
  }

  async json(path: string): Promise<Record<string, unknown>> {
    const { status, body } = await this.get(path);
    if (status !== 200) throw unavailable(`${path} was answered with status ${status}`);
    return JSON.parse(Buffer.from(body!).toString()) as Record<string, unknown>;
  }
}

/** What the server says of a group and version in OpenAPI: found now by its index, fetched when somebody asks. */
export async function documentsOf(asker: Asker, group: string, version: string): Promise<ForeignDocuments> {
  const path = `apis/${group}/${version}`;
  // Older servers have version 2 alone.
  const index = (await asker.json("/openapi/v3").catch(() => ({}))) as Index;
  const url = index.paths?.[path]?.serverRelativeURL;
  return {
    hash: url === undefined ? "" : (new URL(url, "https://server").searchParams.get("hash") ?? ""),
    versionTwo: () => asker.json("/openapi/v2"),
    versionThree: url === undefined ? undefined : () => asker.get(`/openapi/v3/${path}`),
  };
}
