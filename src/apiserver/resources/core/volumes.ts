import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text, wide } from "../shared/columns.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateClaimSpec } from "./claim-validation.ts";
import { validateClaimChange } from "./claim-change.ts";
import { validateVolumeChange, validateVolumeSpec } from "./volume-validation.ts";

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
  validate: (object) => validateVolumeSpec(object as Volume),
  validateUpdate: (object, old, { subresource }) =>
    subresource === "status" ? [] : validateVolumeChange(object as Volume, old as Volume),
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
  validate: (object) => validateClaimSpec((object as Claim).spec, "spec"),
  validateUpdate: (object, old, { subresource }) =>
    subresource === "status" ? [] : validateClaimChange(object as Claim, old as Claim),
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
