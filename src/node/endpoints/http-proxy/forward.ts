import type { IncomingMessage } from "node:http";
import https from "node:https";
import net from "node:net";
import tls from "node:tls";
import type { ApiRequest, ApiResponse } from "../../../api/index.ts";
import { messageOf, MiB, unavailable } from "../../../base/index.ts";
import { rewriteLinks, throughProxy, type Place } from "./links.ts";
import type { Target } from "./target.ts";

const http = process.getBuiltinModule("node:http");

const ANSWER_TIMEOUT_MS = 60_000;
const MAX_PAGE_BYTES = 16 * MiB;
const UNCHECKED = { rejectUnauthorized: false };

/** RFC 9110's headers of one connection, what would tell a Pod who is asking, and what Node counts itself. */
const NOT_PASSED_ON = new Set([
  "authorization",
  "connection",
  "content-length",
  "cookie",
  "host",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const isPassedOn = (name: string) =>
  !NOT_PASSED_ON.has(name) && !name.startsWith("impersonate-") && !name.startsWith(":");

/**
 * Hands a request on to a Pod. `path` is the rest behind `/proxy`, as it was sent; `prefix` is what stood before. Answers stream; pages have their
 * links led through the proxy. Certificates of Pods are not checked, as upstream doesn't. Throws `unavailable` when nobody answers.
 */
export async function forward(
  request: ApiRequest,
  target: Target,
  { path, prefix }: { path: string; prefix: string },
): Promise<ApiResponse> {
  const query = request.query.toString();
  const url = query === "" ? path : `${path}?${query}`;
  if (request.headers["upgrade"]) return upgrade(request, target, url);
  const answer = await ask(request, target, url);
  const place = { prefix, hosts: [hostOf(target), target.host, request.headers["host"] ?? ""] };
  const headers = answerHeaders(answer, place);
  const status = answer.statusCode ?? 502;
  const isPage =
    String(answer.headers["content-type"] ?? "").startsWith("text/html") && !answer.headers["content-encoding"];
  if (isPage && request.method !== "HEAD")
    return { status, headers, body: Buffer.from(rewriteLinks(await readPage(answer), place)) };
  return { status, headers, chunks: answer };
}

function ask(request: ApiRequest, target: Target, path: string): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const { method, body, signal } = request;
  const outgoing = (target.scheme === "https" ? https : http).request(
    {
      host: target.host,
      port: target.port,
      agent: false,
      method,
      path,
      headers: { ...requestHeaders(request), host: request.headers["host"] ?? hostOf(target) },
      timeout: ANSWER_TIMEOUT_MS,
      ...(target.tls ?? UNCHECKED),
      ...(signal && { signal }),
    },
    (answer) => {
      // A stream may be silent for as long as it likes.
      outgoing.setTimeout(0);
      resolve(answer);
    },
  );
  outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`)));
  outgoing.on("error", (error) =>
    reject(unavailable(`error trying to reach service: ${messageOf(error)}`, { cause: error })),
  );
  if (body) outgoing.setHeader("content-length", body.length);
  outgoing.end(body);
  return promise;
}

function requestHeaders({ headers, remoteAddress }: ApiRequest): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined && isPassedOn(name)) kept[name] = String(value);
  if (remoteAddress) kept["x-forwarded-for"] = [kept["x-forwarded-for"], remoteAddress].filter(Boolean).join(", ");
  return kept;
}

function answerHeaders(answer: IncomingMessage, place: Place): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(answer.headers))
    if (value !== undefined && isPassedOn(name)) kept[name] = Array.isArray(value) ? value.join(", ") : value;
  if (kept["location"]) kept["location"] = throughProxy(kept["location"], place);
  return kept;
}

async function readPage(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_PAGE_BYTES) throw unavailable(`the page is larger than ${MAX_PAGE_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** A connection that switches protocols (WebSocket): both sides speak with each other from the request's head on. */
function upgrade(request: ApiRequest, target: Target, path: string): ApiResponse {
  const host = request.headers["host"] ?? hostOf(target);
  const headers = { ...requestHeaders(request), host, connection: "Upgrade", upgrade: request.headers["upgrade"]! };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return {
    status: 101,
    headers: {},
    takeover: (client, head) => {
      const { host: address, port } = target;
      const server =
        target.scheme === "https"
          ? tls.connect({ host: address, port, ...(target.tls ?? UNCHECKED) })
          : net.connect({ host: address, port });
      server.on("error", (error) => {
        if (client.writable && server.bytesRead === 0)
          client.end(
            `HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\nerror trying to reach service: ${messageOf(error)}`,
          );
        else client.destroy();
      });
      client.on("error", () => server.destroy());
      client.on("close", () => server.destroy());
      server.write(`${request.method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
      if (head.length > 0) server.write(head);
      server.pipe(client).pipe(server);
    },
  };
}

function hostOf({ host, port }: Target): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
