import { BerthError, decodeName, invalidArgument } from "../../base/index.ts";
import {
  checkSegments,
  headerSegments,
  MAX_SEGMENTS,
  parseMapRecord,
  SparseMapReader,
  type Segment,
} from "./sparse.ts";
import { BLOCK, type TarEntry, type TarType } from "./types.ts";

export interface TarHandler {
  entry(entry: TarEntry): void;
  data(chunk: Buffer): void;
  /** Zeros in a sparse file, at its end also. Without it such files are refused: they could be of any size. */
  hole?(bytes: number): void;
  entryEnd(): void;
}

/** Extended headers (PAX records, GNU long names) are held in memory, so they are bounded. */
const MAX_EXTENDED_BYTES = 1 << 20;

type State = "header" | "data" | "extended" | "sparseHeader" | "sparseMap" | "padding" | "end";

/** The sparse file that is being read. */
interface Sparse {
  readonly entry: TarEntry;
  segments: Segment[];
  /** Which piece comes next or is being read, and how far the file has come. */
  next: number;
  at: number;
}

/**
 * A tar parser fed with chunks of any size, calling back synchronously: ustar, PAX and GNU forms
 * (https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13). Content is passed on as slices, never copied.
 * Throws `invalidArgument` at the first byte that makes no sense.
 */
export class TarParser {
  readonly #handler: TarHandler;
  #state: State = "header";
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #left = 0;
  #padding = 0;
  #extendedType = "";
  #global: Record<string, Buffer> = {};
  #next: Record<string, Buffer> = {};
  #zeroBlocks = 0;
  #sawHeader = false;
  #sawEntry = false;
  #sparse: Sparse | undefined;
  #map = new SparseMapReader();

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  write(chunk: Buffer): void {
    let rest = chunk;
    while (rest.byteLength > 0) rest = this.#step(rest);
  }

