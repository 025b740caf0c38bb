import type { k8s } from "../../../api/index.ts";
import { defineResource } from "../../../client/index.ts";

/** Snapshots of volumes, as CSI's snapshot controller defines them. https://kubernetes.io/docs/concepts/storage/volume-snapshots/ */
export const SNAPSHOT_GROUP = "snapshot.storage.k8s.io";

interface Meta {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: k8s.ObjectMeta;
}
export type DeletionPolicy = "Delete" | "Retain";
export interface SnapshotError {
  readonly time: string;
  readonly message: string;
}
export interface VolumeSnapshotClass extends Meta {
  readonly driver: string;
  readonly deletionPolicy: DeletionPolicy;
  readonly parameters?: Readonly<Record<string, string>>;
}
export interface VolumeSnapshot extends Meta {
  readonly spec: {
    readonly source: { readonly persistentVolumeClaimName?: string; readonly volumeSnapshotContentName?: string };
    readonly volumeSnapshotClassName?: string;
  };
  readonly status?: {
    readonly boundVolumeSnapshotContentName?: string;
    readonly creationTime?: string;
    readonly readyToUse?: boolean;
    readonly restoreSize?: string;
    readonly error?: SnapshotError | null;
  };
}
export interface VolumeSnapshotContent extends Meta {
  readonly spec: {
    readonly deletionPolicy: DeletionPolicy;
    readonly driver: string;
    readonly source: { readonly volumeHandle?: string; readonly snapshotHandle?: string };
    readonly sourceVolumeMode?: string;
    readonly volumeSnapshotClassName?: string;
    readonly volumeSnapshotRef: k8s.ObjectReference;
  };
  readonly status?: {
    /** Nanoseconds since the epoch. */
    readonly creationTime?: number;
    readonly readyToUse?: boolean;
    readonly restoreSize?: number;
    readonly snapshotHandle?: string;
    readonly error?: SnapshotError | null;
  };
}

/** How snapshots of local volumes are called on disk. Handles come from the API: only this provisioner's own naming is trusted. */
export const isHandle = (name: string): boolean => /^snapcontent-[0-9a-f-]+$/.test(name);

const VERSION = `${SNAPSHOT_GROUP}/v1`;
export const volumeSnapshotClasses = defineResource<VolumeSnapshotClass>(
  VERSION,
  "volumesnapshotclasses",
  "VolumeSnapshotClass",
  false,
);
export const volumeSnapshots = defineResource<VolumeSnapshot>(VERSION, "volumesnapshots", "VolumeSnapshot");
export const volumeSnapshotContents = defineResource<VolumeSnapshotContent>(
  VERSION,
  "volumesnapshotcontents",
  "VolumeSnapshotContent",
  false,
);
