import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { gzip } from "node:zlib";
import { assert } from "../../../base/index.ts";

/** Content is compressed in pieces, each a gzip member of its own; RFC 1952 lets members follow each other. */
const PIECE_BYTES = 1 << 20;
/** Level 1: a push over a local network is bound by compression, and the next levels cost two and three times as much for 2 to 4 %. */
const LEVEL = 1;

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
      if (inFlight.length >= 4) await drainOne();
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
  return new Promise((resolve, reject) =>
    gzip(piece, { level: LEVEL, memLevel: 9 }, (error, result) => (error ? reject(error) : resolve(result))),
  );
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
