import assert from "node:assert/strict";
import { test } from "node:test";

import type { k8s } from "../../../../api/index.ts";
import { qosClassOf } from "../qos.ts";
import { validatePodResources } from "./pod-resources.ts";

const problems = (resources: k8s.ResourceRequirements, container: k8s.ResourceRequirements = {}) =>
  validatePodResources({ resources, containers: [{ name: "a", resources: container }] }, "spec").map(
    ({ field, detail }) => `${field}: ${detail}`,
  );

test("a Pod's own resources: kinds of them, and how they stand to its containers'", () => {
  assert.deepEqual(
    problems({ requests: { cpu: "2" }, limits: { cpu: "3", memory: "1Gi" } }, { requests: { cpu: "1" } }),
    [],
  );
  assert.deepEqual(problems({ limits: { "ephemeral-storage": "1Gi" } }), [
    'spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"',
  ]);
  assert.deepEqual(problems({ requests: { cpu: "1" } }, { requests: { cpu: "1500m" } }), [
    'spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 1500m',
  ]);
  assert.deepEqual(problems({ limits: { memory: "1Gi" } }, { limits: { memory: "2Gi" } }), [
    'spec.containers[0].resources.limits[memory]: Invalid value: "2Gi": must be less than or equal to pod limits of 1Gi',
  ]);
  assert.deepEqual(problems({ claims: [{ name: "x" }] }), [
    "spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level",
  ]);
});

test("the quality of service of a Pod that asks as a whole", () => {
  const containers = [{ name: "a" }];
  const amounts = { cpu: "1", memory: "1Gi" };
  assert.equal(qosClassOf({ containers, resources: { limits: amounts } }), "Guaranteed");
  assert.equal(qosClassOf({ containers, resources: { requests: { cpu: "1" } } }), "Burstable");
  assert.equal(qosClassOf({ containers, resources: {} }), "BestEffort");
});
