import http, { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream";
import { messageOf } from "../../base/index.ts";

export type Request = IncomingMessage | Http2ServerRequest;
/** HTTP/2's has the same methods; their types differ in small print. */
export type Response = ServerResponse;

/** Where a request goes, or with which status and words it is answered. */
export type Target =
  | { readonly host: string; readonly port: number }
  | { readonly status: number; readonly message: string };

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

/** Streams a request to its backend and the answer back. */
export function forward(request: Request, response: Response, target: Target, secure: boolean): void {
  if ("status" in target) return answer(response, target.status, target.message);
  const upstream = http.request({
    ...target,
    method: request.method,
    path: request.url,
    headers: passedOn(request, secure),
    agent: false,
  });
  upstream.on("response", (reply) => {
    if (response.headersSent) return void reply.destroy();
    response.writeHead(reply.statusCode ?? 502, withoutHops(reply.headers));
    pipeline(reply, response, () => {});
  });
  upstream.on("error", (error) => {
    if (response.headersSent) response.destroy(error);
    else answer(response, 502, `the backend ${target.host}:${target.port} does not answer: ${messageOf(error)}`);
  });
  response.on("close", () => upstream.destroy());
  request.pipe(upstream);
}

/** Passes an upgrade (WebSocket) on: after the backend's 101 both connections are one. */
export function forwardUpgrade(
  request: IncomingMessage,
  client: Duplex,
  head: Buffer,
  target: Target,
  secure: boolean,
): void {
  client.on("error", () => client.destroy());
  if ("status" in target) return refuseUpgrade(client, target.status, target.message);
  const { connection, upgrade } = request.headers;
  const upstream = http.request({
    ...target,
    method: request.method,
    path: request.url,
    headers: { ...passedOn(request, secure), connection, upgrade },
    agent: false,
  });
  upstream.on("upgrade", (reply, backend, rest) => {
    client.write(statusAndHeaders(reply));
    if (rest.length > 0) client.write(rest);
    if (head.length > 0) backend.write(head);
    pipeline(client, backend, client, () => {
      client.destroy();
      backend.destroy();
    });
  });
  upstream.on("response", (reply) => {
    client.write(statusAndHeaders(reply));
    pipeline(reply, client, () => {});
  });
  upstream.on("error", (error) => refuseUpgrade(client, 502, messageOf(error)));
  client.on("close", () => upstream.destroy());
  upstream.end();
}

export function answer(response: Response, status: number, message: string): void {
  const body = `${message}\n`;
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}

function refuseUpgrade(client: Duplex, status: number, message: string): void {
  client.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nconnection: close\r\n\r\n${message}\n`);
}

function statusAndHeaders(reply: IncomingMessage): string {
  const lines: string[] = [];
  for (let at = 0; at < reply.rawHeaders.length; at += 2)
    lines.push(`${reply.rawHeaders[at]}: ${reply.rawHeaders[at + 1]}`);
  return `HTTP/1.1 ${reply.statusCode} ${reply.statusMessage}\r\n${lines.join("\r\n")}\r\n\r\n`;
}

/** The client's headers for the backend: its host kept, and who asked, how and for what. */
function passedOn(request: Request, secure: boolean): http.OutgoingHttpHeaders {
  const host = hostOf(request);
  const client = request.socket?.remoteAddress?.replace(/^::ffff:/, "") ?? "";
  const before = request.headers["x-forwarded-for"];
  const clients = [...(before ? [before].flat() : []), ...(client ? [client] : [])].join(", ");
  return {
    ...withoutHops(request.headers),
    host,
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

function withoutHops(headers: IncomingHttpHeaders): http.OutgoingHttpHeaders {
  const named = new Set(
    String(headers.connection ?? "")
      .toLowerCase()
      .split(/\s*,\s*/),
  );
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !name.startsWith(":") && !HOP_BY_HOP.has(name) && !named.has(name)),
  );
}
