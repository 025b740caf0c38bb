import type { IncomingHttpHeaders, IncomingMessage, Server } from "node:http";
import http2 from "node:http2";
import net, { type Socket } from "node:net";
import { Duplex } from "node:stream";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Clock } from "../../base/index.ts";
import { forward, forwardUpgrade } from "./forward.ts";
import { hostOf, type Request, type Response, type Target } from "./messages.ts";

const http = process.getBuiltinModule("node:http");

/** What of a request decides where it goes. */
export interface Asked {
  readonly host: string;
  /** With its query. */
  readonly path: string;
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly secure: boolean;
}

export interface ListenerOptions {
  readonly clock: Clock;
  /** Where a request goes. */
  readonly resolve: (asked: Asked) => Target;
  /** PEM of the certificate for a server name; undefined refuses the handshake. */
  readonly certificate: (serverName: string) => { readonly cert: Buffer; readonly key: Buffer } | undefined;
}

const MAX_HEADER_BYTES = 64 * 1024;
const MAX_CONTEXTS = 256;
/** How long a client may take to say which protocol it speaks. */
const FIRST_BYTES_MS = 30_000;
const PREFACE = "PRI * HTTP/2.0";

/** Plain HTTP/1.1, WebSocket and HTTP/2 with prior knowledge on one port; with TLS, HTTP/1.1, WebSocket and HTTP/2 by ALPN on another. */
export class IngressListener {
  readonly #options: ListenerOptions;
  readonly #http1: Server;
  readonly #h2c: http2.Http2Server;
  readonly #secure: http2.Http2SecureServer;
  readonly #listening: net.Server[] = [];
  readonly #connections = new Set<Socket>();
  readonly #contexts = new Map<string, { key: Buffer; cert: Buffer; context: SecureContext }>();

  constructor(options: ListenerOptions) {
    this.#options = options;
    const plain = (request: Request, response: unknown) => this.#serve(request, response as Response, false);
    const secure = (request: Request, response: unknown) => this.#serve(request, response as Response, true);
    this.#http1 = http.createServer({ maxHeaderSize: MAX_HEADER_BYTES }, plain);
    this.#h2c = http2.createServer(plain);
    this.#secure = http2.createSecureServer(
      { allowHTTP1: true, SNICallback: (name, done) => this.#context(name, done) },
      secure,
    );
    this.#http1.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head, false));
    this.#secure.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#upgrade(request, socket, head, true),
    );
    for (const server of [this.#http1, this.#h2c, this.#secure]) server.on("error", () => {});
    this.#h2c.on("sessionError", () => {});
    this.#secure.on("sessionError", () => {});
  }

  /** Resolves to the port. Throws (EADDRINUSE) when somebody has it. */
  async listen(address: string, ports: { readonly http: number } | { readonly https: number }): Promise<number> {
    const secure = "https" in ports;
    const server = net.createServer((socket) => {
      this.#connections.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => this.#connections.delete(socket));
      if (secure) this.#secure.emit("connection", socket);
      else this.#sniff(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address, port: secure ? ports.https : ports.http, exclusive: true }, resolve);
    });
    this.#listening.push(server);
    return (server.address() as net.AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    await Promise.all(this.#listening.map((server) => new Promise((resolve) => server.close(resolve))));
    this.#listening.length = 0;
  }

  /** A client with prior knowledge begins with HTTP/2's preface (RFC 9113, 3.4). */
  #sniff(socket: Socket): void {
    socket.setTimeout(FIRST_BYTES_MS, () => socket.destroy());
    socket.once("data", (first) => {
      socket.setTimeout(0);
      socket.removeAllListeners("timeout");
      socket.pause();
      socket.unshift(first);
      if (first.toString("latin1", 0, PREFACE.length) === PREFACE) this.#h2c.emit("connection", asStream(socket));
      else this.#http1.emit("connection", socket);
      socket.resume();
    });
  }

  #serve(request: Request, response: Response, secure: boolean): void {
    request.on("error", () => {});
    response.on("error", () => {});
    forward(request, response, this.#resolve(request, secure), secure, this.#options.clock);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, secure: boolean): void {
    forwardUpgrade(request, socket, head, this.#resolve(request, secure), secure);
  }

  #resolve(request: Request, secure: boolean): Target {
    const { url: path = "/", method = "GET", headers } = request;
    return this.#options.resolve({ host: hostOf(request), path, method, headers, secure });
  }

  /** Asked for each handshake, so that a changed Secret serves from the next connection on. */
  #context(name: string, done: (error: Error | null, context?: SecureContext) => void): void {
    const pair = this.#options.certificate(name);
    if (!pair) return done(new Error(`no certificate for ${name}`));
    const known = this.#contexts.get(name);
    if (known?.key.equals(pair.key) && known.cert.equals(pair.cert)) return done(null, known.context);
    try {
      const context = createSecureContext({ ...pair, minVersion: "TLSv1.2" });
      if (this.#contexts.size >= MAX_CONTEXTS) this.#contexts.clear();
      this.#contexts.set(name, { ...pair, context });
      done(null, context);
    } catch (error) {
      done(error as Error);
    }
  }
}

/** HTTP/2 reads a socket's descriptor itself and would miss what was read already: it gets a stream around the socket instead. */
function asStream(socket: Socket): Duplex {
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (chunk, encoding, done) => void socket.write(chunk as Buffer, encoding, done),
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (chunk) => {
    if (!stream.push(chunk)) socket.pause();
  });
  socket.on("end", () => stream.push(null));
  socket.on("close", () => stream.destroy());
  return stream;
}
