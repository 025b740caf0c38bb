import { messageOf } from "../../base/index.ts";
import type { ApiRequest, ApiResponse } from "../../api/index.ts";
import { textResponse } from "./respond.ts";

export type HealthCheck = () => Promise<string | undefined> | string | undefined;

/** /healthz, /livez and /readyz, whole or by check, in upstream's text form. https://kubernetes.io/docs/reference/using-api/health-checks/ */
export class Health {
  readonly #checks = new Map<string, HealthCheck>([["ping", () => undefined]]);

  add(name: string, check: HealthCheck): void {
    this.#checks.set(name, check);
  }

  /** Undefined when the path is something else. */
  async answer({ path, query }: ApiRequest): Promise<ApiResponse | undefined> {
    const [, root = "", name, ...more] = path.split("/");
    if (!["healthz", "livez", "readyz"].includes(root) || more.length > 0) return undefined;
    if (name) {
      const check = this.#checks.get(name);
      return check ? this.#one(name, check) : undefined;
    }
    const excluded = new Set(query.getAll("exclude"));
    const lines: string[] = [];
    let failed = false;
    for (const [each, check] of this.#checks) {
      const problem = excluded.has(each) ? undefined : await run(check);
      failed ||= problem !== undefined;
      const state = excluded.has(each) ? "excluded: ok" : problem === undefined ? "ok" : "failed: reason withheld";
      lines.push(`[${problem === undefined ? "+" : "-"}]${each} ${state}`);
    }
    if (failed) return textResponse(`${lines.join("\n")}\n${root} check failed\n`, 500);
    return textResponse(query.has("verbose") ? `${lines.join("\n")}\n${root} check passed\n` : "ok");
  }

  async #one(name: string, check: HealthCheck): Promise<ApiResponse> {
    const problem = await run(check);
    if (problem === undefined) return textResponse("ok");
    return textResponse(`internal server error: ${name}: ${problem}\n`, 500);
  }
}

async function run(check: HealthCheck): Promise<string | undefined> {
  try {
    return await check();
  } catch (error) {
    return messageOf(error);
  }
}
