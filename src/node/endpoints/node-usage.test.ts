import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../base/index.ts";
import { NodeUsageSampler } from "./node-usage.ts";

test("CPU is a rate between samples, memory what is not available", async () => {
  const clock = new FakeClock();
  const stats = ["cpu  100 0 50 1000 0 0 0 0", "cpu  200 0 150 1000 0 0 0 0"];
  const read = async (file: string) =>
    file === "/proc/stat" ? stats[0]! : "MemTotal: 1000 kB\nMemAvailable: 400 kB\n";
  const sampler = new NodeUsageSampler({ clock, folder: "/", read });
  assert.deepEqual(await sampler.sample(), { nanoCores: 0, memoryBytes: 600 * 1024 });
  stats.shift();
  await clock.advance(2_000);
  // 200 ticks of 10 ms in 2 s: one core.
  assert.equal((await sampler.sample()).nanoCores, 1e9);
});

test("the file system's room is what statfs says", async () => {
  const sampler = new NodeUsageSampler({ clock: new FakeClock(), folder: "/" });
  const { capacityBytes, availableBytes, usedBytes } = await sampler.filesystem();
  assert.ok(capacityBytes > 0 && availableBytes + usedBytes <= capacityBytes);
});
