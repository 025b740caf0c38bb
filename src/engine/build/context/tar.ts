/**
 * Reads a tar stream (ustar, pax, GNU) chunk by chunk, without copying file content: what a build context arrives in.
 * https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
 */
import { invalidArgument } from "../../../base/index.ts";
import { MAX_TAR_METADATA_BYTES } from "../limits.ts";

export type TarType = "file" | "directory" | "symlink" | "hardlink" | "character" | "block" | "fifo";

export interface TarHeader {
  readonly name: string;
  readonly type: TarType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly linkName: string;
}

/** Told of each entry; `data` only for files, and only bytes that are theirs. The buffers are valid during the call. */
export interface TarSink {
  entry(header: TarHeader): void;
  data(chunk: Buffer): void;
  endEntry(): void;
}

const BLOCK = 512;
const TYPES: Record<string, TarType> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};

/** Throws invalidArgument for what isn't a tar archive, and from `end` for a truncated one. */
export class TarParser {
  readonly #sink: TarSink;
  #partial = Buffer.alloc(0);
  /** Content of the current entry still to come, and padding behind it. */
  #left = 0;
  #padding = 0;
  /** Collects a pax header or a long name; undefined while content goes to the sink. */
  #metadata: { type: string; chunks: Buffer[] } | undefined;
  #open = false;
  #pax: Record<string, string> = {};
  #global: Record<string, string> = {};
  #longName: string | undefined;
  #longLink: string | undefined;
  #zeroBlocks = 0;
  #entries = 0;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  write(chunk: Buffer): void {
    let data = this.#partial.length > 0 ? Buffer.concat([this.#partial, chunk]) : chunk;
    this.#partial = Buffer.alloc(0);
    while (data.length > 0 && this.#zeroBlocks < 2) {
      const used = this.#left > 0 || this.#open || this.#metadata ? this.#content(data) : this.#header(data);
      if (used === 0) {
        this.#partial = Buffer.from(data);
        return;
      }
      data = data.subarray(used);
    }
  }

  /** To be called at the end of the stream. An archive without its two zero blocks is accepted, as GNU tar does. */
  end(): void {
    if (this.#open || this.#metadata || this.#partial.length > 0) throw invalidArgument("the tar archive is truncated");
  }

  #content(data: Buffer): number {
    if (this.#left > 0) {
      const part = data.subarray(0, this.#left);
      this.#left -= part.length;
      if (this.#metadata) this.#metadata.chunks.push(Buffer.from(part));
      else this.#sink.data(part);
      if (this.#left === 0 && this.#padding === 0) this.#finish();
      return part.length;
    }
    const skipped = Math.min(this.#padding, data.length);
    this.#padding -= skipped;
    if (this.#padding === 0) this.#finish();
    return skipped;
  }

  #finish(): void {
    if (this.#metadata) this.#takeMetadata(this.#metadata);
    else if (this.#open) this.#sink.endEntry();
    this.#metadata = undefined;
    this.#open = false;
  }

  #takeMetadata({ type, chunks }: { type: string; chunks: Buffer[] }): void {
    const bytes = Buffer.concat(chunks);
    if (type === "L") this.#longName = cString(bytes);
    else if (type === "K") this.#longLink = cString(bytes);
    else if (type === "g") this.#global = { ...this.#global, ...parsePax(bytes) };
    else this.#pax = parsePax(bytes);
  }

  #header(data: Buffer): number {
    if (data.length < BLOCK) return 0;
    const block = data.subarray(0, BLOCK);
    if (block.every((byte) => byte === 0)) {
      this.#zeroBlocks++;
      return BLOCK;
    }
    this.#zeroBlocks = 0;
    checkSum(block, this.#entries);
    const type = String.fromCharCode(block[156]!);
    const sizeBytes = number(block, 124, 12);
    if ("LKxg".includes(type)) {
      if (sizeBytes > MAX_TAR_METADATA_BYTES) throw invalidArgument("a name in the tar archive is too long");
      this.#metadata = { type, chunks: [] };
      this.#expect(sizeBytes);
      return BLOCK;
    }
    this.#entries++;
    const header = this.#describe(block, type, sizeBytes);
    this.#pax = {};
    this.#longName = this.#longLink = undefined;
    this.#open = true;
    this.#sink.entry(header);
    this.#expect(header.type === "file" ? header.sizeBytes : 0);
    return BLOCK;
  }

  #expect(sizeBytes: number): void {
    this.#left = sizeBytes;
    this.#padding = (BLOCK - (sizeBytes % BLOCK)) % BLOCK;
    if (sizeBytes === 0) this.#finish();
  }

  #describe(block: Buffer, type: string, blockSize: number): TarHeader {
    const pax = { ...this.#global, ...this.#pax };
    const ustar = block.toString("latin1", 257, 262) === "ustar";
    const prefix = ustar && block[263] !== 0x20 ? cString(block.subarray(345, 500)) : "";
    const short = cString(block.subarray(0, 100));
    const name = pax["path"] ?? this.#longName ?? (prefix ? `${prefix}/${short}` : short);
    const known = TYPES[type];
    if (!known) throw invalidArgument(`the tar archive has an entry of unknown type ${JSON.stringify(type)}: ${name}`);
    if (Object.keys(pax).some((key) => key.startsWith("GNU.sparse")))
      throw invalidArgument(`sparse files in tar archives are not supported: ${name}`);
    const sizeBytes = pax["size"] === undefined ? blockSize : Number(pax["size"]);
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
      throw invalidArgument(`the tar archive has an entry of impossible size: ${name}`);
    return {
      name,
      type: known === "file" && name.endsWith("/") ? "directory" : known,
      mode: number(block, 100, 8) & 0o7777,
      uid: pax["uid"] === undefined ? number(block, 108, 8) : Number(pax["uid"]),
      gid: pax["gid"] === undefined ? number(block, 116, 8) : Number(pax["gid"]),
      sizeBytes,
      mtimeSeconds: pax["mtime"] === undefined ? number(block, 136, 12) : Number(pax["mtime"]),
      linkName: pax["linkpath"] ?? this.#longLink ?? cString(block.subarray(157, 257)),
    };
  }
}

function cString(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  const own = end < 0 ? bytes : bytes.subarray(0, end);
  const text = own.toString("utf8");
  // A name that UTF-8 cannot carry would silently become another one.
  if (text.includes("\uFFFD") && !Buffer.from(text).equals(own))
    throw invalidArgument(`a name in the tar archive is not UTF-8: ${text}`);
  return text;
}

/** Octal digits, or GNU's big-endian binary when the first bit is set. */
function number(block: Buffer, offset: number, length: number): number {
  const field = block.subarray(offset, offset + length);
  if (field[0]! & 0x80) {
    let value = BigInt(field[0]! & 0x7f);
    for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
    // Negative times and the like: before 1970 is as good as 1970.
    return field[0] === 0xff || value > BigInt(Number.MAX_SAFE_INTEGER) ? 0 : Number(value);
  }
  const text = field.toString("latin1").replace(/\0.*$/s, "").trim();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) throw invalidArgument("this is not a tar archive: a number in a header is malformed");
  return Number.parseInt(text, 8);
}

function checkSum(block: Buffer, entries: number): void {
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK; at++) if (at < 148 || at >= 156) sum += block[at]!;
  const wanted = number(block, 148, 8);
  if (wanted !== sum)
    throw invalidArgument(
      entries === 0 ? "this is not a tar archive" : "the tar archive is damaged: a header's checksum is wrong",
    );
}

/** `LENGTH key=value\n`, the length counting itself. */
function parsePax(bytes: Buffer): Record<string, string> {
  const values: Record<string, string> = {};
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(bytes.toString("latin1", at, space));
    if (!Number.isSafeInteger(length) || length <= space - at || at + length > bytes.length)
      throw invalidArgument("the tar archive is damaged: a pax header is malformed");
    const record = bytes.subarray(space + 1, at + length - 1);
    const equals = record.indexOf(0x3d);
    if (equals > 0) values[record.toString("utf8", 0, equals)] = cString(record.subarray(equals + 1));
    at += length;
  }
  return values;
}
