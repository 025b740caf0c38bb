import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { seededRandom } from "../../../base/index.ts";
import { compressTo } from "./compress.ts";

const directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-compress-"));
after(() => fs.rmSync(directory, { recursive: true }));
const file = path.join(directory, "packed");
const sha256 = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

const dense = Buffer.from(seededRandom(1).bytes(700_001));
const text = Buffer.from("a line that compresses well\n".repeat(30_000));
const whole = Buffer.concat([dense, text, Buffer.alloc(5), dense]);

test("what comes out is what went in, with both digests, dense parts stored as they are", async () => {
  const written: number[] = [];
  const made = await compressTo(file, [whole], (bytes) => void written.push(bytes));
  const packed = fs.readFileSync(file);
  assert.deepEqual(gunzipSync(packed), whole);
  assert.deepEqual([made.rawDigest, made.digest], [sha256(whole), sha256(packed)]);
  assert.deepEqual([made.rawBytes, made.sizeBytes], [whole.length, packed.length]);
  assert.deepEqual(
    written,
    written.toSorted((one, other) => one - other),
  );
  assert.equal(written.at(-1), packed.length);
  // Only the blocks at the borders are packed in vain, or stored in vain.
  assert.ok(packed.length < 2 * dense.length + 0.1 * text.length);
});

test("the same content gives the same bytes, however it is cut", async () => {
  const once = await compressTo(file, [whole]);
  const pieces = Array.from({ length: Math.ceil(whole.length / 9999) }, (_, at) =>
    whole.subarray(at * 9999, (at + 1) * 9999),
  );
  assert.equal((await compressTo(file, pieces)).digest, once.digest);
  assert.equal((await compressTo(file, [])).sizeBytes, 0);
});
