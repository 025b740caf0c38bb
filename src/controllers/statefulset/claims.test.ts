import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s, OwnerReference } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { planClaimOwners } from "./claims.ts";
import type { StatefulSet } from "./plan.ts";

type Policy = k8s.StatefulSetPersistentVolumeClaimRetentionPolicy;
const setWith = (policy: Policy | undefined, replicas = 2) =>
  ({
    metadata: { name: "db", namespace: "default", uid: "set" },
    spec: { replicas, persistentVolumeClaimRetentionPolicy: policy },
  }) as StatefulSet;
const pod = (ordinal: number) => ({ metadata: { name: `db-${ordinal}`, uid: `pod-${ordinal}` } }) as Stored<k8s.Pod>;
const claim = (...ownerReferences: OwnerReference[]) =>
  ({ metadata: { name: "data-db", ownerReferences } }) as Stored<k8s.PersistentVolumeClaim>;
const bySet = { apiVersion: "apps/v1", kind: "StatefulSet", name: "db", uid: "set" };
const byPod = { apiVersion: "v1", kind: "Pod", name: "db-2", uid: "pod-2" };
const bySomebody = { apiVersion: "v1", kind: "ConfigMap", name: "else", uid: "else" };
const owners = (references: readonly OwnerReference[] | undefined) => references?.map(({ kind }) => kind);

test("who owns a claim, by policy", () => {
  const rows: [Policy | undefined, ordinal: number, before: OwnerReference[], after: string[] | undefined][] = [
    [undefined, 0, [], undefined],
    [undefined, 2, [], undefined],
    [{ whenDeleted: "Delete" }, 0, [], ["StatefulSet"]],
    [{ whenDeleted: "Delete" }, 2, [], ["StatefulSet"]],
    [{ whenScaled: "Delete" }, 0, [], undefined],
    [{ whenScaled: "Delete" }, 2, [], ["Pod"]],
    [{ whenScaled: "Delete" }, 2, [byPod], undefined],
    [{ whenScaled: "Delete", whenDeleted: "Delete" }, 2, [bySet], ["Pod"]],
    [{ whenScaled: "Delete", whenDeleted: "Delete" }, 1, [bySet], ["StatefulSet"]],
    [{ whenDeleted: "Retain", whenScaled: "Retain" }, 0, [bySet], []],
    [{ whenScaled: "Delete" }, 2, [bySomebody], ["ConfigMap", "Pod"]],
  ];
  for (const [policy, ordinal, before, after] of rows)
    assert.deepEqual(owners(planClaimOwners(setWith(policy), pod(ordinal), claim(...before))), after);
});

test("a pod scaled back up gets its claim for good again", () => {
  const back = planClaimOwners(setWith({ whenScaled: "Delete" }, 3), pod(2), claim(byPod));
  assert.deepEqual(back, []);
});
