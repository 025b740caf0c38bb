import { createHash, type Hash } from "node:crypto";
import { writeSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { crc32, gzip } from "node:zlib";
import { assert } from "../../../base/index.ts";

/** Content is compressed in pieces, each one or several gzip members; RFC 1952 lets members follow each other. */
const PIECE_BYTES = 1 << 18;
/** Pieces in work at one time. */
const MAX_IN_FLIGHT = 8;
/** Level 1: a push over a local network is bound by compression, and the next levels cost two and three times as much for 2 to 4 %. */
const LEVEL = 1;
/** What is looked at as one when packed content (images, archives, wheels) is told from what can be packed. */
const BLOCK_BYTES = 1 << 15;
/** Bits per byte above which a block counts as packed already: random bytes have 7.95 in such a sample. */
const DENSE_BITS = 7.8;
/** A sample is taken from as many places of a block, so that one of mixed content isn't taken for dense. */
const SAMPLES = 4;
const SAMPLE_BYTES = 1024;
/** The longest stored block of DEFLATE (RFC 1951). */
const STORED_BYTES = 0xffff;

export interface Compressed {
  readonly rawDigest: string;
  readonly rawBytes: number;
  readonly digest: string;
  readonly sizeBytes: number;
}

/** One gzip member to be: content that is stored as it is, or what zlib is making of it. */
type Member = { readonly stored: Buffer } | { readonly packed: Promise<Buffer> };

/**
 * Gzips `source` into `file`, several pieces at a time on the thread pool, hashing both sides on the way. The same content always gives
 * the same bytes. `onBytes` is told how much of the file is written.
 */
export async function compressTo(
  file: string,
  source: Iterable<Buffer> | AsyncIterable<Buffer>,
  onBytes: (written: number) => void = () => {},
): Promise<Compressed> {
  const raw = createHash("sha256");
  const inFlight: { piece: Buffer; members: Member[] }[] = [];
  const free: Buffer[] = [];
  let rawBytes = 0;
  const out = new Output(await open(file, "w", 0o600));
  const scratch = Buffer.allocUnsafeSlow(MAX_STORED_MEMBER_BYTES);
  const drainOne = async () => {
    const { piece, members } = inFlight[0]!;
    for (const member of members)
      out.write("stored" in member ? storedMember(member.stored, scratch) : await member.packed);
    inFlight.shift();
    free.push(piece);
    onBytes(out.sizeBytes);
  };
  try {
    for await (const piece of pieces(source, () => free.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES))) {
      inFlight.push({ piece: Buffer.from(piece.buffer), members: membersOf(piece) });
      raw.update(piece);
      rawBytes += piece.byteLength;
      if (inFlight.length >= MAX_IN_FLIGHT) await drainOne();
    }
    while (inFlight.length > 0) await drainOne();
    await out.sync();
  } finally {
    await Promise.allSettled(
      inFlight.flatMap(({ members }) => members.flatMap((each) => ("packed" in each ? each.packed : []))),
    );
    await out.close();
  }
  return { rawDigest: `sha256:${raw.digest("hex")}`, rawBytes, digest: out.digest(), sizeBytes: out.sizeBytes };
}

/** The file and the digest of what is in it. */
class Output {
  readonly #handle: FileHandle;
  readonly #hash: Hash = createHash("sha256");
  sizeBytes = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }
  /** Synchronous, as the reading is: this runs in a thread of its own, while zlib works in others. */
  write(bytes: Buffer): void {
    this.#hash.update(bytes);
    for (let done = 0; done < bytes.byteLength;) done += writeSync(this.#handle.fd, bytes, done);
    this.sizeBytes += bytes.byteLength;
  }
  digest(): string {
    return `sha256:${this.#hash.digest("hex")}`;
  }
  sync(): Promise<void> {
    return this.#handle.datasync();
  }
  close(): Promise<void> {
    return this.#handle.close();
  }
}

/**
 * Cuts a piece where dense and other content meet. Trying to make dense content smaller would take most of a push's time, and for nothing:
 * it is stored.
 */
function membersOf(piece: Buffer): Member[] {
  const members: Member[] = [];
  for (let from = 0; from < piece.byteLength;) {
    const dense = isDense(piece.subarray(from, from + BLOCK_BYTES));
    let to = from + BLOCK_BYTES;
    while (to < piece.byteLength && isDense(piece.subarray(to, to + BLOCK_BYTES)) === dense) to += BLOCK_BYTES;
    const content = piece.subarray(from, to);
    members.push(dense ? { stored: content } : { packed: gzipAsync(content) });
    from = to;
  }
  return members;
}

function gzipAsync(content: Buffer): Promise<Buffer> {
  const packed = new Promise<Buffer>((resolve, reject) =>
    gzip(content, { level: LEVEL, memLevel: 9 }, (error, result) => (error ? reject(error) : resolve(result))),
  );
  // Whoever waits for it sees the failure; until then it is nobody's.
  packed.catch(() => {});
  return packed;
}

/** Whether samples from all over a block are together as good as random. Shannon's entropy of their bytes says. */
function isDense(block: Buffer): boolean {
  if (block.byteLength < 2 * SAMPLES * SAMPLE_BYTES) return false;
  const counts = new Uint16Array(256);
  const step = Math.floor((block.byteLength - SAMPLE_BYTES) / (SAMPLES - 1));
  for (let sample = 0; sample < SAMPLES; sample++)
    for (let at = sample * step, end = at + SAMPLE_BYTES; at < end; at++) counts[block[at]!]!++;
  const size = SAMPLES * SAMPLE_BYTES;
  let bits = 0;
  for (const count of counts) if (count > 0) bits -= (count / size) * Math.log2(count / size);
  return bits > DENSE_BITS;
}

const MAX_STORED_MEMBER_BYTES = PIECE_BYTES + Math.ceil(PIECE_BYTES / STORED_BYTES) * 5 + 18;

/** A gzip member that holds the content as it is, made in `scratch`. */
function storedMember(content: Buffer, scratch: Buffer): Buffer {
  scratch.set([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
  let at = 10;
  for (let from = 0; from < content.byteLength; from += STORED_BYTES) {
    const length = Math.min(STORED_BYTES, content.byteLength - from);
    scratch[at] = from + length === content.byteLength ? 1 : 0;
    scratch.writeUInt16LE(length, at + 1);
    scratch.writeUInt16LE(length ^ 0xffff, at + 3);
    content.copy(scratch, at + 5, from, from + length);
    at += 5 + length;
  }
  scratch.writeUInt32LE(crc32(content), at);
  scratch.writeUInt32LE(content.byteLength, at + 4);
  return scratch.subarray(0, at + 8);
}

/** Cuts a sequence of chunks into pieces of one size, so that the result doesn't depend on how it came. */
async function* pieces(source: Iterable<Buffer> | AsyncIterable<Buffer>, take: () => Buffer): AsyncGenerator<Buffer> {
  let piece = take();
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength;) {
      const copied = chunk.copy(piece, filled, at);
      at += copied;
      filled += copied;
      if (filled < PIECE_BYTES) continue;
      yield piece;
      piece = take();
      filled = 0;
    }
  }
  assert(filled < PIECE_BYTES, "a full piece is handed on");
  if (filled > 0) yield piece.subarray(0, filled);
}
