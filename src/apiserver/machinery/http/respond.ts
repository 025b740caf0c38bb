import type { ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";
import { promisify } from "node:util";
import { constants, gzip } from "node:zlib";
import { KiB } from "../../../base/index.ts";
import type { ApiResponse } from "../../../api/index.ts";
import { encodeEvents, WatchStream, type ByteSink } from "../watch.ts";
import type { HttpRequest } from "./request.ts";

export type HttpResponse = ServerResponse | Http2ServerResponse;

/** Upstream compresses answers from here on, at the fastest level. */
const MIN_GZIP_BYTES = 128 * KiB;
const compress = promisify(gzip);

export async function sendResponse(request: HttpRequest, outgoing: HttpResponse, response: ApiResponse): Promise<void> {
  const headers: Record<string, string | number> = { "cache-control": "no-cache, private", ...response.headers };
  const out = outgoing as ServerResponse;
  if (response.events) return sendEvents(out, response, headers);
  if (response.chunks) return sendChunks(out, response.status, headers, response.chunks);
  let body = response.body ?? EMPTY;
  if (body.length >= MIN_GZIP_BYTES && /\bgzip\b/.test(String(request.headers["accept-encoding"] ?? ""))) {
    body = await compress(body, { level: constants.Z_BEST_SPEED });
    headers["content-encoding"] = "gzip";
    headers["vary"] = "Accept-Encoding";
  }
  headers["content-length"] = body.length;
  out.writeHead(response.status, headers);
  out.end(request.method === "HEAD" ? undefined : body);
}

const EMPTY = new Uint8Array(0);

async function sendEvents(
  out: ServerResponse,
  response: ApiResponse,
  headers: Record<string, string | number>,
): Promise<void> {
  out.writeHead(response.status, headers);
  out.flushHeaders();
  const events = response.events!;
  if (events instanceof WatchStream) {
    const stop = await events.pipe(new ResponseSink(out));
    out.once("close", stop);
    if (out.destroyed) stop();
    return;
  }
  for await (const event of events) {
    if (out.destroyed) break;
    out.write(encodeEvents([event]));
  }
  out.end();
}

class ResponseSink implements ByteSink {
  readonly #out: ServerResponse;
  constructor(out: ServerResponse) {
    this.#out = out;
  }
  write(bytes: Uint8Array): void {
    if (!this.#out.destroyed) this.#out.write(bytes);
  }
  end(): void {
    this.#out.end();
  }
  destroy(): void {
    this.#out.destroy();
  }
  get bufferedBytes(): number {
    return this.#out.writableLength;
  }
}

async function sendChunks(
  out: ServerResponse,
  status: number,
  headers: Record<string, string | number>,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  out.writeHead(status, headers);
  out.flushHeaders();
  for await (const chunk of chunks) {
    if (out.destroyed) break;
    if (!out.write(chunk)) await drained(out);
  }
  out.end();
}

function drained(out: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      out.off("drain", done);
      out.off("close", done);
      resolve();
    };
    out.once("drain", done);
    out.once("close", done);
  });
}
