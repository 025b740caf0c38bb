import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { label, mustBeSet, noBacksteps, positiveQuantity, requiredName, subdomain } from "../shared/checks.ts";
import { deepEqual, forbidden, immutable, invalid, notSupported, oneOf, required } from "../shared/field-errors.ts";
import { isDns1123Label, isDns1123Subdomain } from "../shared/names.ts";
import { validateAccessModes } from "./claim-validation.ts";
import { validateNodeSelector } from "./pod-validation/affinity.ts";
import * as sources from "./pod-validation/volume-sources.ts";

type Volume = k8s.PersistentVolume;
type Spec = k8s.PersistentVolumeSpec;
type Check = (source: never, at: string) => FieldError[];
const named = ["name", "namespace"] as const;

function validateSecret(ref: k8s.SecretReference | undefined, at: string): FieldError[] {
  if (ref === undefined) return [];
  return [
    ...requiredName(`${at}.name`, ref.name, isDns1123Subdomain),
    ...requiredName(`${at}.namespace`, ref.namespace, isDns1123Label),
  ];
}

const validateCsi = (source: k8s.CSIPersistentVolumeSource, at: string): FieldError[] => [
  ...sources.validateCsiDriverName(`${at}.driver`, source.driver),
  ...mustBeSet(`${at}.volumeHandle`, source.volumeHandle),
  ...validateSecret(source.controllerPublishSecretRef, `${at}.controllerPublishSecretRef`),
  ...validateSecret(source.controllerExpandSecretRef, `${at}.controllerExpandSecretRef`),
  ...validateSecret(source.nodePublishSecretRef, `${at}.nodePublishSecretRef`),
  ...validateSecret(source.nodeExpandSecretRef, `${at}.nodeExpandSecretRef`),
];

/** In upstream's order, as those of Pods in pod-validation/volumes.ts. */
const kinds: readonly (readonly [keyof Spec, Check, string?])[] = [
  ["hostPath", sources.validateHostPath],
  ["gcePersistentDisk", sources.validateGcePersistentDisk, "persistentDisk"],
  ["awsElasticBlockStore", sources.validateAwsElasticBlockStore],
  [
    "glusterfs",
    (source: k8s.GlusterfsPersistentVolumeSource, at) => [
      ...sources.validateGlusterfs(source, at),
      ...label(`${at}.endpointsNamespace`, source.endpointsNamespace),
    ],
  ],
  ["flocker", sources.validateFlocker],
  ["nfs", sources.validateNfs],
  ["rbd", sources.validateRbd],
  ["quobyte", sources.validateQuobyte],
  ["cephfs", sources.validateCephFs],
  [
    "iscsi",
    (source: k8s.ISCSIPersistentVolumeSource, at) => [
      ...sources.validateIscsi(source, at, "must be valid format"),
      ...sources.validateSecretRef(source.secretRef, `${at}.secretRef`, ["name"]),
    ],
  ],
  [
    "cinder",
    (source: k8s.CinderPersistentVolumeSource, at) => [
      ...mustBeSet(`${at}.volumeID`, source.volumeID),
      ...sources.validateSecretRef(source.secretRef, `${at}.secretRef`, named),
    ],
  ],
  ["fc", sources.validateFc],
  ["flexVolume", sources.validateFlexVolume],
  ["azureFile", sources.validateAzureFile],
  ["vsphereVolume", sources.validateVsphere],
  ["photonPersistentDisk", sources.validatePhoton],
  ["portworxVolume", sources.validatePortworx],
  ["azureDisk", sources.validateAzureDisk],
  ["scaleIO", sources.validateScaleIo],
  [
    "local",
    (source: k8s.LocalVolumeSource, at) =>
      source.path ? noBacksteps(`${at}.path`, source.path) : [required(`${at}.path`)],
  ],
  [
    "storageos",
    (source: k8s.StorageOSPersistentVolumeSource, at) => [
      ...sources.validateStorageOs(source, at),
      ...sources.validateSecretRef(source.secretRef, `${at}.secretRef`, named),
    ],
  ],
  ["csi", validateCsi],
];

