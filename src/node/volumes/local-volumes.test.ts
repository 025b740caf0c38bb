import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { volumeFor } from "./local-volumes.ts";
import { ownPath } from "./own-volume.ts";
import { isHandle } from "./snapshots/types.ts";
import { defaultStorageClass } from "./storage-class.ts";

const claim = {
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: { name: "data", namespace: "apps", uid: "u-1", resourceVersion: "1" },
  spec: { accessModes: ["ReadWriteOnce"], storageClassName: "local", resources: { requests: { storage: "1Gi" } } },
} as unknown as Stored<k8s.PersistentVolumeClaim>;

const contents = { path: (name: string) => `/v/${name}` };

test("a volume is a directory of one node, reserved for its claim", () => {
  const volume = volumeFor(claim, defaultStorageClass(), { nodeName: "n1", contents });
  assert.equal(volume.metadata.name, "pvc-u-1");
  assert.equal(volume.spec?.local?.path, "/v/pvc-u-1");
  assert.equal(volume.spec?.claimRef?.uid, "u-1");
  assert.equal(volume.spec?.capacity?.["storage"], "1Gi");
  assert.equal(volume.spec?.persistentVolumeReclaimPolicy, "Delete");
  assert.deepEqual(volume.spec?.nodeAffinity?.required?.nodeSelectorTerms[0]?.matchExpressions?.[0]?.values, ["n1"]);
});

test("the class's reclaim policy is the volume's", () => {
  const retain = { ...defaultStorageClass(), reclaimPolicy: "Retain" };
  assert.equal(volumeFor(claim, retain, { nodeName: "n1", contents }).spec?.persistentVolumeReclaimPolicy, "Retain");
});

test("only what the provisioner itself named is taken for a path", () => {
  const volume = volumeFor(claim, undefined, { nodeName: "n1", contents });
  assert.equal(ownPath(volume, contents), "/v/pvc-u-1");
  const moved = { ...volume, spec: { ...volume.spec, local: { path: "/etc" } } };
  assert.equal(ownPath(moved, contents), undefined);
  assert.equal(ownPath({ ...volume, metadata: { name: "pvc-u-1" } }, contents), undefined);
  assert.deepEqual(["snapcontent-1a-2b", "../etc", "snapcontent-../x"].map(isHandle), [true, false, false]);
});
