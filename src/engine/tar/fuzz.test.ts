/** Damage that checksums don't show: a reader of archives may refuse it, and nothing else. BERTH_FUZZ_RUNS makes it longer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { plainFile, TarParser, tarEnd, tarHeader, tarPadding } from "./index.ts";

const RUNS = Number(process.env["BERTH_FUZZ_RUNS"] ?? 400);
const BLOCK = 512;

const archive = Buffer.concat([
  tarHeader({
    ...plainFile(`${"long/".repeat(40)}name`, 600, 1_700_000_000.5),
    attributes: { "user.a": Buffer.from("b") },
  }),
  Buffer.alloc(600, "x"),
  tarPadding(600),
  sparseHeader(),
  Buffer.alloc(BLOCK, "y"),
  tarHeader({ ...plainFile("link", 0), type: "symlink", linkName: "name" }),
  tarEnd(),
]);

/** Old GNU form: a block at 4096 of a file of 8192. */
function sparseHeader(): Buffer {
  const header = tarHeader(plainFile("sparse", BLOCK)).subarray(0, BLOCK);
  header.write("S", 156, "latin1");
  header.fill(0, 345, 512);
  header.write("ustar  \0", 257, "latin1");
  header.write("00000010000\0", 386, "latin1");
  header.write("00000001000\0", 398, "latin1");
  header.write("00000020000\0", 483, "latin1");
  fixChecksum(header);
  return header;
}

function fixChecksum(block: Buffer): void {
  block.fill(" ", 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

interface Damage {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly cut: number;
  readonly chunk: number;
}

const damage = fc.record<Damage>({
  at: fc.nat(archive.byteLength - 1),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 24 }),
    fc.constantFrom("77777777777", "S", "x", "g", "L", "12 GNU.sparse", "1000000\n").map((text) => Buffer.from(text)),
  ),
  cut: fc.oneof(fc.constant(archive.byteLength), fc.nat(archive.byteLength)),
  chunk: fc.integer({ min: 1, max: 2000 }),
});

function damaged(hits: readonly Damage[]): Buffer {
  const copy = Buffer.from(archive);
  for (const { at, bytes } of hits) {
    copy.set(bytes.subarray(0, copy.byteLength - at), at);
    // Whichever blocks were hit: the reader must not be saved by the checksum.
    for (const block of [at, at + bytes.byteLength].map((place) => place - (place % BLOCK)))
      if (block + BLOCK <= copy.byteLength && copy.toString("latin1", block + 257, block + 262) === "ustar")
        fixChecksum(copy.subarray(block, block + BLOCK));
  }
  return copy.subarray(0, hits[0]!.cut);
}

function survives(parser: { write(chunk: Buffer): void; end(): void }, bytes: Buffer, chunk: number): void {
  try {
    for (let at = 0; at < bytes.byteLength; at += chunk) parser.write(bytes.subarray(at, at + chunk));
    parser.end();
  } catch (error) {
    assert.equal((error as { code?: string }).code, "invalidArgument", String(error));
  }
}

test("damaged archives are read or refused: no other error, no more content than there is", () => {
  fc.assert(
    fc.property(fc.array(damage, { minLength: 1, maxLength: 4 }), (hits) => {
      const bytes = damaged(hits);
      let content = 0;
      let open = 0;
      const sink = {
        entry: () => void open++,
        data: (chunk: Buffer) => void (content += chunk.byteLength),
        hole: (zeros: number) => assert.ok(Number.isSafeInteger(zeros) && zeros > 0),
        entryEnd: () => void open--,
      };
      survives(new TarParser(sink), bytes, hits[0]!.chunk);
      assert.ok(open === 0 || open === 1, "entries are not nested");
      assert.ok(content <= bytes.byteLength);
    }),
    { numRuns: RUNS, seed: 2026 },
  );
});
