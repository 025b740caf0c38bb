import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { Readable, type Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  codeOf,
  invalidArgument,
  MAX_JSON_BODY_BYTES,
  messageOf,
  notFound,
  BerthError,
  type ErrorCode,
  type Logger,
} from "../../base/index.ts";
import { consoleRoute } from "./console.ts";
import { BACKUP_ROUTES } from "./backups.ts";
import { IMAGE_ROUTES } from "./images.ts";
import { MACHINE_ROUTES } from "./machines.ts";
import { match, PREFIX, type Answer, type Route, type VmRooms } from "./route.ts";
import { SNAPSHOT_ROUTES } from "./snapshots.ts";

const http = process.getBuiltinModule("node:http");

const STATUS: Readonly<Record<ErrorCode, number>> = {
  notFound: 404,
  alreadyExists: 409,
  conflict: 409,
  invalidArgument: 400,
  failedPrecondition: 409,
  permissionDenied: 403,
  unauthenticated: 401,
  resourceExhausted: 503,
  unavailable: 503,
  notImplemented: 501,
  deadlineExceeded: 504,
  canceled: 499,
  internal: 500,
};

const ROUTES: readonly Route[] = [...MACHINE_ROUTES, ...SNAPSHOT_ROUTES, ...BACKUP_ROUTES, ...IMAGE_ROUTES];

/** berth's API for machines as an HTTP server, not yet listening. What it serves is made with the first call that needs it. */
export function createVmServer(open: () => Promise<VmRooms>, log: Logger): Server {
  const server = http.createServer((request, response) => void serve(open, log, request, response));
  server.on("upgrade", (request: IncomingMessage, socket: Duplex) => void upgrade(open, log, request, socket));
  return server;
}

async function serve(
  open: () => Promise<VmRooms>,
  log: Logger,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  try {
    const url = new URL(request.url ?? "/", "http://vm");
    const { route, args } = find(request.method ?? "GET", url.pathname);
    const answer = await route.run({
      ...(await open()),
      args,
      query: url.searchParams,
      body: request,
      json: <T>() => readJson(request) as Promise<T>,
      signal: gone.signal,
    });
    await send(response, answer);
  } catch (error) {
    fail(response, error, log);
  }
}

function find(method: string, path: string): { route: Route; args: string[] } {
  if (path.startsWith(`${PREFIX}/`)) {
    for (const route of ROUTES) {
      const args = route.method === method ? match(route.path, path.slice(PREFIX.length)) : undefined;
      if (args) return { route, args };
    }
  }
  throw notFound(`there is no ${method} ${path}`);
}

async function send(response: ServerResponse, answer: Answer): Promise<void> {
  if ("stream" in answer) {
    response.setHeader("content-type", "application/octet-stream");
    return pipeline(Readable.from(answer.stream, { objectMode: false }), response);
  }
  response.statusCode = answer.status ?? 200;
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(answer.json ?? {}));
}

function fail(response: ServerResponse, error: unknown, log: Logger): void {
  const code = codeOf(error);
  if (code === "internal") log.error("a call for machines failed", { error, stack: (error as Error)?.stack });
  if (response.headersSent) return void response.destroy();
  response.statusCode = STATUS[code];
  response.setHeader("content-type", "application/json");
  const hint = error instanceof BerthError ? error.hint : undefined;
  response.end(JSON.stringify({ code, message: messageOf(error), ...(hint ? { hint } : {}) }));
}

async function upgrade(
  open: () => Promise<VmRooms>,
  log: Logger,
  request: IncomingMessage,
  socket: Duplex,
): Promise<void> {
  socket.on("error", () => {});
  const gone = new AbortController();
  socket.once("close", () => gone.abort());
  try {
    const url = new URL(request.url ?? "/", "http://vm");
    const args = match(consoleRoute.path, url.pathname.slice(PREFIX.length));
    if (!args) throw notFound(`there is no connection ${url.pathname}`);
    await consoleRoute.connect({ ...(await open()), args, query: url.searchParams, signal: gone.signal }, socket);
  } catch (error) {
    const body = JSON.stringify({ code: codeOf(error), message: messageOf(error) });
    socket.end(
      `HTTP/1.1 ${STATUS[codeOf(error)]} Refused\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    );
    log.debug("a console was refused", { error });
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > MAX_JSON_BODY_BYTES) throw invalidArgument("the request is too large");
    chunks.push(chunk as Buffer);
  }
  try {
    return size === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString());
  } catch (cause) {
    throw invalidArgument("the request is no JSON", { cause });
  }
}
