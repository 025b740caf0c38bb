import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s, KubeObject } from "../../api/index.ts";
import { quotaCovers } from "./quota-scopes.ts";

const pod = (spec: Partial<k8s.PodSpec>): KubeObject => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "p" },
  spec: { containers: [{ name: "c" }], ...spec },
});
const selector = (scopeName: string, operator: string, values?: string[]): k8s.ResourceQuotaSpec => ({
  scopeSelector: { matchExpressions: [{ scopeName, operator, values }] },
});
const requests = { containers: [{ name: "c", resources: { requests: { cpu: "1" } } }] };
const far = {
  podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: "k", namespaces: ["x"] }] },
};

const rows: readonly [title: string, spec: k8s.ResourceQuotaSpec, pod: Partial<k8s.PodSpec>, covered: boolean][] = [
  ["no scopes", {}, {}, true],
  ["a pod with a deadline", { scopes: ["Terminating"] }, { activeDeadlineSeconds: 5 }, true],
  ["a pod without one", { scopes: ["Terminating"] }, {}, false],
  ["NotTerminating", { scopes: ["NotTerminating"] }, {}, true],
  ["BestEffort", { scopes: ["BestEffort"] }, {}, true],
  ["BestEffort of one that requests", { scopes: ["BestEffort"] }, requests, false],
  ["both must hold", { scopes: ["NotBestEffort", "Terminating"] }, requests, false],
  ["a priority in the list", selector("PriorityClass", "In", ["high"]), { priorityClassName: "high" }, true],
  ["a priority not in it", selector("PriorityClass", "In", ["high"]), { priorityClassName: "low" }, false],
  ["NotIn", selector("PriorityClass", "NotIn", ["high"]), { priorityClassName: "low" }, true],
  ["any priority", selector("PriorityClass", "Exists"), { priorityClassName: "low" }, true],
  ["no priority", selector("PriorityClass", "DoesNotExist"), { priorityClassName: "low" }, false],
  ["affinity across namespaces", { scopes: ["CrossNamespacePodAffinity"] }, { affinity: far }, true],
  ["no affinity", { scopes: ["CrossNamespacePodAffinity"] }, {}, false],
];
for (const [title, spec, given, covered] of rows)
  test(`quota scopes: ${title}`, () => assert.equal(quotaCovers(spec, "pods", pod(given)), covered));

test("quota scopes: other resources are in no scope of Pods", () => {
  const map = { apiVersion: "v1", kind: "ConfigMap", metadata: {} };
  assert.equal(quotaCovers({ scopes: ["NotBestEffort"] }, "configmaps", map), false);
  assert.equal(quotaCovers({}, "configmaps", map), true);
});
