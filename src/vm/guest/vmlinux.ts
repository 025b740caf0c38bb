/**
 * The kernel itself out of an x86 boot image (https://docs.kernel.org/arch/x86/boot.html): what a hypervisor starts directly (PVH) does not have to unpack itself,
 * which is slow under emulation.
 */
const SETUP_SECTORS = 0x1f1;
const MAGIC = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const SECTOR_BYTES = 512;
const DEFAULT_SETUP_SECTORS = 4;
/** The archive format of `lz4 -l`, by which kernels are packed: blocks of at most 8 MiB, each with its length before it. */
const LZ4_LEGACY = 0x184c2102;
const BLOCK_BYTES = 8 * 1024 * 1024;
const MIN_MATCH = 4;
const LONG = 15;

/** Undefined for an image that is packed in another way, or is none. */
export function unpackKernel(image: Buffer): Buffer | undefined {
  if (image.length < PAYLOAD_LENGTH + 4 || image.toString("latin1", MAGIC, MAGIC + 4) !== "HdrS") return undefined;
  const start =
    ((image[SETUP_SECTORS] || DEFAULT_SETUP_SECTORS) + 1) * SECTOR_BYTES + image.readUInt32LE(PAYLOAD_OFFSET);
  const payload = image.subarray(start, start + image.readUInt32LE(PAYLOAD_LENGTH));
  if (payload.length < 8 || payload.readUInt32LE(0) !== LZ4_LEGACY) return undefined;
  const blocks: Buffer[] = [];
  // Behind the last block stands the length of the whole.
  for (let at = 4; at + 4 < payload.length;) {
    const length = payload.readUInt32LE(at);
    blocks.push(unpackBlock(payload.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  const kernel = Buffer.concat(blocks);
  return kernel.toString("latin1", 0, 4) === "\x7fELF" ? kernel : undefined;
}

/** LZ4's block format: literals, then a copy of what was there some bytes before, again and again; the last sequence has literals only. */
export function unpackBlock(source: Buffer, maxBytes = BLOCK_BYTES): Buffer {
  const target = Buffer.allocUnsafe(maxBytes);
  let from = 0;
  let to = 0;
  const lengthOf = (start: number): number => {
    let length = start;
    if (start < LONG) return length;
    let byte: number;
    do {
      byte = source[from++]!;
      length += byte;
    } while (byte === 255);
    return length;
  };
  while (from < source.length) {
    const token = source[from++]!;
    const literals = lengthOf(token >> 4);
    source.copy(target, to, from, from + literals);
    from += literals;
    to += literals;
    if (from >= source.length) break;
    const distance = source.readUInt16LE(from);
    from += 2;
    const end = to + lengthOf(token & LONG) + MIN_MATCH;
    // Byte by byte: a copy may run into what it writes.
    for (; to < end; to++) target[to] = target[to - distance]!;
  }
  return target.subarray(0, to);
}
