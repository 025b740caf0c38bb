import type { IncomingHttpHeaders } from "node:http";
import type { Duplex, Readable } from "node:stream";
import { BerthError, errnoOf, messageOf } from "../base/index.ts";
import type { Query } from "./query.ts";

/**
 * One endpoint of the Docker Engine API. `routes/*.ts` export functions that make tables of these over the part of the engine they serve;
 * `index.ts` joins the tables. Paths are written as in the published description, without the version prefix.
 */
export interface Route {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  /** `/containers/{id}/json`. `{name}` is one segment, decoded; `{name...}` is one or more, slashes kept (image names). */
  readonly path: string;
  handle(request: DockerRequest): Promise<DockerResponse> | DockerResponse;
}

/** What a handler gets. Reading the body is up to the handler: `json()` for a document, `body` for a stream (tar, build context). */
export interface DockerRequest {
  readonly method: string;
  /** Path without version prefix and query. */
  readonly path: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  /** Lower-case names. */
  readonly headers: IncomingHttpHeaders;
  /** Minor number of the version that the client asked for in the path, else the newest: 41 for `/v1.41/…`. */
  readonly apiMinor: number;
  readonly body: Readable;
  /**
   * The body as a JSON object, at most 3 MiB. Throws invalidArgument for broken JSON, another type or more than one document. An absent
   * body is `undefined` when `optional` is set, else invalidArgument.
   */
  json<T extends object = Record<string, unknown>>(): Promise<T>;
  json<T extends object = Record<string, unknown>>(options: { optional: true }): Promise<T | undefined>;
  /** Aborted when the client goes away before the answer is complete. */
  readonly signal: AbortSignal;
}

/** Exactly one of the bodies, or none. Made by the functions below. */
export interface DockerResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly bytes?: Uint8Array | string;
  readonly stream?: AsyncIterable<Uint8Array | string>;
  /** Send status and headers only with the first chunk, so that an error before it still has its own status. */
  readonly headWithFirstChunk?: boolean;
  /** How an error in the middle of `stream` is told to the client; without it the connection is cut. */
  readonly describeError?: (error: unknown) => string;
  readonly hijack?: (connection: Duplex) => Promise<void>;
  readonly webSocket?: (connection: Duplex) => Promise<void>;
}

export function json(value: unknown, status = 200): DockerResponse {
  return { status, json: value };
}

/** 204, 304 and the like. */
export function empty(status = 204): DockerResponse {
  return { status };
}

export function bytes(body: Uint8Array | string, contentType: string, status = 200): DockerResponse {
  return { status, bytes: body, headers: { "content-type": contentType } };
}

/** A stream of bytes (logs, tar archives). The head goes out at once, unless `headWithFirstChunk`. */
export function stream(
  chunks: AsyncIterable<Uint8Array | string>,
  contentType: string,
  options: { headers?: Record<string, string>; headWithFirstChunk?: boolean } = {},
): DockerResponse {
  return {
    status: 200,
    stream: chunks,
    headers: { "content-type": contentType, ...options.headers },
    headWithFirstChunk: options.headWithFirstChunk ?? false,
  };
}

/**
 * A stream of JSON documents, one a line (pull, push, build, events, stats). An error before the first document has its own status; a
 * later one becomes Docker's `{"errorDetail":{"message":…},"error":…}`.
 */
export function jsonLines(documents: AsyncIterable<unknown>, options: { headAtOnce?: boolean } = {}): DockerResponse {
  return {
    status: 200,
    headers: { "content-type": "application/json" },
    headWithFirstChunk: !options.headAtOnce,
    describeError: (error) => {
      const message = userMessage(error);
      return JSON.stringify({ errorDetail: { message }, error: message }) + "\r\n";
    },
    stream: lines(documents),
  };
}

async function* lines(documents: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const document of documents) yield JSON.stringify(document) + "\r\n";
}

/**
 * Takes the connection over for both directions (attach, exec): 101 UPGRADED when the client asked for it, else 200. `serve` owns the
 * connection: its readable side is what the client types (ends when the client half-closes), its writable side what the client sees; it
 * is ended when `serve` resolves. (`for await` over a stream destroys it, both sides, at its end: use `connection.iterator({ destroyOnReturn: false })`.) Until the connection is handed over, errors have their own status, so check everything first.
 */
export function hijack(
  serve: (connection: Duplex) => Promise<void>,
  options: { multiplexed: boolean; apiMinor: number },
): DockerResponse {
  // v1.42 tells the two framings apart; before, both had one name.
  const framed = options.multiplexed && options.apiMinor >= 42;
  const contentType = `application/vnd.docker.${framed ? "multiplexed" : "raw"}-stream`;
  return { status: 101, headers: { "content-type": contentType }, hijack: serve };
}

/** The same over a WebSocket: each write is one binary message. */
export function webSocket(serve: (connection: Duplex) => Promise<void>): DockerResponse {
  return { status: 101, webSocket: serve };
}

/** What a client is shown of anything thrown: the message, and the way out where there is one. */
export function userMessage(error: unknown): string {
  if (errnoOf(error) === "ENOSPC") return "no space left on device: the disk that holds berth's data is full";
  const message = messageOf(error);
  const hint = error instanceof BerthError ? error.hint : undefined;
  return hint ? `${message} (${hint})` : message;
}
