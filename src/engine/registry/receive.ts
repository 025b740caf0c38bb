import net from "node:net";
import tls from "node:tls";
import { invalidArgument, unavailable, type BerthError } from "../../base/index.ts";
import { Intake } from "./intake.ts";
import type { HttpBody } from "./transport.ts";

const http = process.getBuiltinModule("node:http");

export interface ReceiveOptions {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** For https. */
  readonly tls: tls.ConnectionOptions;
  /** No byte for this long, in milliseconds, and the connection counts as dead. */
  readonly silenceMs: number;
  readonly signal?: AbortSignal;
}

export interface Received {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: HttpBody;
}

const MAX_LINE_BYTES = 1 << 14;
const MAX_FIELDS = 256;

/**
 * GET by HTTP/1.1 (RFC 9112) over a connection of its own, for bodies of many megabytes. node:http gives each network read memory outside of
 * the heap, and collecting that costs as much as receiving does; here the socket reads into one buffer again and again.
 */
export async function receive(options: ReceiveOptions): Promise<Received> {
  const request = requestOf(options.url, options.headers);
  const { socket, intake } = connect(options);
  const destroy = () => void socket.destroy();
  try {
    socket.write(request);
    const reader = new WireReader(intake);
    const { status, headers } = await readHead(reader);
    const pieces = bodyOf(reader, headers);
    return { status, headers, body: { destroy, [Symbol.asyncIterator]: () => pieces } };
  } catch (error) {
    destroy();
    throw error;
  }
}

function requestOf(url: URL, headers: Readonly<Record<string, string>>): string {
  const lines = [`GET ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`, "connection: close"];
  for (const [name, value] of Object.entries(headers)) {
    http.validateHeaderName(name);
    http.validateHeaderValue(name, value);
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}

function connect({ url, tls: secure, silenceMs, signal }: ReceiveOptions): { socket: net.Socket; intake: Intake } {
  const intake = new Intake(() => socket.resume());
  const onread = { buffer: intake.landing, callback: (bytes: number) => intake.landed(bytes) };
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const https = url.protocol === "https:";
  const place = { host, port: Number(url.port) || (https ? 443 : 80), onread };
  const socket: net.Socket = https
    ? tls.connect({ ...place, servername: net.isIP(host) ? "" : host, ALPNProtocols: ["http/1.1"], ...secure })
    : net.connect(place);
  const cancel = () => void socket.destroy(signal?.reason as Error);
  signal?.addEventListener("abort", cancel, { once: true });
  if (signal?.aborted) cancel();
  socket.setTimeout(silenceMs, () => socket.destroy(new Error("no answer for a minute")));
  socket.on("end", () => intake.end());
  socket.on("error", (error) => intake.end(error));
  socket.on("close", () => {
    signal?.removeEventListener("abort", cancel);
    intake.end(new Error("the connection was closed"));
  });
  return { socket, intake };
}

/** Bytes and lines of what comes in. */
class WireReader {
  readonly #intake: Intake;
  #rest: Buffer = Buffer.alloc(0);

  constructor(intake: Intake) {
    this.#intake = intake;
  }

  /** At least one byte, at most `atMost`; undefined at the end. */
  async some(atMost: number): Promise<Buffer | undefined> {
    return (await this.#fill()) ? this.#cut(atMost) : undefined;
  }

  /** The next line, without its end. */
  async line(): Promise<string> {
    let line = "";
    while (await this.#fill()) {
      const end = this.#rest.indexOf("\n") + 1;
      line += this.#cut(end || Infinity).toString("latin1");
      if (line.length > MAX_LINE_BYTES)
        throw invalidArgument(`an answer has a line of more than ${MAX_LINE_BYTES} bytes`);
      if (end > 0) return line.trimEnd();
    }
    throw cutShort();
  }

  #cut(atMost: number): Buffer {
    const some = this.#rest.subarray(0, atMost);
    this.#rest = this.#rest.subarray(some.byteLength);
    return some;
  }

  async #fill(): Promise<boolean> {
    if (this.#rest.byteLength > 0) return true;
    const next = await this.#intake.take();
    if (next) this.#rest = next;
    return next !== undefined;
  }
}

async function readHead(reader: WireReader): Promise<{ status: number; headers: Record<string, string> }> {
  for (;;) {
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(await reader.line())?.[1];
    if (status === undefined) throw unavailable("the answer isn't HTTP/1.1");
    const headers = await readFields(reader);
    // Informational answers come before the one that counts.
    if (!status.startsWith("1")) return { status: Number(status), headers };
  }
}

async function readFields(reader: WireReader): Promise<Record<string, string>> {
  const fields: Record<string, string> = {};
  for (let count = 0; ; count++) {
    const line = await reader.line();
    if (line === "") return fields;
    if (count === MAX_FIELDS) throw invalidArgument(`an answer has more than ${MAX_FIELDS} header fields`);
    const [, name, value] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined) throw unavailable("the answer has a broken header");
    const key = name.toLowerCase();
    fields[key] = key in fields ? `${fields[key]}, ${value}` : value!;
  }
}

/** The body's bytes, by whichever of the three ways its length is told (RFC 9112, section 6.3). */
async function* bodyOf(reader: WireReader, headers: Readonly<Record<string, string>>): AsyncGenerator<Buffer> {
  const { "transfer-encoding": coding, "content-length": length } = headers;
  if (coding !== undefined) return yield* chunked(reader, coding);
  if (length === undefined) return yield* exactly(reader, Infinity);
  if (!/^\d+$/.test(length)) throw unavailable(`the answer has the length ${length}`);
  yield* exactly(reader, Number(length));
}

/** `bytes` bytes; all until the end when that is Infinity. */
async function* exactly(reader: WireReader, bytes: number): AsyncGenerator<Buffer> {
  for (let left = bytes; left > 0;) {
    const some = await reader.some(left);
    if (!some && bytes === Infinity) return;
    if (!some) throw cutShort();
    left -= some.byteLength;
    yield some;
  }
}

async function* chunked(reader: WireReader, coding: string): AsyncGenerator<Buffer> {
  if (coding.toLowerCase() !== "chunked") throw unavailable(`the answer is coded as ${coding}, which wasn't asked for`);
  for (;;) {
    const size = /^[0-9a-f]{1,12}/i.exec(await reader.line())?.[0];
    if (size === undefined) throw unavailable("the answer has a broken chunk");
    if (Number.parseInt(size, 16) === 0) return;
    yield* exactly(reader, Number.parseInt(size, 16));
    await reader.line();
  }
}

function cutShort(): BerthError {
  return unavailable("the connection ended in the middle of the answer");
}
