import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { pickRanges, rememberedRanges } from "./ranges.ts";

test("clusters on one machine get ranges that nobody has an address in", () => {
  assert.deepEqual(pickRanges("default", "ffff", ["10.96.0.10"]), { service: "10.96.0", pod: "10.244" });
  const first = pickRanges("a", "0001", []);
  assert.deepEqual(first, { service: "10.97.16", pod: "10.201" });
  const second = pickRanges("b", "0001", ["10.97.16.10", "10.201.0.1", "fe80::1"]);
  assert.deepEqual(second, { service: "10.97.32", pod: "10.202" });
});

test("what was picked is kept", () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "berth-ranges-"));
  try {
    const ranges = rememberedRanges(folder, () => ({ service: "10.97.0", pod: "10.200" }));
    assert.deepEqual(
      rememberedRanges(folder, () => assert.fail("picked anew")),
      ranges,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
