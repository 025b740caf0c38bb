import type { k8s } from "../../api/index.ts";

/** The provisioner's name in StorageClasses, claims and volumes. */
export const LOCAL_PROVISIONER = "berth.dev/local";
/** The annotation by which a volume says who made it. */
export const PROVISIONED_BY = "pv.kubernetes.io/provisioned-by";

/**
 * What a claim without a class gets: a directory on the node where its first Pod runs.
 * https://kubernetes.io/docs/concepts/storage/storage-classes/
 */
export function defaultStorageClass(): k8s.StorageClass {
  return {
    apiVersion: "storage.k8s.io/v1",
    kind: "StorageClass",
    metadata: { name: "local", annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
    provisioner: LOCAL_PROVISIONER,
    reclaimPolicy: "Delete",
    volumeBindingMode: "WaitForFirstConsumer",
    allowVolumeExpansion: true,
  };
}
