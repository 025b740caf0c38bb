import type { k8s } from "../../../api/index.ts";
import { LOCAL_PROVISIONER } from "../storage-class.ts";
import { SNAPSHOT_GROUP, type VolumeSnapshotClass } from "./types.ts";

type Schema = k8s.JSONSchemaProps;

const text: Schema = { type: "string" };
const flag: Schema = { type: "boolean" };
const quantity: Schema = {
  anyOf: [{ type: "integer" }, { type: "string" }],
  "x-kubernetes-int-or-string": true,
};
const policy: Schema = { type: "string", enum: ["Delete", "Retain"] };
const object = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  type: "object",
  properties,
  ...(required.length > 0 && { required }),
});
const error = object({ message: text, time: { type: "string", format: "date-time" } });
const oneOf = (...names: string[]): Partial<Schema> => ({ oneOf: names.map((name) => ({ required: [name] })) });
const immutable = (what: string): Partial<Schema> => ({
  "x-kubernetes-validations": [{ rule: "self == oldSelf", message: `${what} is immutable` }],
});

const snapshot = object(
  {
    spec: object(
      {
        source: {
          ...object({
            persistentVolumeClaimName: { ...text, ...immutable("persistentVolumeClaimName") },
            volumeSnapshotContentName: { ...text, ...immutable("volumeSnapshotContentName") },
          }),
          ...oneOf("persistentVolumeClaimName", "volumeSnapshotContentName"),
        },
        volumeSnapshotClassName: { ...text, minLength: 1 },
      },
      ["source"],
    ),
    status: object({
      boundVolumeSnapshotContentName: text,
      creationTime: { type: "string", format: "date-time" },
      readyToUse: flag,
      restoreSize: quantity,
      error,
      volumeGroupSnapshotName: text,
    }),
  },
  ["spec"],
);
const content = object(
  {
    spec: object(
      {
        deletionPolicy: policy,
        driver: text,
        source: {
          ...object({ volumeHandle: text, snapshotHandle: text }),
          ...oneOf("volumeHandle", "snapshotHandle"),
          ...immutable("source"),
        },
        sourceVolumeMode: text,
        volumeSnapshotClassName: text,
        volumeSnapshotRef: object({
          apiVersion: text,
          fieldPath: text,
          kind: text,
          name: text,
          namespace: text,
          resourceVersion: text,
          uid: text,
        }),
      },
      ["deletionPolicy", "driver", "source", "volumeSnapshotRef"],
    ),
    status: object({
      creationTime: { type: "integer", format: "int64" },
      readyToUse: flag,
      restoreSize: { type: "integer", format: "int64", minimum: 0 },
      snapshotHandle: text,
      error,
      volumeGroupSnapshotHandle: text,
    }),
  },
  ["spec"],
);
const snapshotClass = object(
  {
    driver: text,
    deletionPolicy: policy,
    parameters: { type: "object", additionalProperties: text },
  },
  ["deletionPolicy", "driver"],
);

const column = (name: string, jsonPath: string, type = "string") => ({ name, type, jsonPath });
const age = column("Age", ".metadata.creationTimestamp", "date");

export function snapshotDefinitions(): k8s.CustomResourceDefinition[] {
  return [
    definition("VolumeSnapshotClass", "volumesnapshotclasses", ["vsclass", "vsclasses"], "Cluster", snapshotClass, [
      column("Driver", ".driver"),
      column("DeletionPolicy", ".deletionPolicy"),
      age,
    ]),
    definition("VolumeSnapshotContent", "volumesnapshotcontents", ["vsc", "vscs"], "Cluster", content, [
      column("ReadyToUse", ".status.readyToUse", "boolean"),
      column("RestoreSize", ".status.restoreSize", "integer"),
      column("DeletionPolicy", ".spec.deletionPolicy"),
      column("Driver", ".spec.driver"),
      column("VolumeSnapshotClass", ".spec.volumeSnapshotClassName"),
      column("VolumeSnapshot", ".spec.volumeSnapshotRef.name"),
      column("VolumeSnapshotNamespace", ".spec.volumeSnapshotRef.namespace"),
      age,
    ]),
    definition("VolumeSnapshot", "volumesnapshots", ["vs"], "Namespaced", snapshot, [
      column("ReadyToUse", ".status.readyToUse", "boolean"),
      column("SourcePVC", ".spec.source.persistentVolumeClaimName"),
      column("SourceSnapshotContent", ".spec.source.volumeSnapshotContentName"),
      column("RestoreSize", ".status.restoreSize"),
      column("SnapshotClass", ".spec.volumeSnapshotClassName"),
      column("SnapshotContent", ".status.boundVolumeSnapshotContentName"),
      column("CreationTime", ".status.creationTime", "date"),
      age,
    ]),
  ];
}

export const DEFAULT_CLASS = "snapshot.storage.kubernetes.io/is-default-class";

/** What a snapshot without a class gets. */
export function defaultSnapshotClass(): VolumeSnapshotClass {
  return {
    metadata: { name: "local", annotations: { [DEFAULT_CLASS]: "true" } },
    driver: LOCAL_PROVISIONER,
    deletionPolicy: "Delete",
  };
}

function definition(
  kind: string,
  plural: string,
  shortNames: string[],
  scope: string,
  schema: Schema,
  additionalPrinterColumns: object[],
): k8s.CustomResourceDefinition {
  const withStatus = schema.properties?.["status"] !== undefined;
  const version = {
    name: "v1",
    served: true,
    storage: true,
    additionalPrinterColumns,
    schema: { openAPIV3Schema: schema },
    ...(withStatus && { subresources: { status: {} } }),
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: {
      name: `${plural}.${SNAPSHOT_GROUP}`,
      // The group is protected: definitions in it name the change by which they were agreed on.
      annotations: { "api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/814" },
    },
    spec: {
      group: SNAPSHOT_GROUP,
      scope,
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List`, shortNames },
      versions: [version],
    },
  } as unknown as k8s.CustomResourceDefinition;
}
