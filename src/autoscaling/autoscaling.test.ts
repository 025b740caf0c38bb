import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../api/index.ts";
import { bound, replicasFor, type Sample, type Target } from "./plan.ts";

const pod = (value: number | undefined, ready = true): Sample => ({ pod: "p", value, request: 1000, ready });
const half: Target = { kind: "utilization", percent: 50 };

test("how many replicas a utilization calls for", () => {
  const rows: [samples: Sample[], current: number, wanted: number | undefined][] = [
    [[pod(500), pod(500)], 2, 2],
    [[pod(1000), pod(1000)], 2, 4],
    [[pod(540), pod(540)], 2, 2],
    [[pod(100), pod(100), pod(100)], 3, 1],
    [[], 3, undefined],
    // The pod without a figure counts as idle when growing and as on target when shrinking.
    [[pod(1000), pod(undefined)], 2, 2],
    [[pod(2000), pod(undefined)], 2, 4],
    [[pod(0), pod(undefined)], 2, 1],
    [[pod(1000), pod(1000, false)], 2, 2],
  ];
  for (const [samples, current, wanted] of rows) assert.equal(replicasFor(samples, half, current), wanted);
});

const spec = (behavior?: k8s.HorizontalPodAutoscalerBehavior): k8s.HorizontalPodAutoscalerSpec => ({
  scaleTargetRef: { kind: "Deployment", name: "web" },
  minReplicas: 2,
  maxReplicas: 20,
  behavior,
});

test("a wish is held back by rates, windows and the range", () => {
  assert.deepEqual(bound(spec(), 4, 8, [], [], 0), { replicas: 8, stabilized: false });
  assert.equal(bound(spec(), 4, 18, [], [], 0).limited?.reason, "ScaleUpLimit");
  assert.equal(bound(spec(), 4, 18, [], [], 0).replicas, 8);
  assert.equal(bound(spec(), 15, 40, [], [], 0).limited?.reason, "TooManyReplicas");
  assert.equal(bound(spec(), 4, 1, [], [], 0).limited?.reason, "TooFewReplicas");
  const recent = [{ atMs: 100_000, replicas: 9 }];
  assert.deepEqual(bound(spec(), 10, 3, recent, [], 200_000), { replicas: 9, stabilized: true });
  assert.deepEqual(bound(spec(), 10, 3, recent, [], 500_000), { replicas: 3, stabilized: false });
  const slow = spec({
    scaleDown: { stabilizationWindowSeconds: 0, policies: [{ type: "Pods", value: 1, periodSeconds: 60 }] },
  });
  assert.equal(bound(slow, 10, 3, [], [], 0).replicas, 9);
  assert.equal(bound(slow, 9, 3, [], [{ atMs: 30_000, change: -1 }], 60_000).replicas, 9);
});
