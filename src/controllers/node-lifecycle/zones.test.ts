import assert from "node:assert/strict";
import { test } from "node:test";
import { EvictionPace, evictionRate, zoneOf } from "./zones.ts";

const node = (name: string, zone = "a") => ({
  metadata: { name, labels: { "topology.kubernetes.io/zone": zone } },
});
const nodes = (count: number, zone?: string) => Array.from({ length: count }, (_, at) => node(`${zone}-${at}`, zone));

/** The rate for a zone of which so many are ill, with another zone of one node that is well or not. */
function rate(size: number, ill: number, otherIsWell = true): number | "never" {
  const zone = nodes(size, "a");
  const isIll = new Set([...zone.slice(0, ill).map(({ metadata }) => metadata.name), ...(otherIsWell ? [] : ["b-0"])]);
  return evictionRate(zone[0]!, [...zone, ...nodes(1, "b")], ({ metadata }) => !isIll.has(metadata!.name!));
}

test("a few ill nodes lose their Pods at the usual rate, and so does a zone that died whole", () => {
  assert.deepEqual([rate(10, 1), rate(3, 2), rate(3, 3), rate(100, 54)], [0.1, 0.1, 0.1, 0.1]);
});

test("a zone of which most are ill: slower when it is large, not at all when it is small", () => {
  assert.deepEqual([rate(100, 55), rate(50, 28), rate(5, 3)], [0.01, 0, 0]);
});

test("nobody is well: nobody loses anything", () => {
  assert.deepEqual([rate(1, 1, false), rate(3, 3, false), rate(3, 2, false)], ["never", "never", 0.1]);
});

test("one after the other, in each zone", () => {
  const pace = new EvictionPace();
  const [a, b] = [zoneOf(node("x", "a")), zoneOf(node("y", "b"))];
  assert.deepEqual([pace.take(a, 0.1, 0), pace.take(a, 0.1, 9_999), pace.take(b, 0.1, 9_999)], [true, false, true]);
  assert.deepEqual([pace.take(a, 0, 20_000), pace.take(a, 0.1, 20_000)], [false, true]);
});
