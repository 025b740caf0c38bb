import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { validateCsiDriverName } from "../core/pod-validation/volume-sources.ts";
import { each, mustBeSet, named, requiredName, subdomain } from "../shared/checks.ts";
import {
  deepEqual,
  duplicate,
  forbidden,
  immutable,
  invalid,
  nonNegative,
  oneOf,
  required,
  tooLong,
} from "../shared/field-errors.ts";
import { isDns1123Subdomain, isQualifiedName } from "../shared/names.ts";

/** Upstream's pkg/apis/storage/validation. */

const maxParametersBytes = 256 * 1024;
const maxParameters = 512;
const maxNodeIdBytes = 192;
const minTokenSeconds = 600;

function validateParameters(parameters: Record<string, string> | undefined, at: string): FieldError[] {
  const entries = Object.entries(parameters ?? {});
  const errors: FieldError[] = [];
  if (entries.length > maxParameters)
    errors.push(
      invalid(`${at}.Provisioner Parameters`, entries.length, `Too long: must have at most ${maxParameters} bytes`),
    );
  let sizeBytes = 0;
  for (const [key, value] of entries) {
    if (key === "") errors.push(invalid(at, key, "field can not be empty."));
    sizeBytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (sizeBytes > maxParametersBytes) errors.push(tooLong(at, maxParametersBytes));
  return errors;
}

function validateTopologies(terms: readonly k8s.TopologySelectorTerm[] | undefined): FieldError[] {
  return each(terms, "allowedTopologies", (term, at) => {
    const keys = new Set<string>();
    return each(term.matchLabelExpressions, `${at}.matchLabelExpressions`, (requirement, here) => {
      const { key } = requirement;
      const values = requirement.values ?? [];
      const errors = values.length === 0 ? [required(`${here}.values`)] : [];
      for (const [index, value] of values.entries())
        if (values.indexOf(value) < index) errors.push(duplicate(`${here}.values[${index}]`, value));
      errors.push(...named(`${here}.key`, key ?? "", isQualifiedName));
      if (keys.has(key)) errors.push(duplicate(`${here}.key`, key));
      keys.add(key);
      return errors;
    });
  });
}

const lowerName = (name: string): string[] => isQualifiedName(name.toLowerCase());

export function validateStorageClass(object: KubeObject): FieldError[] {
  const it = object as k8s.StorageClass;
  return [
    ...requiredName("provisioner", it.provisioner, lowerName),
    ...validateParameters(it.parameters, "parameters"),
    ...oneOf("reclaimPolicy", it.reclaimPolicy, ["Delete", "Retain"]),
    ...oneOf("volumeBindingMode", it.volumeBindingMode, ["Immediate", "WaitForFirstConsumer"]),
    ...validateTopologies(it.allowedTopologies),
  ];
}

export function validateStorageClassChange(now: k8s.StorageClass, old: k8s.StorageClass): FieldError[] {
  const fields = ["parameters", "provisioner", "reclaimPolicy"] as const;
  return [
    ...fields
      .filter((field) => !deepEqual(now[field], old[field]))
      .map((field) => forbidden(field, `updates to ${field} are forbidden.`)),
    ...immutable("volumeBindingMode", now.volumeBindingMode, old.volumeBindingMode),
  ];
}

export function validateCsiDriver(object: KubeObject): FieldError[] {
  const { metadata, spec } = object as k8s.CSIDriver;
  const audiences = new Set<string>();
  return [
    ...validateCsiDriverName("metadata.name", metadata.name),
    ...oneOf("spec.fsGroupPolicy", spec.fsGroupPolicy, ["File", "None", "ReadWriteOnceWithFSType"]),
    ...each(spec.tokenRequests, "spec.tokenRequests", ({ audience, expirationSeconds: seconds }, at) => {
      const errors: FieldError[] = [];
      if (audiences.has(audience)) errors.push(duplicate(`${at}.audience`, audience));
      audiences.add(audience);
      if (seconds !== undefined && seconds < minTokenSeconds)
        errors.push(invalid(`${at}.expirationSeconds`, seconds, "may not specify a duration less than 10 minutes"));
      if (seconds !== undefined && seconds > 2 ** 32)
        errors.push(invalid(`${at}.expirationSeconds`, seconds, "may not specify a duration larger than 2^32 seconds"));
      return errors;
    }),
    ...(spec.volumeLifecycleModes ?? []).flatMap((mode) =>
      oneOf("spec.volumeLifecycleModes", mode, ["Ephemeral", "Persistent"]),
    ),
  ];
}

export const validateCsiDriverChange = (now: k8s.CSIDriver, old: k8s.CSIDriver): FieldError[] => [
  ...validateCsiDriver(now as KubeObject),
  ...immutable("spec.attachRequired", now.spec?.attachRequired, old.spec?.attachRequired),
  ...immutable("spec.volumeLifecycleModes", now.spec?.volumeLifecycleModes, old.spec?.volumeLifecycleModes),
];

export function validateCsiNode(object: KubeObject): FieldError[] {
  const names = new Set<string>();
  return each((object as k8s.CSINode).spec?.drivers, "spec.drivers", (driver, at) => {
    const errors = validateCsiDriverName(`${at}.name`, driver.name);
    errors.push(...mustBeSet(`${at}.nodeID`, driver.nodeID));
    if ((driver.nodeID ?? "").length > maxNodeIdBytes)
      errors.push(invalid(`${at}.nodeID`, driver.nodeID, `must be ${maxNodeIdBytes} characters or less`));
    errors.push(...nonNegative(`${at}.allocatable.count`, driver.allocatable?.count));
    for (const key of driver.topologyKeys ?? []) {
      if (key === "") errors.push(required(`${at}.topologyKeys`, "topologyKeys cannot be empty"));
      else errors.push(...named(at, key, isQualifiedName));
    }
    if (names.has(driver.name)) errors.push(duplicate(`${at}.name`, driver.name));
    names.add(driver.name);
    return errors;
  });
}

export function validateAttachment(object: KubeObject): FieldError[] {
  const spec = (object as k8s.VolumeAttachment).spec ?? ({} as k8s.VolumeAttachmentSpec);
  const { persistentVolumeName: name, inlineVolumeSpec: inline } = spec.source ?? {};
  const errors = validateCsiDriverName("spec.attacher", spec.attacher);
  if (name === undefined && inline === undefined)
    errors.push(required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
  if (name !== undefined && inline !== undefined)
    errors.push(forbidden("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
  if (name === "")
    errors.push(required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName"));
  return [...errors, ...requiredName("spec.nodeName", spec.nodeName, isDns1123Subdomain)];
}

export const validateAttachmentChange = (now: k8s.VolumeAttachment, old: k8s.VolumeAttachment): FieldError[] =>
  immutable("spec", now.spec, old.spec);

export function validateCapacity(object: KubeObject): FieldError[] {
  const it = object as k8s.CSIStorageCapacity;
  return [...mustBeSet("storageClassName", it.storageClassName), ...subdomain("storageClassName", it.storageClassName)];
}

export const validateCapacityChange = (now: k8s.CSIStorageCapacity, old: k8s.CSIStorageCapacity): FieldError[] => [
  ...immutable("nodeTopology", now.nodeTopology, old.nodeTopology),
  ...immutable("storageClassName", now.storageClassName, old.storageClassName),
];

export function validateAttributesClass(object: KubeObject): FieldError[] {
  const it = object as k8s.VolumeAttributesClass;
  return [
    ...requiredName("driverName", it.driverName, lowerName),
    ...(Object.keys(it.parameters ?? {}).length === 0
      ? [required("parameters", "must contain at least one key/value pair")]
      : validateParameters(it.parameters, "parameters")),
  ];
}

export const validateAttributesClassChange = (
  now: k8s.VolumeAttributesClass,
  old: k8s.VolumeAttributesClass,
): FieldError[] => [
  ...(now.driverName === old.driverName ? [] : [forbidden("driverName", "updates to driverName are forbidden.")]),
  ...(deepEqual(now.parameters, old.parameters)
    ? []
    : [forbidden("parameters", "updates to parameters are forbidden.")]),
];