  /** Throws when the archive stops in the middle of an entry. */
  end(): void {
    const whole = this.#state === "end" || (this.#state === "header" && this.#pendingBytes === 0);
    if (!whole) throw invalidArgument("the tar archive is truncated");
    if (!this.#sawEntry && this.#zeroBlocks === 0) throw noArchive("it is empty");
  }

  #step(chunk: Buffer): Buffer {
    switch (this.#state) {
      case "header":
        return this.#collect(chunk, BLOCK, (block) => this.#header(block));
      case "extended":
        return this.#collect(chunk, this.#left, (body) => this.#extended(body));
      case "data": {
        const taken = chunk.subarray(0, Math.min(this.#left, this.#inPiece()));
        this.#left -= taken.byteLength;
        if (this.#sparse) this.#sparse.at += taken.byteLength;
        this.#handler.data(taken);
        if (this.#left === 0) this.#finishEntry();
        return chunk.subarray(taken.byteLength);
      }
      case "sparseHeader":
        return this.#collect(chunk, BLOCK, (block) => this.#sparseHeader(block));
      case "sparseMap":
        return this.#collect(chunk, BLOCK, (block) => this.#sparseMap(block));
      case "padding": {
        const skipped = Math.min(this.#padding, chunk.byteLength);
        this.#padding -= skipped;
        if (this.#padding === 0) this.#state = "header";
        return chunk.subarray(skipped);
      }
      case "end":
        return chunk.subarray(chunk.byteLength);
    }
  }

  /** Waits until `size` bytes are together. */
  #collect(chunk: Buffer, size: number, whole: (bytes: Buffer) => void): Buffer {
    const missing = size - this.#pendingBytes;
    if (chunk.byteLength < missing) {
      this.#pending.push(chunk);
      this.#pendingBytes += chunk.byteLength;
      return chunk.subarray(chunk.byteLength);
    }
    const head = chunk.subarray(0, missing);
    const bytes = this.#pendingBytes === 0 ? head : Buffer.concat([...this.#pending, head]);
    this.#pending = [];
    this.#pendingBytes = 0;
    whole(bytes);
    return chunk.subarray(missing);
  }

  #header(block: Buffer): void {
    if (isZero(block)) {
      if (++this.#zeroBlocks === 2) this.#state = "end";
      return;
    }
    this.#zeroBlocks = 0;
    if (!hasRightChecksum(block))
      throw this.#sawHeader
        ? invalidArgument("the tar archive is damaged: a header's checksum is wrong")
        : noArchive("its first header's checksum is wrong");
    this.#sawHeader = true;
    const typeFlag = String.fromCharCode(block[156]!);
    const size = readNumber(block, 124, 12, "size");
    if ("xgLK".includes(typeFlag)) return this.#beginExtended(typeFlag, size);
    const records = { ...this.#global, ...this.#next };
    const entry = this.#makeEntry(block, typeFlag, size, records);
    this.#next = {};
    this.#sawEntry = true;
    this.#left = entry.storedBytes;
    this.#padding = padding(entry.storedBytes);
    if (typeFlag === "S" || isSparse(records)) return this.#beginSparse(entry, block, typeFlag, records);
    this.#handler.entry(entry);
    this.#beginData();
  }

  #beginData(): void {
    if (this.#left === 0) this.#finishEntry();
    else this.#state = "data";
  }

  #beginSparse(entry: TarEntry, block: Buffer, typeFlag: string, records: Record<string, Buffer>): void {
    if (!this.#handler.hole || entry.type !== "file")
      throw invalidArgument(`${entry.name}: sparse files aren't supported here`);
    this.#sparse = { entry, segments: [], next: 0, at: 0 };
    if (typeFlag === "S") {
      this.#sparse.segments = headerSegments(block, 386, 4, readNumber);
      if (block[482] === 0) return this.#beginSparseData();
      this.#state = "sparseHeader";
    } else if (records["GNU.sparse.major"]?.toString() === "1") {
      this.#map = new SparseMapReader();
      this.#state = "sparseMap";
    } else {
      this.#sparse.segments = parseMapRecord((records["GNU.sparse.map"] ?? Buffer.alloc(0)).toString("latin1"));
      this.#beginSparseData();
    }
  }

  #sparseHeader(block: Buffer): void {
    this.#sparse!.segments.push(...headerSegments(block, 0, 21, readNumber));
    if (this.#sparse!.segments.length > MAX_SEGMENTS || block[504] === 0) this.#beginSparseData();
  }

  #sparseMap(block: Buffer): void {
    const segments = this.#map.block(block);
    if (this.#map.bytes > this.#left)
      throw invalidArgument("the tar archive has a broken sparse file: its map is cut short");
    if (!segments) return;
    this.#left -= this.#map.bytes;
    this.#sparse!.segments = segments;
    this.#beginSparseData();
  }

  #beginSparseData(): void {
    const { entry, segments } = this.#sparse!;
    checkSegments(segments, entry.sizeBytes, this.#left);
    this.#handler.entry({ ...entry, storedBytes: this.#left });
    this.#beginData();
  }

  /** How many bytes come before the next hole, which is told when it is reached. */
  #inPiece(): number {
    const sparse = this.#sparse;
    if (!sparse) return Infinity;
    for (;;) {
      const { offset, bytes } = sparse.segments[sparse.next]!;
      if (sparse.at < offset) this.#hole(offset);
      if (sparse.at < offset + bytes) return offset + bytes - sparse.at;
      sparse.next++;
    }
  }

  #hole(until: number): void {
    const bytes = until - this.#sparse!.at;
    this.#sparse!.at = until;
    if (bytes > 0) this.#handler.hole!(bytes);
  }

  #finishEntry(): void {
    if (this.#sparse) this.#hole(this.#sparse.entry.sizeBytes);
    this.#sparse = undefined;
    this.#handler.entryEnd();
    this.#state = this.#padding > 0 ? "padding" : "header";
  }

  #beginExtended(typeFlag: string, size: number): void {
    if (size > MAX_EXTENDED_BYTES)
      throw invalidArgument(`a tar header of ${size} bytes is larger than ${MAX_EXTENDED_BYTES}`);
    this.#extendedType = typeFlag;
    this.#left = size;
    this.#padding = padding(size);
    this.#state = "extended";
    if (size === 0) this.#extended(Buffer.alloc(0));
  }

  #extended(body: Buffer): void {
    if (this.#extendedType === "L") this.#next["path"] = trimZeros(body);
    else if (this.#extendedType === "K") this.#next["linkpath"] = trimZeros(body);
    else if (this.#extendedType === "g") Object.assign(this.#global, parsePax(body));
    else Object.assign(this.#next, parsePax(body));
    this.#state = this.#padding > 0 ? "padding" : "header";
  }

  #makeEntry(
    block: Buffer,
    typeFlag: string,
    headerSize: number,
    records: Record<string, Buffer>,
  ): TarEntry & { storedBytes: number } {
    const text = (key: string, otherwise: () => string) => (records[key] ? decodeName(records[key]) : otherwise());
    const number = (key: string, otherwise: () => number) =>
      records[key] ? paxNumber(records[key], key) : otherwise();
    const name = text("GNU.sparse.name", () => text("path", () => headerName(block, typeFlag)));
    const type = typeOf(typeFlag, name);
    const stored = type === "file" ? number("size", () => headerSize) : 0;
    const real = () => (typeFlag === "S" ? readNumber(block, 483, 12, "size") : stored);
    const size = number("GNU.sparse.realsize", () => number("GNU.sparse.size", real));
    return {
      name,
      type,
      mode: readNumber(block, 100, 8, "mode") & 0o7777,
      uid: number("uid", () => readNumber(block, 108, 8, "uid")),
      gid: number("gid", () => readNumber(block, 116, 8, "gid")),
      sizeBytes: type === "file" ? size : 0,
      storedBytes: stored,
      mtime: number("mtime", () => readNumber(block, 136, 12, "mtime")),
      linkName: text("linkpath", () => readString(block, 157, 100)),
      major: type === "character" || type === "block" ? readNumber(block, 329, 8, "major") : 0,
      minor: type === "character" || type === "block" ? readNumber(block, 337, 8, "minor") : 0,
      attributes: attributesOf(records),
    };
  }
}

function typeOf(flag: string, name: string): TarType {
  switch (flag) {
    case "0":
    case "\0":
    case "7":
    case "S":
      // Before ustar, a directory was a file whose name ends with a slash.
      return name.endsWith("/") ? "directory" : "file";
    case "1":
      return "hardlink";
    case "2":
      return "symlink";
    case "3":
      return "character";
    case "4":
      return "block";
    case "5":
      return "directory";
    case "6":
      return "fifo";
    default:
      throw invalidArgument(`${name}: tar entries of type "${flag}" aren't supported`);
  }
}

function isSparse(records: Record<string, Buffer>): boolean {
  return Object.keys(records).some((key) => key.startsWith("GNU.sparse."));
}

function headerName(block: Buffer, typeFlag: string): string {
  const name = readString(block, 0, 100);
  // In GNU's own header for sparse files the map stands where others have a prefix.
  const posix = typeFlag !== "S" && block.toString("latin1", 257, 263) === "ustar\0";
  const prefix = posix ? readString(block, 345, 155) : "";
  return prefix ? `${prefix}/${name}` : name;
}

function attributesOf(records: Record<string, Buffer>): Record<string, Buffer> {
  const prefix = "SCHILY.xattr.";
  const entries = Object.entries(records).filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(entries.map(([key, value]) => [key.slice(prefix.length), value]));
}

/** `LENGTH KEY=VALUE\n`, LENGTH counting all of it. */
function parsePax(body: Buffer): Record<string, Buffer> {
  const records: Record<string, Buffer> = Object.create(null) as Record<string, Buffer>;
  // Of a sparse file's oldest form, in which the same keys come again and again.
  const pieces: string[] = [];
  for (let at = 0; at < body.byteLength;) {
    const space = body.indexOf(0x20, at);
    const length = space < 0 ? NaN : Number(body.toString("latin1", at, space));
    const end = at + length;
    if (!Number.isInteger(length) || length < 5 || end > body.byteLength || body[end - 1] !== 0x0a)
      throw invalidArgument("the tar archive has a broken PAX header");
    const equals = body.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw invalidArgument("the tar archive has a broken PAX header");
    const key = body.toString("utf8", space + 1, equals);
    const value = Buffer.from(body.subarray(equals + 1, end - 1));
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") pieces.push(value.toString("latin1"));
    else records[key] = value;
    at = end;
  }
  if (pieces.length > 0) records["GNU.sparse.map"] = Buffer.from(pieces.join(","));
  return records;
}

function paxNumber(value: Buffer, key: string): number {
  const number = Number(value.toString("latin1"));
  if (!Number.isFinite(number) || (key !== "mtime" && (number < 0 || !Number.isSafeInteger(number))))
    throw invalidArgument(`the tar archive has a broken PAX ${key}`);
  return number;
}

/** Octal text, or base 256 when the first bit is set (GNU). */
function readNumber(block: Buffer, at: number, length: number, what: string): number {
  if (block[at]! & 0x80) {
    let value = BigInt(block[at]! & 0x7f);
    for (let index = at + 1; index < at + length; index++) value = (value << 8n) | BigInt(block[index]!);
    // A set second bit is a negative number: times before 1970.
    if (block[at]! & 0x40) value -= 1n << BigInt(length * 8 - 1);
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw invalidArgument(`the tar archive has a broken ${what} field`);
    return what === "mtime" ? number : Math.max(0, number);
  }
  const text = readString(block, at, length).trim();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) throw invalidArgument(`the tar archive has a broken ${what} field`);
  return parseInt(text, 8);
}

function readString(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return decodeName(block.subarray(at, end < 0 || end > at + length ? at + length : end));
}

function trimZeros(body: Buffer): Buffer {
  const end = body.indexOf(0);
  return end < 0 ? body : body.subarray(0, end);
}

function hasRightChecksum(block: Buffer): boolean {
  const stored = parseInt(readString(block, 148, 8).trim(), 8);
  let sum = 8 * 0x20;
  for (let index = 0; index < BLOCK; index++) if (index < 148 || index >= 156) sum += block[index]!;
  return sum === stored;
}

const NO_ARCHIVE = { archive: false };

function noArchive(why: string) {
  return invalidArgument(`this is not a tar archive: ${why}`, { details: NO_ARCHIVE });
}

/** Whether a parser refused bytes that are no archive at all, rather than a damaged one. */
export function isNoArchive(error: unknown): boolean {
  return error instanceof BerthError && error.details === NO_ARCHIVE;
}

function isZero(block: Buffer): boolean {
  return block[0] === 0 && block.every((byte) => byte === 0);
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}
