import { once } from "node:events";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { canceled, codeOf, internal, invalidArgument, type Logger } from "../base/index.ts";
import bodies from "./bodies.generated.json" with { type: "json" };
import { readJsonObject } from "./body.ts";
import { errorResponse } from "./errors.ts";
import { KeptBody } from "./kept-body.ts";
import { Query } from "./query.ts";
import type { DockerRequest, DockerResponse, Route } from "./route.ts";
import { Router } from "./router.ts";
import { conform, type Shape } from "./shape.ts";
import { API_VERSION, ENGINE_VERSION, splitVersion } from "./version.ts";

const http = process.getBuiltinModule("node:http");

/** By method and path as in a route. Endpoints that aren't in it read their bodies themselves. */
const BODIES = bodies as unknown as Readonly<Record<string, Shape>>;

/** Connections at one time, over all listeners of a server. */
const MAX_CONNECTIONS = 4096;

const HTTP_OPTIONS = {
  // Uploads of build contexts and attached sessions last as long as they last; a slow head does not.
  requestTimeout: 0,
  headersTimeout: 20_000,
  keepAliveTimeout: 60_000,
  shouldUpgradeCallback: (request: IncomingMessage) => wantsUpgrade(request),
};

const COMMON_HEADERS: Readonly<Record<string, string>> = {
  "api-version": API_VERSION,
  "docker-experimental": "false",
  ostype: "linux",
  server: `Docker/${ENGINE_VERSION} (linux)`,
};

/** The table of routes as listeners for a node:http (or https) server. */
export interface DockerHandler {
  request(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

export function createHandler(routes: readonly Route[], log: Logger): DockerHandler {
  const router = new Router(routes);

  async function answer(request: IncomingMessage, signal: AbortSignal): Promise<DockerResponse> {
    try {
      const url = new URL(request.url ?? "/", "http://docker");
      const { apiMinor, path } = splitVersion(url.pathname);
      const { route, params } = router.find(request.method ?? "GET", path);
      const located = { apiMinor, path, params, query: url.search, signal };
      return await route.handle(toDockerRequest(request, located, BODIES[`${route.method} ${route.path}`] ?? "any"));
    } catch (error) {
      if (codeOf(error) === "internal")
        log.error("request failed", { method: request.method, url: request.url, error });
      return errorResponse(error);
    }
  }

  function serve(request: IncomingMessage, response: ServerResponse, connection: () => Duplex): void {
    const gone = new AbortController();
    response.on("close", () => {
      if (!response.writableFinished) gone.abort(canceled("the client went away"));
    });
    answer(request, gone.signal)
      .then((answered) => write(answered, request, response, connection))
      .catch((error: unknown) => {
        if (codeOf(error) !== "canceled")
          log.warn("answer cut short", { method: request.method, url: request.url, error });
        response.destroy();
      });
  }

  return {
    request(request, response) {
      serve(request, response, () =>
        Duplex.from({ readable: request, writable: response } as unknown as Parameters<typeof Duplex.from>[0]),
      );
    },
    upgrade(request, socket, head) {
      socket.on("error", () => socket.destroy());
      const netSocket = socket as Socket;
      const response = new http.ServerResponse(request);
      response.shouldKeepAlive = false;
      response.assignSocket(netSocket);
      response.on("finish", () => socket.end());
      if (head.length > 0) socket.unshift(head);
      serve(request, response, () => {
        response.detachSocket(netSocket);
        return socket;
      });
    },
  };
}

/** A plain HTTP server over the handler, for unix sockets. Not listening yet. */
export function createServer(handler: DockerHandler): Server {
  return wire(http.createServer(HTTP_OPTIONS), handler);
}

/** Docker's raw streams say `Upgrade: tcp`, BuildKit's sessions `h2c`. Any other wish is ignored, as RFC 9110 section 7.8 allows. */
function wantsUpgrade(request: IncomingMessage): boolean {
  return ["tcp", "h2c", "websocket"].includes(request.headers.upgrade?.toLowerCase() ?? "");
}

interface Located {
  readonly apiMinor: number;
  readonly path: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: string;
  readonly signal: AbortSignal;
}

function toDockerRequest(request: IncomingMessage, located: Located, shape: Shape): DockerRequest {
  const readJson = async (options?: { optional: true }) => {
    const value = await readJsonObject(request, request.headers);
    if (value === undefined && !options?.optional)
      throw invalidArgument("invalid JSON: got EOF while reading request body");
    return value && conform(value, shape);
  };
  return {
    ...located,
    method: request.method ?? "GET",
    headers: request.headers,
    query: new Query(located.query),
    body: new KeptBody(request),
    json: readJson as DockerRequest["json"],
  };
}

async function write(
  answered: DockerResponse,
  request: IncomingMessage,
  response: ServerResponse,
  connection: () => Duplex,
): Promise<void> {
  for (const [name, value] of Object.entries({ ...COMMON_HEADERS, ...answered.headers }))
    response.setHeader(name, value);
  if (answered.webSocket) return acceptWebSocket(answered.webSocket, request, connection());
  if (answered.hijack) return takeOver(answered.hijack, request, response, connection);
  if (answered.stream) return writeStream(answered, answered.stream, request, response);
  if (answered.json !== undefined) {
    response.setHeader("content-type", "application/json");
    return end(response, answered.status, JSON.stringify(answered.json) + "\n");
  }
  end(response, answered.status, answered.bytes);
}

function end(response: ServerResponse, status: number, body: Uint8Array | string | undefined): void {
  response.statusCode = status;
  if (body !== undefined) response.setHeader("content-length", Buffer.byteLength(body));
  else if (status !== 204 && status !== 304) response.setHeader("content-length", 0);
  response.end(body);
}

async function writeStream(
  answered: DockerResponse,
  chunks: AsyncIterable<Uint8Array | string>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.statusCode = answered.status;
  if (!answered.headWithFirstChunk) response.flushHeaders();
  const gone = once(response, "close").then(() => "gone" as const);
  const iterator = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), gone]);
      if (next === "gone" || next.done) break;
      if (request.method === "HEAD") break;
      // Wait for a slow reader, or its departure.
      if (!response.write(next.value)) await Promise.race([once(response, "drain"), gone]);
    }
  } catch (error) {
    if (!response.headersSent) return write(errorResponse(error), request, response, unreachableConnection);
    if (!answered.describeError) throw error;
    response.write(answered.describeError(error));
  } finally {
    // Not awaited: a source that waits for its next item would hold us until that comes. It hears of the departure by the request's signal.
    void iterator.return?.()?.catch?.(() => {});
  }
  response.end();
}