function validateCapacity(capacity: Record<string, string> | undefined): FieldError[] {
  const at = "spec.capacity";
  const names = Object.keys(capacity ?? {});
  const errors = names.length === 0 ? [required(at)] : [];
  if (names.length !== 1 || names[0] !== "storage") errors.push(notSupported(at, capacity ?? null, ["storage"]));
  for (const [name, quantity] of Object.entries(capacity ?? {}))
    errors.push(...positiveQuantity(`${at}[${name}]`, quantity));
  return errors;
}

function validateSources(spec: Spec): FieldError[] {
  const errors: FieldError[] = [];
  let found = 0;
  for (const [key, check, ownPath = key] of kinds) {
    const source = spec[key];
    if (source === undefined) continue;
    if (found++ > 0 && key !== "flexVolume")
      errors.push(forbidden(`spec.${key === "cephfs" ? "cephFS" : key}`, "may not specify more than 1 volume type"));
    else errors.push(...check(source as never, `spec.${ownPath}`));
  }
  if (spec.local !== undefined && spec.nodeAffinity === undefined)
    errors.push(required("spec.nodeAffinity", "Local volume requires node affinity"));
  if (found === 0) errors.push(required("spec", "must specify a volume type"));
  return errors;
}

/** Upstream's ValidatePersistentVolumeSpec. */
export function validateVolumeSpec({ spec = {} }: Volume): FieldError[] {
  const affinity = spec.nodeAffinity;
  const errors = [
    ...validateAccessModes(spec.accessModes, "spec.accessModes", ""),
    ...validateCapacity(spec.capacity),
    ...oneOf("spec.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy, ["Delete", "Recycle", "Retain"]),
  ];
  if (affinity !== undefined)
    errors.push(
      ...(affinity.required
        ? validateNodeSelector(affinity.required, "spec.nodeAffinity.required")
        : [required("spec.nodeAffinity.required", "must specify required node constraints")]),
    );
  errors.push(...validateSources(spec));
  if (spec.hostPath && /^\/+$/.test(spec.hostPath.path) && spec.persistentVolumeReclaimPolicy === "Recycle")
    errors.push(forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"));
  errors.push(...subdomain("spec.storageClassName", spec.storageClassName));
  errors.push(...oneOf("spec.volumeMode", spec.volumeMode, ["Block", "Filesystem"]));
  return [...errors, ...validateAttributesClass(spec)];
}

function validateAttributesClass(spec: Spec): FieldError[] {
  const name = spec.volumeAttributesClassName;
  if (name === undefined) return [];
  const at = "spec.volumeAttributesClassName";
  return [
    ...(name === "" ? [required(at, "an empty string is disallowed")] : subdomain(at, name)),
    ...(spec.csi ? [] : [required("spec.csi", "has to be specified when using volumeAttributesClassName")]),
  ];
}

/** Upstream's ValidatePersistentVolumeUpdate: where the data are stays. */
export function validateVolumeChange(now: Volume, old: Volume): FieldError[] {
  const [after, before] = [now.spec ?? {}, old.spec ?? {}];
  const errors = deepEqual(after, before) ? [] : validateVolumeSpec(now);
  const sourceOf = (spec: Spec) => Object.fromEntries(kinds.map(([key]) => [key, spec[key]]));
  const given = sourceOf(after);
  if (before.csi && !before.csi.controllerExpandSecretRef && after.csi?.controllerExpandSecretRef) {
    const { controllerExpandSecretRef: _ref, ...csi } = after.csi;
    given["csi"] = csi;
  }
  if (!deepEqual(given, sourceOf(before)))
    errors.push(forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation\n"));
  errors.push(...immutable("volumeMode", after.volumeMode, before.volumeMode));
  if (before.nodeAffinity !== undefined && !deepEqual(after.nodeAffinity, before.nodeAffinity))
    errors.push(
      invalid("nodeAffinity", after.nodeAffinity, "field is immutable, except for updating from beta label to GA"),
    );
  if (before.volumeAttributesClassName !== undefined && after.volumeAttributesClassName === undefined)
    errors.push(forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden"));
  return errors;
}
