import assert from "node:assert/strict";
import { test } from "node:test";
import { frame } from "./stdio.ts";
import { parseTimestamp } from "./timestamps.ts";

test("a frame is stream, three zeros, length, payload", () => {
  assert.deepEqual([...frame("stderr", Buffer.from("ab"))], [2, 0, 0, 0, 0, 0, 0, 2, 97, 98]);
  assert.equal(frame("stdout", Buffer.alloc(0))[0], 1);
});

test("points in time as clients write them", () => {
  const now = Date.UTC(2026, 0, 2);
  assert.equal(parseTimestamp("1700000000.5", now), 1_700_000_000_500);
  assert.equal(parseTimestamp("1h30m", now), now - 90 * 60_000);
  assert.equal(parseTimestamp("2026-01-01T00:00:00Z", now), Date.UTC(2026, 0, 1));
  assert.throws(() => parseTimestamp("yesterday", now), /failed to parse value as time or duration/);
});
