import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { demultiplex } from "./session.ts";

function frame(type: number, payload: string): Buffer {
  const header = Buffer.alloc(8);
  header[0] = type;
  header.writeUInt32BE(Buffer.byteLength(payload), 4);
  return Buffer.concat([header, Buffer.from(payload)]);
}

test("frames go to their output, wherever the stream is cut", async () => {
  const whole = Buffer.concat([frame(1, "out "), frame(2, "err"), frame(1, ""), frame(1, "more")]);
  for (let cut = 1; cut < whole.length; cut++) {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    await demultiplex(Readable.from([whole.subarray(0, cut), whole.subarray(cut)]), stdout, stderr);
    stdout.end();
    stderr.end();
    assert.deepEqual([await text(stdout), await text(stderr)], ["out more", "err"]);
  }
});
