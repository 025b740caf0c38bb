import assert from "node:assert/strict";
import { test } from "node:test";
import { limitFiles } from "./limits.ts";

const written = (...input: Parameters<typeof limitFiles>) =>
  limitFiles(...input).map(({ file, value }) => `${file} ${value}`);

test("limits in the files of both versions", () => {
  const limits = { cpuShares: 1024, cpuQuota: 50_000, memoryLimitInBytes: 1 << 20, pidsLimit: 10 };
  assert.deepEqual(written(limits, false), [
    "cpu.shares 1024",
    "cpu.cfs_quota_us 50000",
    "memory.limit_in_bytes 1048576",
    "pids.max 10",
  ]);
  assert.deepEqual(written(limits, true), [
    "cpu.weight 39",
    "cpu.max 50000 100000",
    "memory.max 1048576",
    "pids.max 10",
  ]);
});

test("what is 0 is left alone, -1 lifts", () => {
  assert.deepEqual(written({ cpuQuota: 0 }, true), []);
  assert.deepEqual(written({ cpuQuota: -1, memoryLimitInBytes: -1 }, true), ["cpu.max max 100000", "memory.max max"]);
  assert.deepEqual(written({ cpuQuota: -1, memoryLimitInBytes: -1 }, false), [
    "cpu.cfs_quota_us -1",
    "memory.limit_in_bytes -1",
  ]);
});
