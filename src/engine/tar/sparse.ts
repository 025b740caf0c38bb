/**
 * Sparse files, in the four forms in which GNU tar writes them: in the header (old GNU), and by PAX records 0.0, 0.1 and 1.0.
 * https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html
 */
import { invalidArgument } from "../../base/index.ts";
import { BLOCK } from "./types.ts";

/** A piece of a file that the archive has; between pieces there are holes. */
export interface Segment {
  readonly offset: number;
  readonly bytes: number;
}

/** More pieces than any sensible file has; each is held in memory. */
export const MAX_SEGMENTS = 100_000;

const broken = (why: string) => invalidArgument(`the tar archive has a broken sparse file: ${why}`);

/** Pieces in order, within the file, and together as large as what the archive has of it. */
export function checkSegments(segments: readonly Segment[], sizeBytes: number, storedBytes: number): void {
  if (segments.length > MAX_SEGMENTS) throw broken(`it has more than ${MAX_SEGMENTS} pieces`);
  let [end, stored] = [0, 0];
  for (const { offset, bytes } of segments) {
    if (offset < end || offset + bytes > sizeBytes) throw broken("its pieces overlap or lie outside of it");
    end = offset + bytes;
    stored += bytes;
  }
  if (stored !== storedBytes) throw broken(`its pieces have ${stored} bytes where the archive has ${storedBytes}`);
}

/** The PAX records of 0.0 (repeated, joined by the parser) and 0.1: `offset,bytes,offset,bytes`. */
export function parseMapRecord(text: string): Segment[] {
  if (text === "") return [];
  return paired(text.split(",").map(decimal));
}

/** Old GNU: entries of two numbers of 12 bytes at `at`, ended by an empty one. */
export function headerSegments(
  block: Buffer,
  at: number,
  count: number,
  read: (block: Buffer, at: number, length: number, what: string) => number,
): Segment[] {
  const segments = [];
  for (let entry = at; entry < at + count * 24 && block[entry] !== 0; entry += 24)
    segments.push({ offset: read(block, entry, 12, "sparse"), bytes: read(block, entry + 12, 12, "sparse") });
  return segments;
}

/** The map of 1.0: decimal numbers, a line each, before the content, filled up to whole blocks. The first says how many pairs follow. */
export class SparseMapReader {
  readonly #numbers: number[] = [];
  #text = "";
  bytes = 0;

  /** A block of the map; the pieces when it was the last. */
  block(block: Buffer): Segment[] | undefined {
    this.bytes += BLOCK;
    const lines = (this.#text + block.toString("latin1")).split("\n");
    this.#text = lines.pop()!;
    if (this.#text.length > BLOCK) throw broken("its map is no list of numbers");
    for (const line of lines) {
      if (this.#isComplete()) break;
      this.#numbers.push(decimal(line));
      if (this.#numbers[0]! > MAX_SEGMENTS) throw broken(`it has more than ${MAX_SEGMENTS} pieces`);
    }
    return this.#isComplete() ? paired(this.#numbers.slice(1)) : undefined;
  }

  #isComplete(): boolean {
    return this.#numbers.length > 0 && this.#numbers.length === 1 + 2 * this.#numbers[0]!;
  }
}

function paired(numbers: readonly number[]): Segment[] {
  if (numbers.length % 2 !== 0) throw broken("its map has an odd count of numbers");
  const segments = [];
  for (let at = 0; at < numbers.length; at += 2) segments.push({ offset: numbers[at]!, bytes: numbers[at + 1]! });
  return segments;
}

function decimal(text: string): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(number)) throw broken("its map is no list of numbers");
  return number;
}
