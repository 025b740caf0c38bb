import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "../../api/index.ts";
import { messageOf } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { AdmissionRequest } from "../machinery/pipeline.ts";
import { claimResize } from "./claim-resize.ts";

const claim = (storage: string, phase: string, storageClassName?: string): KubeObject => ({
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: { name: "c" },
  spec: { storageClassName, resources: { requests: { storage } } },
  status: { phase },
});
const classes: Record<string, object> = { grows: { allowVolumeExpansion: true }, fixed: {} };
const state = { storageClasses: { find: async (name: string) => classes[name] } } as unknown as ClusterState;

const rows: readonly [title: string, now: KubeObject, old: KubeObject, refusal?: RegExp][] = [
  ["the same size", claim("1Gi", "Bound"), claim("1024Mi", "Bound")],
  ["more of a class that grows", claim("2Gi", "Bound", "grows"), claim("1Gi", "Bound", "grows")],
  ["more of one that does not", claim("2Gi", "Bound", "fixed"), claim("1Gi", "Bound", "fixed"), /must support resize/],
  ["more without a class", claim("2Gi", "Bound"), claim("1Gi", "Bound"), /must support resize/],
  ["more while pending", claim("2Gi", "Pending", "grows"), claim("1Gi", "Pending", "grows"), /Only bound/],
];
for (const [title, object, oldObject, refusal] of rows)
  test(`claim resize: ${title}`, async () => {
    const resource = { group: "", version: "v1", resource: "persistentvolumeclaims" };
    const request = { operation: "UPDATE", subresource: "", name: "c", resource, object, oldObject };
    const told = await Promise.resolve(claimResize(state).validate!(request as unknown as AdmissionRequest)).then(
      () => "allowed",
      messageOf,
    );
    assert.match(told, refusal ?? /^allowed$/);
  });
