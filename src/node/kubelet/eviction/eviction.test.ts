import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../base/index.ts";
import type { Pod } from "../pod/imports.ts";
import { Eviction } from "./eviction.ts";
import { evictionOrder } from "./rank.ts";
import { crossed, DEFAULT_EVICTION_HARD, parseThresholds } from "./thresholds.ts";

const MIB = 1024 * 1024;
const pod = (name: string, spec: object = {}) =>
  ({
    metadata: { name, uid: name },
    spec: { containers: [], ...spec },
    status: { phase: "Running" },
  }) as unknown as Pod;
const asking = (memory: string) => ({ containers: [{ name: "c", resources: { requests: { memory } } }] });

test("thresholds: absolute and relative, crossed or not, nonsense refused", () => {
  const thresholds = parseThresholds(DEFAULT_EVICTION_HARD);
  const names = (available: number, disk: number) =>
    crossed(thresholds, {
      "memory.available": { available, capacity: 1000 * MIB },
      "nodefs.available": { available: disk, capacity: 1000 },
    }).map(({ signal }) => signal);
  assert.deepEqual(names(101 * MIB, 100), []);
  assert.deepEqual(names(99 * MIB, 99), ["memory.available", "nodefs.available"]);
  assert.throws(() => parseThresholds("memory.free<1Gi"), /not SIGNAL<QUANTITY/);
});

test("who exceeds its request goes first, then the lower priority; critical Pods stay", () => {
  const usage: Record<string, number> = { modest: 50, greedy: 150, low: 150, critical: 900 };
  const order = evictionOrder(
    [
      pod("modest", asking("100Mi")),
      pod("greedy", { ...asking("100Mi"), priority: 5 }),
      pod("low", { ...asking("100Mi"), priority: 1 }),
      pod("critical", { priority: 2_000_001_000 }),
    ],
    ({ metadata }) => ({ memoryBytes: usage[metadata.name!]! * MIB, diskBytes: 0, processes: 0 }),
    "memory.available",
  );
  assert.deepEqual(
    order.map(({ metadata }) => metadata.name),
    ["low", "greedy", "modest"],
  );
});

test("under pressure one Pod a round goes, and the condition lasts", async () => {
  const clock = new FakeClock();
  const evicted: string[] = [];
  let available = 50;
  const eviction = new Eviction({
    clock,
    thresholds: parseThresholds("memory.available<100"),
    observe: async () => ({ "memory.available": { available, capacity: 1000 } }),
    pods: () => [pod("a"), pod("b")].filter(({ metadata }) => !evicted.includes(metadata.name!)),
    usage: async () => new Map([["b", { memoryBytes: 10, diskBytes: 0, processes: 0 }]]),
    reclaimDisk: async () => false,
    storage: async () => new Map(),
    evict: ({ metadata }, { reason, message }) => {
      evicted.push(metadata.name!);
      assert.equal(reason, "Evicted");
      assert.match(message, /^The node was low on resource: memory\. Threshold quantity: 100, available: 50/);
    },
  });
  assert.equal(await eviction.round(), true);
  assert.deepEqual(evicted, ["b"]);
  available = 500;
  await eviction.round();
  assert.deepEqual(evicted, ["b"]);
  assert.equal(eviction.pressure().memory, true);
  await clock.advance(300_001);
  assert.equal(eviction.pressure().memory, false);
});

test("disk is freed before Pods go", async () => {
  const evicted: string[] = [];
  let images = 1;
  const eviction = new Eviction({
    clock: new FakeClock(),
    thresholds: parseThresholds("nodefs.available<10%"),
    observe: async () => ({ "nodefs.available": { available: 5, capacity: 100 } }),
    pods: () => [pod("a")],
    usage: async () => new Map(),
    reclaimDisk: async () => images-- > 0,
    storage: async () => new Map(),
    evict: ({ metadata }) => void evicted.push(metadata.name!),
  });
  await eviction.round();
  assert.deepEqual(evicted, []);
  await eviction.round();
  assert.deepEqual(evicted, ["a"]);
});

test("a soft threshold has to be crossed for its grace, without a break; the Pod then gets some of its own", async () => {
  const clock = new FakeClock();
  const evicted: string[] = [];
  let available = 50;
  const eviction = new Eviction({
    clock,
    thresholds: parseThresholds("memory.available<10"),
    soft: {
      thresholds: parseThresholds("memory.available<100"),
      graceMs: new Map([["memory.available", 30_000]]),
      maxPodGraceSeconds: 12,
    },
    observe: async () => ({ "memory.available": { available, capacity: 1000 } }),
    pods: () => [pod("a")],
    usage: async () => new Map(),
    reclaimDisk: async () => false,
    storage: async () => new Map(),
    evict: ({ metadata }, _verdict, graceSeconds) => void evicted.push(`${metadata.name} ${graceSeconds}`),
  });
  await eviction.round();
  assert.equal(eviction.pressure().memory, true);
  await clock.advance(20_000);
  available = 500;
  await eviction.round();
  available = 50;
  await eviction.round();
  await clock.advance(20_000);
  await eviction.round();
  assert.deepEqual(evicted, []);
  await clock.advance(10_000);
  await eviction.round();
  assert.deepEqual(evicted, ["a 12"]);
  available = 5;
  await eviction.round();
  assert.deepEqual(evicted, ["a 12", "a 1"]);
});
