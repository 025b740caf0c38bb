import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../base/index.ts";
import { NodeUsageSampler, usageOf, type MeasuredNode } from "./node-usage.ts";

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

test("a node that shares the machine uses what its Pods use", async () => {
  const pod = (usageNanoCores: number, workingSetBytes: number) => ({
    cpu: { usageNanoCores },
    memory: { workingSetBytes },
  });
  const runtime = { listPodSandboxStats: async () => [pod(5, 100), pod(7, 50)] } as unknown as MeasuredNode["runtime"];
  const usage = { sample: async () => ({ nanoCores: 1e9, memoryBytes: 1e9 }) } as unknown as NodeUsageSampler;
  const node = { name: "n-2", runtime, usage };
  assert.deepEqual(await usageOf({ ...node, sharesMachine: true }), { nanoCores: 12, memoryBytes: 150 });
  assert.equal((await usageOf(node)).memoryBytes, 1e9);
});
