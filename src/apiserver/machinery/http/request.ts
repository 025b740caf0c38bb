import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import type { TLSSocket } from "node:tls";
import { MAX_JSON_BODY_BYTES } from "../../../base/index.ts";
import type { ApiRequest } from "../../../api/index.ts";
import { tooLargeError } from "../status.ts";

export type HttpRequest = IncomingMessage | Http2ServerRequest;

const NO_QUERY = Object.freeze(new URLSearchParams());

/** An ApiRequest over a connection. What few requests need (query, signal, certificates) is made when asked for. */
export class WireRequest implements ApiRequest {
  readonly method: ApiRequest["method"];
  readonly path: string;
  readonly headers: ApiRequest["headers"];
  readonly body: Uint8Array | undefined;
  readonly #incoming: HttpRequest;
  readonly #queryText: string;
  readonly #onGone: (callback: () => void) => void;
  #query: URLSearchParams | undefined;
  #signal: AbortSignal | undefined;

  constructor(incoming: HttpRequest, body: Uint8Array | undefined, onGone: (callback: () => void) => void) {
    const url = incoming.url ?? "/";
    const mark = url.indexOf("?");
    this.#incoming = incoming;
    this.method = incoming.method as ApiRequest["method"];
    this.path = mark < 0 ? url : url.slice(0, mark);
    this.#queryText = mark < 0 ? "" : url.slice(mark + 1);
    this.headers = headersOf(incoming);
    this.body = body;
    this.#onGone = onGone;
  }

  get query(): URLSearchParams {
    return (this.#query ??= this.#queryText === "" ? NO_QUERY : new URLSearchParams(this.#queryText));
  }
  get remoteAddress(): string | undefined {
    return this.#incoming.socket?.remoteAddress;
  }
  get signal(): AbortSignal {
    if (!this.#signal) {
      const controller = new AbortController();
      this.#onGone(() => controller.abort());
      this.#signal = controller.signal;
    }
    return this.#signal;
  }
  get peerCertificates(): readonly Uint8Array[] | undefined {
    const socket = this.#incoming.socket as Partial<TLSSocket> | undefined;
    const first = socket?.getPeerX509Certificate?.();
    if (!first) return undefined;
    const chain = [first.raw];
    for (let next = first.issuerCertificate; next && chain.length < MAX_CHAIN; next = next.issuerCertificate) {
      if (next.raw.equals(chain.at(-1)!)) break;
      chain.push(next.raw);
    }
    return chain;
  }
}

const MAX_CHAIN = 10;

/** Reads a bounded body; undefined for none. Throws 413. */
export function readBody(incoming: HttpRequest): Promise<Uint8Array | undefined> | undefined {
  const { method, headers } = incoming;
  if (method === "GET" || method === "HEAD") return undefined;
  if (headers["content-length"] === "0") return undefined;
  if (Number(headers["content-length"] ?? 0) > MAX_JSON_BODY_BYTES)
    return Promise.reject(tooLargeError(MAX_JSON_BODY_BYTES));
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    incoming.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_JSON_BODY_BYTES) reject(tooLargeError(MAX_JSON_BODY_BYTES));
      else chunks.push(chunk);
    });
    incoming.on("end", () =>
      resolve(chunks.length === 1 ? chunks[0] : chunks.length === 0 ? undefined : Buffer.concat(chunks)),
    );
    incoming.on("error", reject);
  });
}

/** Names of groups may hold commas, by which Node joins repeated headers: impersonation's are joined by newlines instead. */
function headersOf(incoming: HttpRequest): ApiRequest["headers"] {
  const headers = incoming.headers as Record<string, string>;
  if (headers["impersonate-user"] === undefined) return headers;
  const told: Record<string, string> = {};
  for (let at = 0; at + 1 < incoming.rawHeaders.length; at += 2) {
    const name = incoming.rawHeaders[at]!.toLowerCase();
    const value = incoming.rawHeaders[at + 1]!;
    if (name.startsWith("impersonate-")) told[name] = name in told ? `${told[name]}\n${value}` : value;
  }
  return { ...headers, ...told };
}