function unreachableConnection(): never {
  throw internal("an error has no connection to take over");
}

async function takeOver(
  run: (connection: Duplex) => Promise<void>,
  request: IncomingMessage,
  response: ServerResponse,
  connection: () => Duplex,
): Promise<void> {
  const upgraded = request.headers.upgrade !== undefined && wantsUpgrade(request);
  if (!upgraded) {
    // No upgrade asked for: the request's body is one direction, an unframed answer the other.
    response.useChunkedEncodingByDefault = false;
    response.shouldKeepAlive = false;
    response.writeHead(200).flushHeaders();
  } else await drain(request);
  const headers = Object.entries(response.getHeaders()).map(([name, value]) => `${name}: ${String(value)}\r\n`);
  const duplex = connection();
  duplex.on("error", () => duplex.destroy());
  if (upgraded)
    duplex.write(
      `HTTP/1.1 101 UPGRADED\r\nconnection: Upgrade\r\nupgrade: ${request.headers.upgrade}\r\n${headers.join("")}\r\n`,
    );
  await run(duplex);
  if (!duplex.writableEnded) duplex.end();
}

/** The rest of a body that the handler did not want: what comes after it belongs to the connection. */
async function drain(request: IncomingMessage): Promise<void> {
  if (Number(request.headers["content-length"] ?? 0) === 0 || request.readableEnded) return;
  request.resume();
  await once(request, "end");
}

async function acceptWebSocket(
  run: (connection: Duplex) => Promise<void>,
  request: IncomingMessage,
  socket: Duplex,
): Promise<void> {
  const { WebSocketServer, createWebSocketStream } = await import("ws");
  const acceptor = new WebSocketServer({ noServer: true, maxPayload: 1024 * 1024 });
  await new Promise<void>((resolve, reject) => {
    acceptor.handleUpgrade(request, socket, Buffer.alloc(0), (client) => {
      const duplex = createWebSocketStream(client);
      duplex.on("error", () => duplex.destroy());
      run(duplex).then(() => {
        duplex.end();
        resolve();
      }, reject);
    });
  });
}

/** The same over TCP, for clients that show a certificate of `ca` and for nobody else. */
export function createTlsServer(handler: DockerHandler, tls: { ca: Buffer; cert: Buffer; key: Buffer }): https.Server {
  const server = https.createServer({
    ...tls,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
    ...HTTP_OPTIONS,
  });
  return wire(server, handler);
}

function wire<T extends Server | https.Server>(server: T, handler: DockerHandler): T {
  server.maxConnections = MAX_CONNECTIONS;
  server.on("request", (request, response) => handler.request(request, response));
  server.on("upgrade", (request, socket, head) => handler.upgrade(request, socket, head));
  return server;
}
