import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import type { Clock } from "../../base/index.ts";
import { DNS_HEADER_BYTES, emptyAnswer, RCODE, truncate, udpLimit } from "./wire.ts";

const MAX_TCP_CONNECTIONS = 256;
const MAX_IN_FLIGHT = 1000;
const TCP_IDLE_MS = 10_000;

/** Answers one query. `undefined` answers nothing; an error becomes SERVFAIL. */
export type DnsHandler = (query: Buffer, transport: "udp" | "tcp") => Buffer | undefined | Promise<Buffer | undefined>;

export type DnsListen =
  | { readonly address: string; readonly port: number }
  | { readonly udpFd: number; readonly tcpFd: number };

/** A DNS server on UDP and TCP (RFC 1035, 4.2), on an address or on sockets bound elsewhere (in another network namespace). */
export class DnsServer implements AsyncDisposable {
  readonly #handler: DnsHandler;
  readonly #clock: Clock;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #inFlight = 0;

  private constructor(handler: DnsHandler, clock: Clock, udp: UdpSocket) {
    this.#handler = handler;
    this.#clock = clock;
    this.#udp = udp;
    this.#tcp = createServer((connection) => this.#serve(connection));
    this.#tcp.maxConnections = MAX_TCP_CONNECTIONS;
    udp.on("message", (query, from) => {
      this.#answer(query, "udp", (answer) => {
        udp.send(truncate(answer, udpLimit(query)), from.port, from.address, () => {});
      });
    });
  }

  static async listen(where: DnsListen, handler: DnsHandler, clock: Clock): Promise<DnsServer> {
    const six = "address" in where && where.address.includes(":");
    const udp = createSocket({ type: six ? "udp6" : "udp4", ...("address" in where && { recvBufferSize: 1 << 20 }) });
    const server = new DnsServer(handler, clock, udp);
    try {
      await listening(udp, () => {
        if ("udpFd" in where) udp.bind({ fd: where.udpFd });
        else udp.bind({ address: where.address, port: where.port, exclusive: true });
      });
      await listening(server.#tcp, () => {
        if ("tcpFd" in where) server.#tcp.listen({ fd: where.tcpFd });
        else server.#tcp.listen({ host: where.address, port: udp.address().port, exclusive: true });
      });
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    udp.on("error", () => {});
    server.#tcp.on("error", () => {});
    return server;
  }

  get port(): number {
    return this.#udp.address().port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) connection.destroy();
    await Promise.all([
      new Promise<void>((resolve) => {
        try {
          this.#udp.close(() => resolve());
        } catch {
          resolve(); // was not open
        }
      }),
      new Promise<void>((resolve) => this.#tcp.close(() => resolve())),
    ]);
  }

  /** Answers in the same turn when the handler does; more than a bounded number of slow ones are dropped, as UDP may. */
  #answer(query: Buffer, transport: "udp" | "tcp", reply: (answer: Buffer) => void): void {
    if (query.length < DNS_HEADER_BYTES || this.#inFlight >= MAX_IN_FLIGHT) return;
    const fail = () => reply(emptyAnswer(query, RCODE.serverFailure));
    try {
      const result = this.#handler(query, transport);
      if (!(result instanceof Promise)) {
        if (result) reply(result);
        return;
      }
      this.#inFlight++;
      result.then((answer) => answer && reply(answer), fail).finally(() => this.#inFlight--);
    } catch {
      fail();
    }
  }

  /** Each message has its length before it, in two bytes. */
  #serve(connection: Socket): void {
    this.#connections.add(connection);
    let idle = this.#clock.after(TCP_IDLE_MS, () => connection.destroy());
    let pending = Buffer.alloc(0);
    connection.on("error", () => {});
    connection.on("close", () => {
      idle.cancel();
      this.#connections.delete(connection);
    });
    connection.on("data", (chunk: Buffer) => {
      idle.cancel();
      idle = this.#clock.after(TCP_IDLE_MS, () => connection.destroy());
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const query = pending.subarray(2, 2 + pending.readUInt16BE(0));
        pending = pending.subarray(2 + query.length);
        this.#answer(query, "tcp", (answer) => connection.write(framed(answer)));
      }
    });
  }
}

export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

function listening(emitter: UdpSocket | Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const one = emitter as NodeJS.EventEmitter;
    const done = (error?: Error) => {
      one.off("listening", done).off("error", done);
      if (error) reject(error);
      else resolve();
    };
    one.once("listening", done).once("error", done);
    start();
  });
}
