import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { ageColumn, nameColumn, text, wide } from "../shared/columns.ts";
import { deepEqual, forbidden, notSupported, required } from "../shared/field-errors.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateQuantity } from "../shared/checks.ts";

type Volume = k8s.PersistentVolume;
type Claim = k8s.PersistentVolumeClaim;

const modes: Readonly<Record<string, string>> = {
  ReadWriteOnce: "RWO",
  ReadOnlyMany: "ROX",
  ReadWriteMany: "RWX",
  ReadWriteOncePod: "RWOP",
};
/** In upstream's order, without repetition. */
const formatModes = (given: readonly string[] | undefined): string =>
  Object.keys(modes)
    .filter((mode) => given?.includes(mode))
    .map((mode) => modes[mode])
    .join(",");
const unset = "<unset>";

export const persistentVolume: Peculiarities = {
  shortNames: ["pv"],
  returnDeletedObject: true,
  fillDefaults(object) {
    const it = object as Volume;
    it.spec ??= {};
    it.spec.persistentVolumeReclaimPolicy ??= "Retain";
    it.spec.volumeMode ??= "Filesystem";
    if (it.spec.hostPath !== undefined) it.spec.hostPath.type ??= "";
  },
  prepareForCreate(object) {
    object["status"] = { phase: "Pending" };
  },
  validate: (object) => validateVolume((object as Volume).spec),
  columns: [
    nameColumn,
    text<Volume>("Capacity", ({ spec }) => spec?.capacity?.["storage"] ?? ""),
    text<Volume>("Access Modes", ({ spec }) => formatModes(spec?.accessModes)),
    text<Volume>("Reclaim Policy", ({ spec }) => spec?.persistentVolumeReclaimPolicy ?? ""),
    text<Volume>("Status", ({ status, metadata }) =>
      metadata.deletionTimestamp ? "Terminating" : (status?.phase ?? ""),
    ),
    text<Volume>("Claim", ({ spec }) => (spec?.claimRef ? `${spec.claimRef.namespace}/${spec.claimRef.name}` : "")),
    text<Volume>("StorageClass", ({ spec }) => spec?.storageClassName ?? ""),
    text<Volume>("VolumeAttributesClass", ({ spec }) => spec?.volumeAttributesClassName ?? unset),
    text<Volume>("Reason", ({ status }) => status?.reason ?? ""),
    ageColumn,
    wide(text<Volume>("VolumeMode", ({ spec }) => spec?.volumeMode ?? unset)),
  ],
};

export const persistentVolumeClaim: Peculiarities = {
  shortNames: ["pvc"],
  returnDeletedObject: true,
  fillDefaults(object) {
    const it = object as Claim;
    it.spec ??= {};
    it.spec.volumeMode ??= "Filesystem";
  },
  prepareForCreate(object) {
    object["status"] = { phase: "Pending" };
  },
  validate: (object) => validateClaim((object as Claim).spec, "spec"),
  validateUpdate: (object, old) => validateClaimKept(object as Claim, old as Claim),
  columns: [
    nameColumn,
    text<Claim>("Status", ({ status, metadata }) =>
      metadata.deletionTimestamp ? "Terminating" : (status?.phase ?? ""),
    ),
    text<Claim>("Volume", ({ spec }) => spec?.volumeName ?? ""),
    text<Claim>("Capacity", ({ spec, status }) => (spec?.volumeName ? (status?.capacity?.["storage"] ?? "0") : "")),
    text<Claim>("Access Modes", ({ spec, status }) => (spec?.volumeName ? formatModes(status?.accessModes) : "")),
    text<Claim>("StorageClass", ({ spec }) => spec?.storageClassName ?? ""),
    text<Claim>("VolumeAttributesClass", ({ spec }) => spec?.volumeAttributesClassName ?? unset),
    ageColumn,
    wide(text<Claim>("VolumeMode", ({ spec }) => spec?.volumeMode ?? unset)),
  ],
};

function validateModes(given: readonly string[] | undefined, at: string): FieldError[] {
  if ((given ?? []).length === 0) return [required(at, "at least 1 access mode is required")];
  return given!.filter((mode) => !(mode in modes)).map((mode) => notSupported(at, mode, Object.keys(modes).sort()));
}

const notSources = new Set([
  "accessModes",
  "capacity",
  "claimRef",
  "mountOptions",
  "nodeAffinity",
  "persistentVolumeReclaimPolicy",
  "storageClassName",
  "volumeAttributesClassName",
  "volumeMode",
]);

function validateVolume(spec: k8s.PersistentVolumeSpec | undefined): FieldError[] {
  const errors = validateModes(spec?.accessModes, "spec.accessModes");
  const size = spec?.capacity?.["storage"];
  if (size === undefined) errors.push(required("spec.capacity"));
  else errors.push(...validateQuantity("spec.capacity[storage]", size));
  const sources = Object.keys(spec ?? {}).filter((key) => !notSources.has(key));
  if (sources.length === 0) errors.push(required("spec", "must specify a volume type"));
  for (const extra of sources.slice(1))
    errors.push(forbidden(`spec.${extra}`, "may not specify more than 1 volume type"));
  return errors;
}

function validateClaim(spec: k8s.PersistentVolumeClaimSpec | undefined, at: string): FieldError[] {
  const errors = validateModes(spec?.accessModes, `${at}.accessModes`);
  const size = spec?.resources?.requests?.["storage"];
  if (size === undefined) errors.push(required(`${at}.resources[storage]`));
  else errors.push(...validateQuantity(`${at}.resources[storage]`, size));
  return errors;
}

function validateClaimKept(now: Claim, old: Claim): FieldError[] {
  const errors = validateClaim(now.spec, "spec");
  const comparable = ({ spec }: Claim) => ({
    ...spec,
    resources: undefined,
    volumeName: undefined,
    volumeAttributesClassName: undefined,
    storageClassName: spec?.storageClassName || undefined,
  });
  const bound = old.spec?.volumeName ? now.spec?.volumeName === old.spec.volumeName : true;
  const classKept =
    old.spec?.storageClassName === undefined || now.spec?.storageClassName === old.spec.storageClassName;
  const before =
    old.spec?.storageClassName === undefined
      ? { ...comparable(old), storageClassName: comparable(now).storageClassName }
      : comparable(old);
  if (!bound || !classKept || !deepEqual(comparable(now), before))
    errors.push(
      forbidden(
        "spec",
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n",
      ),
    );
  return errors;
}
