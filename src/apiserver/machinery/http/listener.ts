import type { IncomingMessage, Server } from "node:http";
import type { Http2SecureServer } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { messageOf, unavailable, type Logger } from "../../../base/index.ts";
import type { ApiHandler, ApiResponse } from "../../../api/index.ts";
import type { ListenOptions, Listener } from "../options.ts";
import { errorResponse } from "../respond.ts";
import { readBody, WireRequest, type HttpRequest } from "./request.ts";
import { sendResponse, type HttpResponse } from "./respond.ts";

const { createServer } = process.getBuiltinModule("node:http");

/** Serves a handler: plain HTTP/1.1, or HTTP/2 and HTTP/1.1 on one TLS port with client certificates asked for but not demanded. */
export async function listen(handler: ApiHandler, options: ListenOptions, log: Logger): Promise<Listener> {
  const { host = "127.0.0.1", port = 0, tls } = options;
  const server = tls ? await secureServer(tls) : createServer({ keepAliveTimeout: 120_000 });
  const sockets = new Set<Socket>();
  server.on(tls ? "secureConnection" : "connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.setNoDelay(true);
  });
  server.on("request", (incoming: HttpRequest, outgoing: HttpResponse) => {
    void serve(handler, incoming, outgoing, log);
  });
  server.on("upgrade", (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    void upgrade(handler, incoming, socket, head, log);
  });
  await start(server, port, host);
  const address = server.address() as AddressInfo;
  return {
    host,
    port: address.port,
    setTls: (next) => (server as Http2SecureServer).setSecureContext(contextOf(next)),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

type Tls = NonNullable<ListenOptions["tls"]>;

const contextOf = ({ cert, key, clientCa }: Tls) => ({ cert, key, ca: clientCa, minVersion: "TLSv1.2" as const });

async function secureServer(tls: Tls): Promise<Http2SecureServer> {
  const { createSecureServer } = await import("node:http2");
  return createSecureServer({
    ...contextOf(tls),
    allowHTTP1: true,
    requestCert: true,
    // A bad certificate is the authenticators' to refuse: bearer tokens may come with none or with a foreign one.
    rejectUnauthorized: false,
    settings: { maxConcurrentStreams: 250, initialWindowSize: 1 << 20 },
  });
}

function start(server: Server | Http2SecureServer, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) =>
      reject(
        unavailable(`the API server cannot listen on ${host}:${port}: ${messageOf(error)}`, {
          cause: error,
          hint: "Choose another port, or stop what listens there.",
        }),
      );
    server.once("error", failed);
    server.listen(port, host, 1024, () => {
      server.off("error", failed);
      server.on("error", () => undefined);
      resolve();
    });
  });
}

async function serve(handler: ApiHandler, incoming: HttpRequest, outgoing: HttpResponse, log: Logger): Promise<void> {
  try {
    let response: ApiResponse;
    try {
      const reading = readBody(incoming);
      const body = reading && (await reading);
      response = await handler(new WireRequest(incoming, body, (gone) => outgoing.once("close", gone)));
    } catch (error) {
      response = errorResponse(error);
    }
    await sendResponse(incoming, outgoing, response);
  } catch (error) {
    log.debug("a connection broke off", { error: error as Error });
    outgoing.destroy?.();
  }
}

async function upgrade(
  handler: ApiHandler,
  incoming: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  log: Logger,
): Promise<void> {
  socket.on("error", (error) => log.debug("an upgraded connection broke off", { error }));
  try {
    const response = await handler(new WireRequest(incoming, undefined, (gone) => socket.once("close", gone)));
    if (response.takeover) return response.takeover(socket, head);
    const body = response.body ?? new Uint8Array(0);
    const headers = { ...response.headers, "content-length": String(body.length), connection: "close" };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`HTTP/1.1 ${response.status} ${response.status}\r\n${lines.join("")}\r\n`);
    socket.end(body);
  } catch (error) {
    log.debug("an upgrade failed", { error: error as Error });
    socket.destroy();
  }
}
