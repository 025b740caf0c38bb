import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { descendingPath, inRange, label, mustBeSet, noBacksteps, subdomain } from "../../shared/checks.ts";
import { invalid, notSupported, oneOf, required, tooLong } from "../../shared/field-errors.ts";
import { isDns1123Subdomain } from "../../shared/names.ts";

/** Sources that Pods and PersistentVolumes have in common, or nearly; paths and words are upstream's, oddities included. */

const hostPathTypes = [
  "",
  "BlockDevice",
  "CharDevice",
  "Directory",
  "DirectoryOrCreate",
  "File",
  "FileOrCreate",
  "Socket",
];

export function validateHostPath(source: k8s.HostPathVolumeSource, at: string): FieldError[] {
  if (!source.path) return [required(`${at}.path`)];
  return [...noBacksteps(`${at}.path`, source.path), ...oneOf(`${at}.type`, source.type, hostPathTypes)];
}

const partition = (at: string, value: number | undefined): FieldError[] =>
  value !== undefined && (value < 0 || value > 255) ? inRange(`${at}.partition`, value, 1, 255) : [];

export const validateGcePersistentDisk = (source: k8s.GCEPersistentDiskVolumeSource, at: string): FieldError[] => [
  ...mustBeSet(`${at}.pdName`, source.pdName),
  ...partition(at, source.partition),
];
export const validateAwsElasticBlockStore = (
  source: k8s.AWSElasticBlockStoreVolumeSource,
  at: string,
): FieldError[] => [...mustBeSet(`${at}.volumeID`, source.volumeID), ...partition(at, source.partition)];

export const validateNfs = (source: k8s.NFSVolumeSource, at: string): FieldError[] => [
  ...mustBeSet(`${at}.server`, source.server),
  ...mustBeSet(`${at}.path`, source.path),
  ...(source.path?.startsWith("/") ? [] : [invalid(`${at}.path`, source.path ?? "", "must be an absolute path")]),
];

export const validateGlusterfs = (source: k8s.GlusterfsVolumeSource, at: string): FieldError[] => [
  ...mustBeSet(`${at}.endpoints`, source.endpoints),
  ...mustBeSet(`${at}.path`, source.path),
];

export function validateFlocker(source: k8s.FlockerVolumeSource, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!source.datasetName && !source.datasetUUID)
    errors.push(required(at, "one of datasetName and datasetUUID is required"));
  if (source.datasetName && source.datasetUUID)
    errors.push(invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"));
  if (source.datasetName?.includes("/"))
    errors.push(invalid(`${at}.datasetName`, source.datasetName, "must not contain '/'"));
  return errors;
}

export const validateRbd = (source: { monitors: string[]; image: string }, at: string): FieldError[] => [
  ...((source.monitors ?? []).length === 0 ? [required(`${at}.monitors`)] : []),
  ...mustBeSet(`${at}.image`, source.image),
];
export const validateCephFs = (source: { monitors: string[] }, at: string): FieldError[] =>
  (source.monitors ?? []).length === 0 ? [required(`${at}.monitors`)] : [];

export function validateQuobyte(source: k8s.QuobyteVolumeSource, at: string): FieldError[] {
  const pairs = "must be a host:port pair or multiple pairs separated by commas";
  const errors: FieldError[] = [];
  if (!source.registry) errors.push(required(`${at}.registry`, pairs));
  else if ((source.tenant ?? "").length >= 65)
    errors.push(required(`${at}.tenant`, "must be a UUID and may not exceed a length of 64 characters"));
  else
    for (const pair of source.registry.split(","))
      if (!/^(\[[^\]]*\]|[^:[\]]*):[^:]*$/.test(pair)) errors.push(invalid(`${at}.registry`, source.registry, pairs));
  return [...errors, ...mustBeSet(`${at}.volume`, source.volume)];
}

export function validateFc(source: k8s.FCVolumeSource, at: string): FieldError[] {
  const names = source.targetWWNs?.length ?? 0;
  const ids = source.wwids?.length ?? 0;
  const errors: FieldError[] = [];
  if (names === 0 && ids === 0)
    errors.push(required(`${at}.targetWWNs`, "must specify either targetWWNs or wwids, but not both"));
  if (names > 0 && ids > 0)
    errors.push(
      invalid(`${at}.targetWWNs`, source.targetWWNs, "targetWWNs and wwids can not be specified simultaneously"),
    );
  if (names > 0 && source.lun === undefined)
    errors.push(required(`${at}.lun`, "lun is required if targetWWNs is specified"));
  else if (names > 0) errors.push(...inRange(`${at}.lun`, source.lun!, 0, 255));
  return errors;
}

const reservedOption = /(^|\.)(kubernetes|k8s)\.io$/;

export const validateFlexVolume = (
  source: { driver: string; options?: Record<string, string> },
  at: string,
): FieldError[] => [
  ...mustBeSet(`${at}.driver`, source.driver),
  ...Object.keys(source.options ?? {})
    .filter((key) => reservedOption.test(key.split("/", 1)[0]!.toLowerCase()))
    .map((key) => invalid(`${at}.options[${key}]`, key, "kubernetes.io and k8s.io namespaces are reserved")),
];

