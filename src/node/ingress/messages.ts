import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import { messageOf } from "../../base/index.ts";

export type Request = IncomingMessage | Http2ServerRequest;
/** HTTP/2's has the same methods; their types differ in small print. */
export type Response = ServerResponse;

/** A backend's port. */
export interface Destination {
  readonly host: string;
  readonly port: number;
  /** It speaks HTTP/2 without TLS (`appProtocol: kubernetes.io/h2c`), as gRPC servers do. */
  readonly http2?: boolean;
}

export interface HeaderEdits {
  readonly set?: readonly Header[];
  readonly add?: readonly Header[];
  readonly remove?: readonly string[];
}
export interface Header {
  readonly name: string;
  readonly value: string;
}

/** What is changed on the way. */
export interface Edits {
  readonly request?: readonly HeaderEdits[];
  readonly response?: readonly HeaderEdits[];
  /** Path and query instead of the client's. */
  readonly path?: string;
  readonly hostname?: string;
  /** Who gets a copy of the request; what they answer is thrown away. */
  readonly mirrors?: readonly Destination[];
}

/** Where a request goes, or with which status and words it is answered. */
export type Target =
  | (Destination & {
      readonly edits?: Edits;
      /** Within which the whole answer must have been passed on; else it is 504, or cut off. */
      readonly timeoutMs?: number;
    })
  | { readonly status: number; readonly message: string; readonly headers?: Readonly<Record<string, string>> };

/** Headers that belong to one connection (RFC 9110, 7.6.1) and are not passed on. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

export function unanswered({ host, port }: Destination, error: unknown): string {
  return `the backend ${host}:${port} does not answer: ${messageOf(error)}`;
}

/** Pure; one edit after the other. Names are compared without regard to case; several values of one name become a list. */
export function edited(headers: OutgoingHttpHeaders, edits: readonly HeaderEdits[] = []): OutgoingHttpHeaders {
  const result = { ...headers };
  for (const { remove = [], set = [], add = [] } of edits) {
    for (const name of remove) delete result[name.toLowerCase()];
    for (const { name, value } of set) result[name.toLowerCase()] = value;
    for (const { name, value } of add) {
      const before = result[name.toLowerCase()];
      result[name.toLowerCase()] = before === undefined ? value : [before, value].flat().join(", ");
    }
  }
  return result;
}

export function answer(
  response: Response,
  status: number,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = `${message}\n`;
  response.writeHead(status, {
    ...headers,
    "content-type": "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}

/** The client's headers for the backend: its host kept, and who asked, how and for what. */
export function passedOn(request: Request, secure: boolean, hostname?: string): OutgoingHttpHeaders {
  const host = hostOf(request);
  const client = request.socket?.remoteAddress?.replace(/^::ffff:/, "") ?? "";
  const before = request.headers["x-forwarded-for"];
  const clients = [...(before ? [before].flat() : []), ...(client ? [client] : [])].join(", ");
  return {
    ...withoutHops(request.headers),
    host: hostname ?? host,
    ...(clients && { "x-forwarded-for": clients }),
    "x-forwarded-host": host,
    "x-forwarded-proto": secure ? "https" : "http",
    ...(client && { "x-real-ip": client }),
  };
}

export function hostOf(request: Request): string {
  const authority = request.headers[":authority"];
  return typeof authority === "string" ? authority : (request.headers.host ?? "");
}

export function withoutHops(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const named = new Set(
    String(headers.connection ?? "")
      .toLowerCase()
      .split(/\s*,\s*/),
  );
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !name.startsWith(":") && !HOP_BY_HOP.has(name) && !named.has(name)),
  );
}
