import assert from "node:assert/strict";
import { test } from "node:test";
import { unpackBlock, unpackKernel } from "./vmlinux.ts";

test("literals and copies, long ones and such that run into themselves", () => {
  // Three literals; a copy of 4 from 3 back; then two literals.
  assert.equal(unpackBlock(Buffer.from([0x30, 97, 98, 99, 3, 0, 0x20, 33, 33])).toString(), "abcabca!!");
  // One literal, repeated 4 + 15 + 5 times.
  assert.equal(unpackBlock(Buffer.from([0x1f, 120, 1, 0, 5, 0x00])).toString(), "x".repeat(25));
  const long = Buffer.concat([Buffer.from([0xf0, 255, 10]), Buffer.alloc(280, "z")]);
  assert.equal(unpackBlock(long).toString(), "z".repeat(280));
});

test("the kernel of a boot image is found, and of others none", () => {
  const kernel = Buffer.from("\x7fELF kernel", "latin1");
  const block = Buffer.concat([Buffer.from([kernel.length << 4]), kernel]);
  const header = Buffer.alloc(1024);
  header[0x1f1] = 1;
  header.write("HdrS", 0x202);
  header.writeUInt32LE(8, 0x248);
  const payload = Buffer.concat([Buffer.from("02214c18", "hex"), u32(block.length), block, u32(kernel.length)]);
  header.writeUInt32LE(payload.length, 0x24c);
  assert.deepEqual(unpackKernel(Buffer.concat([header, Buffer.alloc(8), payload])), kernel);
  payload.write("gzip");
  assert.equal(unpackKernel(Buffer.concat([header, Buffer.alloc(8), payload])), undefined);
  assert.equal(unpackKernel(Buffer.from("no boot image")), undefined);
});

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