export function validateAzureDisk(source: k8s.AzureDiskVolumeSource, at: string): FieldError[] {
  const errors = [...mustBeSet(`${at}.diskName`, source.diskName), ...mustBeSet(`${at}.diskURI`, source.diskURI)];
  errors.push(...oneOf(`${at}.cachingMode`, source.cachingMode, ["None", "ReadOnly", "ReadWrite"]));
  errors.push(...oneOf(`${at}.kind`, source.kind, ["Dedicated", "Managed", "Shared"]));
  if (source.kind === "Managed" && !source.diskURI?.startsWith("/subscriptions/"))
    errors.push(
      notSupported(`${at}.diskURI`, source.diskURI, [
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
      ]),
    );
  if (source.kind !== undefined && source.kind !== "Managed" && !source.diskURI?.startsWith("https://"))
    errors.push(
      notSupported(`${at}.diskURI`, source.diskURI, [
        "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
      ]),
    );
  return errors;
}

const initiators: Readonly<Record<string, RegExp>> = {
  iqn: /iqn\.\d{4}-\d{2}\.([A-Za-z0-9\-.]+)(:[^,;*&$|\s]+)$/,
  eui: /^eui.[A-Za-z0-9]{16}$/,
  naa: /^naa.[A-Za-z0-9]{32}$/,
};

export function validateIscsi(
  source: k8s.ISCSIVolumeSource | k8s.ISCSIPersistentVolumeSource,
  at: string,
  prefixDetail: string,
): FieldError[] {
  const name = (field: string, value: string): FieldError[] => {
    const pattern = initiators[value.slice(0, 3)];
    if (pattern === undefined) return [invalid(field, value, prefixDetail)];
    return pattern.test(value) ? [] : [invalid(field, value, "must be valid format")];
  };
  const errors = mustBeSet(`${at}.targetPortal`, source.targetPortal);
  errors.push(...(source.iqn ? name(`${at}.iqn`, source.iqn) : [required(`${at}.iqn`)]));
  errors.push(...inRange(`${at}.lun`, source.lun ?? 0, 0, 255));
  if ((source.chapAuthDiscovery || source.chapAuthSession) && source.secretRef === undefined)
    errors.push(required(`${at}.secretRef`));
  if (source.initiatorName !== undefined) errors.push(...name(`${at}.initiatorname`, source.initiatorName));
  return errors;
}

export const validateVsphere = ({ volumePath }: k8s.VsphereVirtualDiskVolumeSource, at: string): FieldError[] =>
  mustBeSet(`${at}.volumePath`, volumePath);
export const validatePhoton = ({ pdID }: k8s.PhotonPersistentDiskVolumeSource, at: string): FieldError[] =>
  mustBeSet(`${at}.pdID`, pdID);
export const validatePortworx = ({ volumeID }: k8s.PortworxVolumeSource, at: string): FieldError[] =>
  mustBeSet(`${at}.volumeID`, volumeID);

export const validateScaleIo = (
  source: { gateway: string; system: string; volumeName?: string },
  at: string,
): FieldError[] => [
  ...mustBeSet(`${at}.gateway`, source.gateway),
  ...mustBeSet(`${at}.system`, source.system),
  ...mustBeSet(`${at}.volumeName`, source.volumeName),
];

/** `refFields`: what a reference to a secret needs: its name, in a PersistentVolume its namespace too. */
export const validateSecretRef = (
  ref: { name?: string; namespace?: string } | undefined,
  at: string,
  refFields: readonly ("name" | "namespace")[],
): FieldError[] => (ref === undefined ? [] : refFields.flatMap((field) => mustBeSet(`${at}.${field}`, ref[field])));

export const validateStorageOs = (
  source: { volumeName?: string; volumeNamespace?: string },
  at: string,
): FieldError[] => [
  ...mustBeSet(`${at}.volumeName`, source.volumeName),
  ...label(`${at}.volumeName`, source.volumeName),
  ...label(`${at}.volumeNamespace`, source.volumeNamespace),
];

export const validateAzureFile = (source: { secretName?: string; shareName?: string }, at: string): FieldError[] => [
  ...mustBeSet(`${at}.secretName`, source.secretName),
  ...mustBeSet(`${at}.shareName`, source.shareName),
];

export const validateGitRepo = (source: k8s.GitRepoVolumeSource, at: string): FieldError[] => [
  ...mustBeSet(`${at}.repository`, source.repository),
  ...descendingPath(`${at}.directory`, source.directory ?? ""),
];

export function validateCsiDriverName(at: string, driver: string | undefined): FieldError[] {
  const errors = mustBeSet(at, driver);
  if ((driver ?? "").length > 63) errors.push(tooLong(at, 63));
  return [
    ...errors,
    ...isDns1123Subdomain((driver ?? "").toLowerCase()).map((detail) => invalid(at, driver ?? "", detail)),
  ];
}

export const validateCsi = (source: k8s.CSIVolumeSource, at: string): FieldError[] => [
  ...validateCsiDriverName(`${at}.driver`, source.driver),
  ...validateSecretRef(source.nodePublishSecretRef, `${at}.nodePublishSecretRef`, ["name"]),
  ...subdomain(`${at}.name`, source.nodePublishSecretRef?.name),
];
