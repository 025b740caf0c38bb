import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { descendingPath, each, mustBeSet, noBacksteps } from "../../shared/checks.ts";
import { forbidden, invalid, notFound, oneOf } from "../../shared/field-errors.ts";

/** `volumes`: undefined stands for a volume that is there and not known: a StatefulSet's claim template. */
export type KnownVolumes = ReadonlyMap<string, k8s.Volume | undefined>;

/** Upstream's ValidateVolumeMounts; what it says of a sub-path, propagation and recursion names the list and not the mount. */
export function validateMounts(container: k8s.Container, volumes: KnownVolumes, at: string): FieldError[] {
  const paths = new Set<string>();
  const devices = container.volumeDevices ?? [];
  return each(container.volumeMounts, at, (mount, here) => {
    const errors = mustBeSet(`${here}.name`, mount.name);
    if (!volumes.has(mount.name)) errors.push(notFound(`${here}.name`, mount.name ?? ""));
    errors.push(...mustBeSet(`${here}.mountPath`, mount.mountPath));
    if (paths.has(mount.mountPath)) errors.push(invalid(`${here}.mountPath`, mount.mountPath, "must be unique"));
    paths.add(mount.mountPath);
    if (devices.some(({ name }) => name === mount.name))
      errors.push(invalid(`${here}.name`, mount.name, "must not already exist in volumeDevices"));
    if (devices.some(({ devicePath }) => devicePath === mount.mountPath))
      errors.push(invalid(`${here}.mountPath`, mount.mountPath, "must not already exist as a path in volumeDevices"));
    if (mount.subPath) errors.push(...descendingPath(`${at}.subPath`, mount.subPath));
    if (mount.subPathExpr && mount.subPath)
      errors.push(invalid(`${here}.subPathExpr`, mount.subPathExpr, "subPathExpr and subPath are mutually exclusive"));
    if (mount.subPathExpr) errors.push(...descendingPath(`${at}.subPathExpr`, mount.subPathExpr));
    errors.push(...validatePropagation(mount, container, `${at}.mountPropagation`));
    errors.push(...validateRecursion(mount, `${at}.recursiveReadOnly`));
    return errors;
  });
}

function validatePropagation(mount: k8s.VolumeMount, container: k8s.Container, at: string): FieldError[] {
  const errors = oneOf(at, mount.mountPropagation, ["Bidirectional", "HostToContainer", "None"]);
  if (mount.mountPropagation === "Bidirectional" && container.securityContext?.privileged !== true)
    errors.push(forbidden(at, "Bidirectional mount propagation is available only to privileged containers"));
  return errors;
}

function validateRecursion(mount: k8s.VolumeMount, at: string): FieldError[] {
  const mode = mount.recursiveReadOnly;
  const errors = oneOf(at, mode, ["Disabled", "Enabled", "IfPossible"]);
  if (mode !== "Enabled" && mode !== "IfPossible") return errors;
  if (!mount.readOnly) errors.push(forbidden(at, "may only be specified when readOnly is true"));
  if (mount.mountPropagation !== undefined && mount.mountPropagation !== "None")
    errors.push(forbidden(at, "may only be specified when mountPropagation is None or not specified"));
  return errors;
}

export function validateDevices(container: k8s.Container, volumes: KnownVolumes, at: string): FieldError[] {
  const paths = new Set<string>();
  const names = new Set<string>();
  const mounts = container.volumeMounts ?? [];
  return each(container.volumeDevices, at, ({ name, devicePath }, here) => {
    const errors = mustBeSet(`${here}.name`, name);
    const unique = (field: string, value: string, taken: ReadonlySet<string>) =>
      taken.has(value) ? [invalid(`${here}.${field}`, value, "must be unique")] : [];
    errors.push(...unique("name", name, names));
    const volume = volumes.get(name);
    if (!volumes.has(name)) errors.push(notFound(`${here}.name`, name ?? ""));
    else if (volume && !volume.persistentVolumeClaim && !volume.ephemeral)
      errors.push(
        invalid(
          `${here}.name`,
          name,
          "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
        ),
      );
    errors.push(...mustBeSet(`${here}.devicePath`, devicePath), ...unique("devicePath", devicePath, paths));
    if (devicePath && noBacksteps(here, devicePath).length > 0)
      errors.push(invalid(`${here}.devicePath`, devicePath, "can not contain backsteps ('..')"));
    else paths.add(devicePath);
    if (mounts.some((mount) => mount.name === name))
      errors.push(invalid(`${here}.name`, name, "must not already exist in volumeMounts"));
    if (mounts.some(({ mountPath }) => mountPath === devicePath))
      errors.push(invalid(`${here}.devicePath`, devicePath, "must not already exist as a path in volumeMounts"));
    if (name) names.add(name);
    return errors;
  });
}
