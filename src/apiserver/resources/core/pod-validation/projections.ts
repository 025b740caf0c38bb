import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, mustBeSet, unreservedPath, validFileMode } from "../../shared/checks.ts";
import { forbidden, invalid, required } from "../../shared/field-errors.ts";
import { validateLabelSelector } from "../../shared/object-meta.ts";
import { validateFieldRef, validateResourceFieldRef, volumeFieldPaths } from "./downward.ts";

/** Volumes made of API objects: secret, configMap, downwardAPI, projected. */

const validateKeyToPath = (item: k8s.KeyToPath, at: string): FieldError[] => [
  ...mustBeSet(`${at}.key`, item.key),
  ...mustBeSet(`${at}.path`, item.path),
  ...unreservedPath(`${at}.path`, item.path ?? ""),
  ...validFileMode(`${at}.mode`, item.mode),
];

export const validateSecretVolume = (source: k8s.SecretVolumeSource, at: string): FieldError[] => [
  ...mustBeSet(`${at}.secretName`, source.secretName),
  ...validFileMode(`${at}.defaultMode`, source.defaultMode),
  ...each(source.items, `${at}.items`, validateKeyToPath),
];

export const validateConfigMapVolume = (source: k8s.ConfigMapVolumeSource, at: string): FieldError[] => [
  ...mustBeSet(`${at}.name`, source.name),
  ...validFileMode(`${at}.defaultMode`, source.defaultMode),
  ...each(source.items, `${at}.items`, validateKeyToPath),
];

function validateDownwardFile(file: k8s.DownwardAPIVolumeFile, at: string): FieldError[] {
  const errors = [...mustBeSet(`${at}.path`, file.path), ...unreservedPath(`${at}.path`, file.path ?? "")];
  if (file.fieldRef !== undefined) {
    errors.push(...validateFieldRef(file.fieldRef, volumeFieldPaths, `${at}.fieldRef`));
    if (file.resourceFieldRef !== undefined)
      errors.push(invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"));
  } else if (file.resourceFieldRef !== undefined) {
    errors.push(...validateResourceFieldRef(file.resourceFieldRef, `${at}.resourceFieldRef`, true));
  } else {
    errors.push(required(at, "one of fieldRef and resourceFieldRef is required"));
  }
  return [...errors, ...validFileMode(`${at}.mode`, file.mode)];
}

/** Files are named by their volume, not by their place in it, as upstream does. */
export const validateDownwardVolume = (source: k8s.DownwardAPIVolumeSource, at: string): FieldError[] => [
  ...validFileMode(`${at}.defaultMode`, source.defaultMode),
  ...(source.items ?? []).flatMap((file) => validateDownwardFile(file, at)),
];

export function validateProjected(source: k8s.ProjectedVolumeSource, at: string): FieldError[] {
  const paths = new Set<string>();
  const unique = (path: string | undefined, named: string | undefined): FieldError[] => {
    if (!path) return [];
    if (paths.has(path)) return [invalid(at, named ?? "", "conflicting duplicate paths")];
    paths.add(path);
    return [];
  };
  return [
    ...validFileMode(`${at}.defaultMode`, source.defaultMode),
    ...each(source.sources, `${at}.sources`, (projection, here) => [
      ...validateProjection(projection, at, here, unique),
      ...(Object.values(projection).filter((one) => one !== undefined).length > 1
        ? [forbidden(here, "may not specify more than 1 volume type")]
        : []),
    ]),
  ];
}

type Unique = (path: string | undefined, named: string | undefined) => FieldError[];

function validateProjection(
  { secret, configMap, downwardAPI, serviceAccountToken, clusterTrustBundle }: k8s.VolumeProjection,
  volume: string,
  at: string,
  unique: Unique,
): FieldError[] {
  const keyed = (one: k8s.SecretProjection | k8s.ConfigMapProjection, here: string): FieldError[] => [
    ...mustBeSet(`${here}.name`, one.name),
    ...each(one.items, `${here}.items`, (item, itemAt) => [
      ...validateKeyToPath(item, itemAt),
      ...unique(item.path, one.name),
    ]),
  ];
  return [
    ...(secret ? keyed(secret, `${at}.secret`) : []),
    ...(configMap ? keyed(configMap, `${at}.configMap`) : []),
    ...(downwardAPI?.items ?? []).flatMap((file) => [
      ...validateDownwardFile(file, `${at}.downwardAPI`),
      ...unique(file.path, file.path),
    ]),
    ...(serviceAccountToken ? validateToken(serviceAccountToken, volume, `${at}.serviceAccountToken`) : []),
    ...(clusterTrustBundle ? validateTrustBundle(clusterTrustBundle, `${at}.clusterTrustBundlePEM`, unique) : []),
  ];
}

/** The path's errors stand at the volume's `path`, as upstream has them. */
function validateToken(token: k8s.ServiceAccountTokenProjection, volume: string, at: string): FieldError[] {
  const seconds = token.expirationSeconds ?? 3600;
  const errors: FieldError[] = [];
  if (seconds < 600)
    errors.push(invalid(`${at}.expirationSeconds`, seconds, "may not specify a duration less than 10 minutes"));
  if (seconds > 2 ** 32)
    errors.push(invalid(`${at}.expirationSeconds`, seconds, "may not specify a duration larger than 2^32 seconds"));
  return [...errors, ...(token.path ? unreservedPath(`${volume}.path`, token.path) : [required(`${volume}.path`)])];
}

function validateTrustBundle(bundle: k8s.ClusterTrustBundleProjection, at: string, unique: Unique): FieldError[] {
  const errors: FieldError[] = [];
  if (bundle.name !== undefined && bundle.signerName !== undefined) {
    errors.push(invalid(at, bundle, "only one of name and signerName may be used"));
  } else if (bundle.name !== undefined) {
    if (bundle.name === "") errors.push(required(`${at}.name`, "must be a valid object name"));
    if (bundle.labelSelector !== undefined)
      errors.push(
        invalid(`${at}.labelSelector`, bundle.labelSelector, "labelSelector must be unset if name is specified"),
      );
  } else if (bundle.signerName !== undefined) {
    if (bundle.signerName === "") errors.push(required(`${at}.signerName`, "must be a valid signer name"));
    errors.push(...validateLabelSelector(bundle.labelSelector, `${at}.labelSelector`));
  } else {
    errors.push(required(at, "either name or signerName must be specified"));
  }
  return [
    ...errors,
    ...mustBeSet(`${at}.path`, bundle.path),
    ...unreservedPath(`${at}.path`, bundle.path ?? ""),
    ...unique(bundle.path, bundle.path),
  ];
}
