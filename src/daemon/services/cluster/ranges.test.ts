import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { configuredRanges, mainServiceCidr, pickRanges, rememberedRanges } from "./ranges.ts";

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
    const ranges = rememberedRanges(folder, {}, "0001", () => ({ service: "10.97.0", pod: "10.200" }));
    assert.deepEqual(
      rememberedRanges(folder, {}, "0001", () => assert.fail("picked anew")),
      ranges,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the configuration may name ranges, and add a second family later; what has addresses stays", () => {
  const known = pickRanges("default", "ffff", []);
  const both = { podCidr: "10.244.0.0/16,fd00:244::/48", serviceCidr: "10.96.0.0/16,fd00:96::/112" };
  const ranges = configuredRanges(known, both, false);
  assert.deepEqual(
    [ranges.pod6, ranges.serviceCidr6, mainServiceCidr(ranges)],
    ["fd00:244", "fd00:96::/112", "10.96.0.0/16"],
  );
  assert.deepEqual(configuredRanges(ranges, {}, false), ranges);
  assert.deepEqual(configuredRanges(known, { ipv6: true }, false, "0a1b").serviceCidr6, "fd62:a1b:96::/112");
  const other = { podCidr: "10.50.0.0/16", serviceCidr: "10.51.0.0/20" };
  assert.equal(mainServiceCidr(configuredRanges(known, other, true)), "10.51.0.0/20");
  assert.throws(() => configuredRanges(known, other, false), /other ranges/);
  assert.throws(
    () => configuredRanges(ranges, { ...both, podCidr: "10.244.0.0/16,fd00:1::/48" }, false),
    /other ranges/,
  );
  assert.throws(() => configuredRanges(known, { podCidr: "10.244.0.0/16,fd00:244::/48" }, true), /same families/);
  assert.throws(() => configuredRanges(known, { podCidr: "10.244.0.0/24" }, true), /must be a 10\.X/);
});
