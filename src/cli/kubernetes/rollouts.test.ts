import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { resources } from "../../client/index.ts";
import { rolloutKind } from "./rollouts.ts";

const metadata = { name: "db", generation: 2 };

test("a Deployment: seen, updated, old ones gone, available", () => {
  const { state } = rolloutKind(resources.deployments);
  const of = (status: k8s.DeploymentStatus) =>
    state({ metadata, spec: { replicas: 3 }, status: { observedGeneration: 2, ...status } } as k8s.Deployment).message;
  assert.equal(of({ observedGeneration: 1 }), "Waiting for deployment spec update to be observed...");
  assert.match(of({ updatedReplicas: 1 }), /1 out of 3 new replicas have been updated\.\.\.$/);
  assert.match(of({ updatedReplicas: 3, replicas: 4 }), /1 old replicas are pending termination\.\.\.$/);
  assert.match(of({ updatedReplicas: 3, replicas: 3, availableReplicas: 2 }), /2 of 3 updated replicas are available/);
  assert.equal(
    of({ updatedReplicas: 3, replicas: 3, availableReplicas: 3 }),
    'deployment "db" successfully rolled out',
  );
  const late = [{ type: "Progressing", status: "False", reason: "ProgressDeadlineExceeded" }];
  assert.throws(() => of({ conditions: late }), /exceeded its progress deadline/);
});

test("a DaemonSet: on all nodes; with OnDelete there is nothing to wait for", () => {
  const { state } = rolloutKind(resources.daemonSets);
  const of = (status: object, spec: object = {}) =>
    state({ metadata, spec, status: { observedGeneration: 2, desiredNumberScheduled: 2, ...status } } as k8s.DaemonSet);
  assert.match(of({ updatedNumberScheduled: 1 }).message, /1 out of 2 new pods have been updated/);
  assert.match(of({ updatedNumberScheduled: 2, numberAvailable: 1 }).message, /1 of 2 updated pods are available/);
  assert.ok(of({ updatedNumberScheduled: 2, numberAvailable: 2 }).done);
  assert.throws(() => of({}, { updateStrategy: { type: "OnDelete" } }), /only available for RollingUpdate/);
});

test("a StatefulSet: ready, and at the new revision or down to its partition", () => {
  const { state } = rolloutKind(resources.statefulSets);
  const of = (status: object, rollingUpdate?: object) =>
    state({
      metadata,
      spec: { replicas: 3, ...(rollingUpdate ? { updateStrategy: { type: "RollingUpdate", rollingUpdate } } : {}) },
      status: { observedGeneration: 2, readyReplicas: 3, ...status },
    } as k8s.StatefulSet);
  assert.equal(of({ readyReplicas: 1 }).message, "Waiting for 2 pods to be ready...");
  const moving = { updatedReplicas: 1, currentRevision: "db-1", updateRevision: "db-2" };
  assert.equal(of(moving).message, "waiting for statefulset rolling update to complete 1 pods at revision db-2...");
  assert.match(of(moving, { partition: 1 }).message, /1 out of 2 new pods have been updated/);
  assert.ok(of(moving, { partition: 2 }).done);
  assert.ok(of({ currentReplicas: 3, currentRevision: "db-2", updateRevision: "db-2" }).done);
});

test("what has no rollouts is refused by name", () => {
  assert.throws(() => rolloutKind(resources.pods), /pods have no rollouts/);
});
