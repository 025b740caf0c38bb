import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../api/index.ts";
import { bound, replicasFor, type Sample, type Target } from "./plan.ts";
import { isSettled, selectorOf } from "./pods.ts";

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

test("what a young Pod's CPU says counts when it was measured after it became ready; an old one's, if it ever was ready", () => {
  const at = (seconds: number) => Date.UTC(2026, 0, 1) + seconds * 1000;
  const started = (readyAtS: number, status: string, phase = "Running"): k8s.Pod => ({
    metadata: {},
    status: {
      phase,
      startTime: new Date(at(0)).toISOString(),
      conditions: [{ type: "Ready", status, lastTransitionTime: new Date(at(readyAtS)).toISOString() }],
    },
  });
  const usage = (atS: number) => ({ pod: "p", milliByContainer: {}, atMs: at(atS), windowMs: 10_000 });
  const rows: [pod: k8s.Pod, measuredS: number, nowS: number, resource: string, counts: boolean][] = [
    [started(5, "True"), 14, 15, "cpu", false],
    [started(5, "True"), 15, 15, "cpu", true],
    [started(5, "False"), 60, 60, "cpu", false],
    [started(5, "False"), 60, 60, "memory", true],
    [started(5, "True", "Pending"), 60, 60, "memory", false],
    [started(20, "False"), 400, 400, "cpu", false],
    [started(100, "False"), 400, 400, "cpu", true],
    [started(399, "True"), 400, 400, "cpu", true],
  ];
  for (const [row, measuredS, nowS, resource, counts] of rows)
    assert.equal(isSettled(row, resource, usage(measuredS), at(nowS)), counts, `${resource} at ${nowS}`);
});

test("a Scale's selector as text", () => {
  const text = "app=web,tier in (a,b),zone!=x,!old,new";
  assert.deepEqual(
    selectorOf({ metadata: {}, status: { replicas: 1, selector: text } }).matchExpressions?.map(
      ({ key, operator, values }) => `${key} ${operator} ${values?.join("|") ?? ""}`.trim(),
    ),
    ["app In web", "tier In a|b", "zone NotIn x", "old DoesNotExist", "new Exists"],
  );
});
