import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { crc32, gzip } from "node:zlib";
import { assert } from "../../../base/index.ts";

/** Content is compressed in pieces, each a gzip member of its own; RFC 1952 lets members follow each other. */
const PIECE_BYTES = 1 << 18;
/** Pieces in work at one time. */
const MAX_IN_FLIGHT = 8;
/** Level 1: a push over a local network is bound by compression, and the next levels cost two and three times as much for 2 to 4 %. */
const LEVEL = 1;
/** Bits per byte above which content counts as packed already (images, archives, wheels): random bytes have 7.95 in such a sample. */
const DENSE_BITS = 7.8;
const SAMPLE_BYTES = 4096;
/** The longest stored block of DEFLATE (RFC 1951). */
const STORED_BYTES = 0xffff;

export interface Compressed {
  readonly rawDigest: string;
  readonly rawBytes: number;
  readonly digest: string;
  readonly sizeBytes: number;
}

/**
 * Gzips `source` into `file`, several pieces at a time on the thread pool, hashing both sides on the way. The same content always gives
 * the same bytes.
 */
export async function compressTo(file: string, source: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<Compressed> {
  const raw = createHash("sha256");
  const packed = createHash("sha256");
  let rawBytes = 0;
  let sizeBytes = 0;
  const handle = await open(file, "w", 0o600);
  const inFlight: Promise<Buffer>[] = [];
  const drainOne = async () => {
    const member = await inFlight.shift()!;
    packed.update(member);
    for (let done = 0; done < member.byteLength;) done += (await handle.write(member, done)).bytesWritten;
    sizeBytes += member.byteLength;
  };
  try {
    for await (const piece of pieces(source)) {
      inFlight.push(gzipAsync(piece));
      raw.update(piece);
      rawBytes += piece.byteLength;
      if (inFlight.length >= MAX_IN_FLIGHT) await drainOne();
    }
    while (inFlight.length > 0) await drainOne();
    await handle.datasync();
  } finally {
    await Promise.allSettled(inFlight);
    await handle.close();
  }
  return { rawDigest: `sha256:${raw.digest("hex")}`, rawBytes, digest: `sha256:${packed.digest("hex")}`, sizeBytes };
}

function gzipAsync(piece: Buffer): Promise<Buffer> {
  // Trying to make dense content smaller would take most of a push's time, and for nothing.
  if (isDense(piece)) return Promise.resolve(stored(piece));
  return new Promise((resolve, reject) =>
    gzip(piece, { level: LEVEL, memLevel: 9 }, (error, result) => (error ? reject(error) : resolve(result))),
  );
}

/** Whether samples of the beginning, the middle and the end are as good as random. */
function isDense(piece: Buffer): boolean {
  const last = piece.byteLength - SAMPLE_BYTES;
  return last > 2 * SAMPLE_BYTES && [0, last >> 1, last].every((at) => entropyBits(piece, at) > DENSE_BITS);
}

/** Shannon's entropy of the bytes of a sample, bits per byte. */
function entropyBits(piece: Buffer, start: number): number {
  const counts = new Uint32Array(256);
  for (let at = start; at < start + SAMPLE_BYTES; at++) counts[piece[at]!]!++;
  let bits = 0;
  for (const count of counts) if (count > 0) bits -= (count / SAMPLE_BYTES) * Math.log2(count / SAMPLE_BYTES);
  return bits;
}

/** A gzip member that holds the content as it is. */
function stored(piece: Buffer): Buffer {
  const blocks = Math.ceil(piece.byteLength / STORED_BYTES);
  const member = Buffer.allocUnsafe(10 + blocks * 5 + piece.byteLength + 8);
  member.set([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
  let at = 10;
  for (let from = 0; from < piece.byteLength; from += STORED_BYTES) {
    const length = Math.min(STORED_BYTES, piece.byteLength - from);
    member[at] = from + length === piece.byteLength ? 1 : 0;
    member.writeUInt16LE(length, at + 1);
    member.writeUInt16LE(length ^ 0xffff, at + 3);
    piece.copy(member, at + 5, from, from + length);
    at += 5 + length;
  }
  member.writeUInt32LE(crc32(piece), at);
  member.writeUInt32LE(piece.byteLength, at + 4);
  return member;
}

/** Cuts a sequence of chunks into pieces of one size, so that the result doesn't depend on how it came. */
async function* pieces(source: Iterable<Buffer> | AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength;) {
      const copied = chunk.copy(piece, filled, at);
      at += copied;
      filled += copied;
      if (filled < PIECE_BYTES) continue;
      yield piece;
      piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
      filled = 0;
    }
  }
  assert(filled < PIECE_BYTES, "a full piece is handed on");
  if (filled > 0) yield piece.subarray(0, filled);
}
