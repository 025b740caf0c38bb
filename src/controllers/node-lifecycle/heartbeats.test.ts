import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import type { Informer, Stored } from "../../client/index.ts";
import { Heartbeats } from "./heartbeats.ts";

const node = { metadata: { name: "n" }, status: { conditions: [] } } as unknown as Stored<k8s.Node>;

function silentAfter(leaseDurationSeconds: number | undefined): number {
  let nowMs = 0;
  const lease = { spec: { leaseDurationSeconds, renewTime: "2026-01-01T00:00:00Z" } };
  const leases = { get: () => (leaseDurationSeconds === undefined ? undefined : lease) };
  const heartbeats = new Heartbeats(leases as unknown as Informer<k8s.Lease>, () => nowMs, 30_000);
  heartbeats.look(node);
  for (; !heartbeats.isSilent(node); nowMs += 1000) heartbeats.look(node);
  return nowMs / 1000 - 1;
}

test("a node is silent when its lease is a quarter overdue, one without a lease after the grace period", () => {
  assert.equal(silentAfter(40), 50);
  assert.equal(silentAfter(8), 10);
  assert.equal(silentAfter(undefined), 30);
});
