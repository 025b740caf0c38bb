import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { mustBeSet, nano } from "../../shared/checks.ts";
import { duplicate, forbidden, invalid, oneOf, required } from "../../shared/field-errors.ts";
import { isDns1123Label, isDns1123Subdomain } from "../../shared/names.ts";
import { validateAnnotations, validateLabels } from "../../shared/object-meta.ts";
import { validateClaimSpec } from "../claim-validation.ts";
import {
  validateConfigMapVolume,
  validateDownwardVolume,
  validateProjected,
  validateSecretVolume,
} from "./projections.ts";
import * as sources from "./volume-sources.ts";

type Check = (source: never, at: string) => FieldError[];

/** In upstream's order: of two sources the later one is refused. The third is the path that its own errors have, where it's another. */
const kinds: readonly (readonly [keyof k8s.Volume, Check, string?])[] = [
  ["emptyDir", validateEmptyDir],
  ["hostPath", sources.validateHostPath],
  ["gitRepo", sources.validateGitRepo],
  ["gcePersistentDisk", sources.validateGcePersistentDisk, "persistentDisk"],
  ["awsElasticBlockStore", sources.validateAwsElasticBlockStore],
  ["secret", validateSecretVolume],
  ["nfs", sources.validateNfs],
  [
    "iscsi",
    (source: k8s.ISCSIVolumeSource, at) =>
      sources.validateIscsi(source, at, "must be valid format starting with iqn, eui, or naa"),
  ],
  ["glusterfs", sources.validateGlusterfs],
  ["flocker", sources.validateFlocker],
  [
    "persistentVolumeClaim",
    (source: k8s.PersistentVolumeClaimVolumeSource, at) => mustBeSet(`${at}.claimName`, source.claimName),
  ],
  ["rbd", sources.validateRbd],
  [
    "cinder",
    (source: k8s.CinderVolumeSource, at) => [
      ...mustBeSet(`${at}.volumeID`, source.volumeID),
      ...sources.validateSecretRef(source.secretRef, `${at}.secretRef`, ["name"]),
    ],
  ],
  ["cephfs", sources.validateCephFs],
  ["quobyte", sources.validateQuobyte],
  ["downwardAPI", validateDownwardVolume],
  ["fc", sources.validateFc],
  ["flexVolume", sources.validateFlexVolume],
  ["configMap", validateConfigMapVolume],
  ["azureFile", sources.validateAzureFile],
  ["vsphereVolume", sources.validateVsphere],
  ["photonPersistentDisk", sources.validatePhoton],
  ["portworxVolume", sources.validatePortworx],
  ["azureDisk", sources.validateAzureDisk],
  [
    "storageos",
    (source: k8s.StorageOSVolumeSource, at) => [
      ...sources.validateStorageOs(source, at),
      ...sources.validateSecretRef(source.secretRef, `${at}.secretRef`, ["name"]),
    ],
  ],
  ["projected", validateProjected],
  ["scaleIO", sources.validateScaleIo],
  ["csi", sources.validateCsi],
  ["ephemeral", validateEphemeral],
  ["image", validateImageVolume],
];

/** Under another name when there are two, by an oversight upstream. */
const namesWhenTooMany: Readonly<Record<string, string>> = { downwardAPI: "downwarAPI", cephfs: "cephFS" };

function validateEmptyDir(source: k8s.EmptyDirVolumeSource, at: string): FieldError[] {
  const limit = nano(source.sizeLimit);
  return limit !== undefined && limit < 0n
    ? [forbidden(`${at}.sizeLimit`, "SizeLimit field must be a valid resource quantity")]
    : [];
}

function validateImageVolume(source: k8s.ImageVolumeSource, at: string): FieldError[] {
  return [
    ...mustBeSet(`${at}.reference`, source.reference),
    ...oneOf(`${at}.pullPolicy`, source.pullPolicy || undefined, ["Always", "IfNotPresent", "Never"]),
  ];
}

function validateEphemeral(source: k8s.EphemeralVolumeSource, at: string): FieldError[] {
  const template = source.volumeClaimTemplate;
  const here = `${at}.volumeClaimTemplate`;
  if (template === undefined) return [required(here)];
  const meta = template.metadata ?? {};
  return [
    ...validateAnnotations(meta.annotations, `${here}.metadata.annotations`),
    ...validateLabels(meta.labels, `${here}.metadata.labels`),
    ...Object.keys(meta)
      .filter((field) => field !== "annotations" && field !== "labels")
      .map((field) => forbidden(`${here}.metadata.${field}`, "cannot be set")),
    ...validateClaimSpec(template.spec, `${here}.spec`),
  ];
}

function validateVolume(volume: k8s.Volume, at: string, podName: string | undefined): FieldError[] {
  const errors: FieldError[] = [];
  let found = 0;
  for (const [key, check, ownPath = key] of kinds) {
    const source = volume[key];
    if (source === undefined) continue;
    if (found++ > 0)
      errors.push(forbidden(`${at}.${namesWhenTooMany[key] ?? key}`, "may not specify more than 1 volume type"));
    else errors.push(...check(source as never, `${at}.${ownPath}`));
  }
  if (volume.iscsi?.initiatorName !== undefined && `${volume.name}:${volume.iscsi.targetPortal}`.length > 64)
    errors.push(
      invalid(
        `${at}.name`,
        volume.name,
        "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.",
      ),
    );
  if (volume.ephemeral !== undefined && podName && volume.name) {
    const claim = `${podName}-${volume.name}`;
    for (const detail of isDns1123Subdomain(claim))
      errors.push(invalid(`${at}.name`, volume.name, `PVC name ${JSON.stringify(claim)}: ${detail}`));
  }
  if (found === 0) errors.push(required(at, "must specify a volume type"));
  return errors;
}

/** The volumes that are right, by name, and what is wrong with the others: mounts of those are not found. */
export function validateVolumes(
  volumes: readonly k8s.Volume[],
  at: string,
  podName: string | undefined,
): { good: Map<string, k8s.Volume>; errors: FieldError[] } {
  const good = new Map<string, k8s.Volume>();
  const errors: FieldError[] = [];
  for (const [index, volume] of volumes.entries()) {
    const here = `${at}[${index}]`;
    const wrong = validateVolume(volume, here, podName);
    if (!volume.name) wrong.push(required(`${here}.name`));
    else wrong.push(...isDns1123Label(volume.name).map((detail) => invalid(`${here}.name`, volume.name, detail)));
    if (good.has(volume.name)) wrong.push(duplicate(`${here}.name`, volume.name));
    if (wrong.length === 0) good.set(volume.name, volume);
    errors.push(...wrong);
  }
  return { good, errors };
}
