import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream";
import { messageOf, type Clock } from "../../base/index.ts";
import { copyToHttp2, forwardHttp2 } from "./forward-http2.ts";
import {
  answer,
  edited,
  passedOn,
  unanswered,
  withoutHops,
  type Destination,
  type Request,
  type Response,
  type Target,
} from "./messages.ts";

const http = process.getBuiltinModule("node:http");

/** Streams a request to its backend and the answer back. */
export function forward(request: Request, response: Response, target: Target, secure: boolean, clock: Clock): void {
  if ("status" in target) return answer(response, target.status, target.message, target.headers);
  const { edits = {}, http2: asHttp2, timeoutMs, ...to } = target;
  if (timeoutMs !== undefined) limit(response, timeoutMs, clock);
  const headers = edited(passedOn(request, secure, edits.hostname), edits.request);
  const path = edits.path ?? request.url;
  for (const mirror of edits.mirrors ?? []) copyTo(mirror, request, path, headers);
  if (asHttp2) return forwardHttp2(request, response, { ...to, path: path ?? "/", headers, edits: edits.response });
  const upstream = http.request({ ...to, method: request.method, path, headers, agent: false });
  upstream.on("response", (reply) => {
    if (response.headersSent) return void reply.destroy();
    response.writeHead(reply.statusCode ?? 502, edited(withoutHops(reply.headers), edits.response));
    pipeline(reply, response, () => {});
  });
  upstream.on("error", (error) => {
    if (response.writableEnded) return;
    if (response.headersSent) response.destroy(error);
    else answer(response, 502, unanswered(target, error));
  });
  response.on("close", () => upstream.destroy());
  request.pipe(upstream);
}

/** What has not been answered in time is answered here, and the backend's connection goes with the answer's end. */
function limit(response: Response, timeoutMs: number, clock: Clock): void {
  const timer = clock.after(timeoutMs, () => {
    if (response.headersSent) response.destroy();
    else answer(response, 504, `the backend has not answered within ${timeoutMs} ms`);
  });
  response.on("close", () => timer.cancel());
}

/** A copy for somebody whose answer nobody waits for. */
function copyTo(
  { host, port, http2 }: Destination,
  request: Request,
  path: string | undefined,
  headers: OutgoingHttpHeaders,
): void {
  if (http2) return copyToHttp2(request, { host, port, path: path ?? "/", headers });
  const upstream = http.request({ host, port, method: request.method, path, headers, agent: false });
  upstream.on("response", (reply) => reply.resume());
  upstream.on("error", () => {});
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
  const { host, port, edits = {} } = target;
  const upstream = http.request({
    host,
    port,
    method: request.method,
    path: edits.path ?? request.url,
    headers: { ...edited(passedOn(request, secure, edits.hostname), edits.request), connection, upgrade },
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

function refuseUpgrade(client: Duplex, status: number, message: string): void {
  client.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nconnection: close\r\n\r\n${message}\n`);
}

function statusAndHeaders(reply: IncomingMessage): string {
  const lines: string[] = [];
  for (let at = 0; at < reply.rawHeaders.length; at += 2)
    lines.push(`${reply.rawHeaders[at]}: ${reply.rawHeaders[at + 1]}`);
  return `HTTP/1.1 ${reply.statusCode} ${reply.statusMessage}\r\n${lines.join("\r\n")}\r\n\r\n`;
}
