/** Tells compressions by their first bytes and undoes them: gzip and zstd here, bzip2 and xz by the programs of those names. */
import { PassThrough, Readable, type Duplex } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { BerthError, invalidArgument, messageOf, notImplemented } from "../../../base/index.ts";
import type { ExternalDecompressor } from "../../snapshot/index.ts";

export type Compression = "none" | "gzip" | "bzip2" | "xz" | "zstd";

const MAGIC_BYTES = 6;

export function compressionOf(head: Buffer): Compression {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  if (head.toString("latin1", 0, 3) === "BZh") return "bzip2";
  if (head.toString("latin1", 0, 6) === "\xfd7zXZ\0") return "xz";
  if (head.length >= 4 && head.readUInt32LE(0) === 0xfd2fb528) return "zstd";
  return "none";
}

/** The content of `source`, decompressed when it is compressed. Errors of the decompressor become invalidArgument. */
export async function* decompressed(
  source: AsyncIterable<Uint8Array>,
  external?: ExternalDecompressor,
): AsyncGenerator<Buffer> {
  const iterator = source[Symbol.asyncIterator]();
  const head: Buffer[] = [];
  let headBytes = 0;
  let ended = false;
  while (headBytes < MAGIC_BYTES && !ended) {
    const next = await iterator.next();
    if (next.done) ended = true;
    else {
      head.push(asBuffer(next.value));
      headBytes += next.value.length;
    }
  }
  const whole = replay(head, iterator, ended);
  const compression = compressionOf(Buffer.concat(head.slice(0, MAGIC_BYTES)));
  if (compression === "none") yield* whole;
  else if (compression === "gzip") yield* through(whole, createGunzip(), compression);
  else if (compression === "zstd") yield* through(whole, createZstdDecompress(), compression);
  else if (external) yield* external(compression, whole);
  else
    throw notImplemented(`${compression} archives cannot be read here`, { hint: "Use gzip, zstd or no compression." });
}

async function* replay(head: Buffer[], iterator: AsyncIterator<Uint8Array>, ended: boolean): AsyncGenerator<Buffer> {
  let done = ended;
  try {
    yield* head;
    while (!done) {
      const next = await iterator.next();
      done = next.done ?? false;
      if (!next.done) yield asBuffer(next.value);
    }
  } finally {
    if (!done) await iterator.return?.();
  }
}

async function* through(source: AsyncIterable<Buffer>, transform: Duplex, compression: string): AsyncGenerator<Buffer> {
  const input = Readable.from(source, { objectMode: true });
  let sourceError: unknown;
  input.on("error", (error) => {
    sourceError = error;
    transform.destroy(error);
  });
  try {
    for await (const chunk of input.pipe(transform).pipe(watching(transform))) yield chunk as Buffer;
  } catch (error) {
    if (sourceError instanceof BerthError) throw sourceError;
    throw invalidArgument(`the ${compression} archive is damaged: ${messageOf(error)}`, { cause: error });
  } finally {
    input.destroy();
    transform.destroy();
  }
}

/** `pipe` doesn't hand errors on. */
function watching(transform: Duplex): PassThrough {
  const out = new PassThrough();
  transform.on("error", (error) => out.destroy(error));
  return out;
}

function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}
