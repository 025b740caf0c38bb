import { Duplex } from "node:stream";
import zlib from "node:zlib";
import { invalidArgument, resourceExhausted } from "../../../base/index.ts";
import { dictionary } from "./dictionary.ts";

/**
 * The server's side of SPDY/3.1, as much of it as kubectl's exec, attach and port-forward use
 * (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/). As upstream's own implementation does, it leaves flow control to
 * the connection underneath.
 */
const VERSION = 3;
const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const PING = 6;
const GOAWAY = 7;
const FLAG_FIN = 1;
const CANCEL = 5;

const HEADER_BYTES = 8;
const MAX_FRAME_BYTES = 4 * 1024 * 1024;
const MAX_HEADER_BLOCK_BYTES = 64 * 1024;
const MAX_STREAMS = 1_000;
/** What one stream may hold unread before the whole connection waits for its reader. */
const MAX_UNREAD_BYTES = 1024 * 1024;
const DATA_CHUNK_BYTES = 32 * 1024;

export type SpdyHeaders = ReadonlyMap<string, string>;

/** One stream: a Duplex with the headers it was opened with. */
export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly #connection: SpdyConnection;
  #drained: (() => void) | undefined;

  constructor(connection: SpdyConnection, id: number, headers: SpdyHeaders) {
    super({ allowHalfOpen: true });
    this.id = id;
    this.headers = headers;
    this.#connection = connection;
    // Whoever uses the stream hears of errors by its own listeners; without any, a reset must not end the process.
    this.on("error", () => {});
  }
  override _read(): void {
    this.#drained?.();
    this.#drained = undefined;
  }
  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    this.#connection.sendData(this.id, chunk, false, callback);
  }
  override _final(callback: (error?: Error | null) => void): void {
    this.#connection.sendData(this.id, Buffer.alloc(0), true, callback);
  }
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#connection.forget(this.id, !this.writableFinished);
    this.#drained?.();
    callback(error);
  }
  /** Hands over what the peer sent; resolves when the reader has taken enough of it. */
  async receive(chunk: Buffer, fin: boolean): Promise<void> {
    if (this.destroyed || this.readableEnded) return;
    if (chunk.length > 0 && !this.push(chunk) && this.readableLength > MAX_UNREAD_BYTES)
      await new Promise<void>((resolve) => (this.#drained = resolve));
    if (fin) this.push(null);
  }
}

export class SpdyConnection {
  readonly #socket: Duplex;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #inflate = new HeaderCodec(zlib.createInflate({ dictionary }));
  readonly #deflate = new HeaderCodec(zlib.createDeflate({ dictionary }));
  readonly #onStream: (stream: SpdyStream) => void;
  /** Resolves when the connection is over, for whatever reason. */
  readonly closed: Promise<void>;

  constructor(socket: Duplex, head: Uint8Array, onStream: (stream: SpdyStream) => void) {
    this.#socket = socket;
    this.#onStream = onStream;
    socket.on("error", () => {});
    this.closed = this.#serve(head)
      .catch(() => {})
      .finally(() => this.close());
  }

  close(): void {
    for (const stream of this.#streams.values()) stream.destroy();
    this.#streams.clear();
    this.#socket.destroy();
  }

  /** Says goodbye once everything written has left. */
  async end(): Promise<void> {
    const lastStream = Math.max(0, ...this.#streams.keys());
    const body = Buffer.alloc(8);
    body.writeUInt32BE(lastStream, 0);
    this.#control(GOAWAY, 0, body);
    await new Promise<void>((resolve) => this.#socket.end(resolve));
  }

  sendData(id: number, chunk: Buffer, fin: boolean, callback: (error?: Error | null) => void): void {
    if (this.#socket.destroyed) return callback(new Error("the connection is closed"));
    for (let offset = 0; offset === 0 || offset < chunk.length; offset += DATA_CHUNK_BYTES) {
      const part = chunk.subarray(offset, offset + DATA_CHUNK_BYTES);
      const last = offset + DATA_CHUNK_BYTES >= chunk.length;
      const header = Buffer.alloc(HEADER_BYTES);
      header.writeUInt32BE(id, 0);
      header.writeUInt32BE(((fin && last ? FLAG_FIN : 0) << 24) | part.length, 4);
      this.#socket.write(header);
      if (last) this.#socket.write(part, (error) => callback(error));
      else this.#socket.write(part);
    }
  }

  forget(id: number, reset: boolean): void {
    if (!this.#streams.delete(id) || !reset || this.#socket.destroyed) return;
    const body = Buffer.alloc(8);
    body.writeUInt32BE(id, 0);
    body.writeUInt32BE(CANCEL, 4);
    this.#control(RST_STREAM, 0, body);
  }

  async #serve(head: Uint8Array): Promise<void> {
    let pending: Buffer = Buffer.from(head);
    const drain = async () => {
      while (pending.length >= HEADER_BYTES) {
        const length = pending.readUInt32BE(4) & 0xffffff;
        if (length > MAX_FRAME_BYTES) throw resourceExhausted(`a SPDY frame of ${length} bytes is too long`);
        if (pending.length < HEADER_BYTES + length) return;
        const frame = pending.subarray(0, HEADER_BYTES + length);
        pending = pending.subarray(HEADER_BYTES + length);
        await this.#receive(frame);
      }
    };
    await drain();
    for await (const chunk of this.#socket) {
      pending = pending.length === 0 ? (chunk as Buffer) : Buffer.concat([pending, chunk as Buffer]);
      await drain();
    }
  }

  async #receive(frame: Buffer): Promise<void> {
    const first = frame.readUInt32BE(0);
    const flags = frame[4]!;
    const body = frame.subarray(HEADER_BYTES);
    if ((first & 0x80000000) === 0)
      return this.#streams.get(first)?.receive(Buffer.from(body), (flags & FLAG_FIN) !== 0);
    const type = first & 0xffff;
    if (type === SYN_STREAM) return this.#open(body, flags);
    if (type === RST_STREAM && body.length >= 4) this.#streams.get(body.readUInt32BE(0) & 0x7fffffff)?.destroy();
    else if (type === PING) this.#control(PING, 0, body);
    else if (type === GOAWAY) for (const stream of this.#streams.values()) void stream.receive(Buffer.alloc(0), true);
  }

  async #open(body: Buffer, flags: number): Promise<void> {
    if (body.length < 10) throw invalidArgument("a SPDY SYN_STREAM frame is too short");
    const id = body.readUInt32BE(0) & 0x7fffffff;
    const headers = parseHeaders(await this.#inflate.run(body.subarray(10)));
    if (this.#streams.has(id) || this.#streams.size >= MAX_STREAMS) throw resourceExhausted("too many SPDY streams");
    const stream = new SpdyStream(this, id, headers);
    this.#streams.set(id, stream);
    const reply = Buffer.alloc(4);
    reply.writeUInt32BE(id, 0);
    this.#control(SYN_REPLY, 0, Buffer.concat([reply, await this.#deflate.run(Buffer.alloc(4))]));
    if (flags & FLAG_FIN) await stream.receive(Buffer.alloc(0), true);
    this.#onStream(stream);
  }

  #control(type: number, flags: number, body: Buffer): void {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt16BE(0x8000 | VERSION, 0);
    header.writeUInt16BE(type, 2);
    header.writeUInt32BE(((flags << 24) | body.length) >>> 0, 4);
    this.#socket.write(Buffer.concat([header, body]));
  }
}

/** Header blocks of a connection share one compression context in each direction. */
class HeaderCodec {
  readonly #stream: zlib.Inflate | zlib.Deflate;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(stream: zlib.Inflate | zlib.Deflate) {
    this.#stream = stream;
    stream.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      if (this.#bytes > MAX_HEADER_BLOCK_BYTES) stream.destroy(resourceExhausted("a SPDY header block is too long"));
    });
  }

  run(block: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const stream = this.#stream;
      stream.once("error", reject);
      stream.write(block);
      stream.flush(zlib.constants.Z_SYNC_FLUSH, () => {
        stream.removeListener("error", reject);
        const whole = Buffer.concat(this.#chunks);
        this.#chunks = [];
        this.#bytes = 0;
        resolve(whole);
      });
    });
  }
}

function parseHeaders(block: Buffer): SpdyHeaders {
  const headers = new Map<string, string>();
  let offset = 0;
  const number = () => {
    if (offset + 4 > block.length) throw invalidArgument("a SPDY header block is cut short");
    offset += 4;
    return block.readUInt32BE(offset - 4);
  };
  const text = () => {
    const length = number();
    if (offset + length > block.length) throw invalidArgument("a SPDY header block is cut short");
    offset += length;
    return block.toString("latin1", offset - length, offset);
  };
  for (let count = number(); count > 0; count--) {
    const name = text().toLowerCase();
    headers.set(name, text());
  }
  return headers;
}
