import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { planTaints, type Eviction } from "./plan.ts";

const NOW = "2026-01-01T00:00:00Z";
const UNREACHABLE = "node.kubernetes.io/unreachable";
const NOT_READY = "node.kubernetes.io/not-ready";

function plan(ready: string, taints: string[], eviction: Eviction): string[] | undefined {
  const spec = { taints: taints.map((text) => ({ key: text.split(":")[0]!, effect: text.split(":")[1]! })) };
  const node = { metadata: {}, spec, status: { conditions: [{ type: "Ready", status: ready }] } };
  return planTaints(node as k8s.Node, NOW, eviction)?.map(({ key, effect }) => `${key}:${effect}`);
}

test("a silent node keeps new Pods away at once; those it has leave when it is its turn", () => {
  const away = [`${UNREACHABLE}:NoSchedule`];
  assert.deepEqual(plan("Unknown", [], "goes on"), away);
  assert.equal(plan("Unknown", away, "goes on"), undefined);
  assert.deepEqual(plan("Unknown", away, "may begin"), [...away, `${UNREACHABLE}:NoExecute`]);
});

test("once begun it goes on, also when the reason changes; it ends when everybody is ill, and when the node is back", () => {
  const leaving = [`${UNREACHABLE}:NoSchedule`, `${UNREACHABLE}:NoExecute`];
  assert.equal(plan("Unknown", leaving, "goes on"), undefined);
  assert.deepEqual(plan("False", leaving, "goes on"), [`${NOT_READY}:NoSchedule`, `${NOT_READY}:NoExecute`]);
  assert.deepEqual(plan("Unknown", leaving, "must not be"), [`${UNREACHABLE}:NoSchedule`]);
  assert.deepEqual(plan("True", ["mine:NoExecute", ...leaving], "may begin"), ["mine:NoExecute"]);
});
