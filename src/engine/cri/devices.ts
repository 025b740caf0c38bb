import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import type { cri, OciSpec } from "../../api/index.ts";
import { deviceNumbers, injectDevices, readCdiSpecs } from "../container/index.ts";

/** As containerd: names of CDI devices may also come as annotations, separated by commas. */
const CDI_ANNOTATION = "cdi.k8s.io/";
/** A folder of devices (`/dev/snd`) means all in it. */
const MAX_DEPTH = 4;

/** Puts a container's devices into its spec, by path and by name. Throws for those that the host does not have. */
export async function addDevices(
  spec: OciSpec,
  { devices, cdiDevices = [], annotations }: cri.ContainerConfig,
  warn: (message: string) => void,
): Promise<void> {
  for (const device of devices.flatMap((wanted) => expand(wanted, MAX_DEPTH))) {
    const { major, minor, type, mode, uid, gid } = deviceNumbers(device.hostPath);
    (spec.linux.devices ??= []).push({ type, path: device.containerPath, major, minor, fileMode: mode, uid, gid });
    const rule = { allow: true, type, major, minor, access: device.permissions || "rwm" };
    spec.linux.resources = { ...spec.linux.resources, devices: [...(spec.linux.resources?.devices ?? []), rule] };
  }
  const annotated = Object.entries(annotations).filter(([key]) => key.startsWith(CDI_ANNOTATION));
  const names = [...cdiDevices.map(({ name }) => name), ...annotated.flatMap(([, value]) => value.split(","))];
  if (names.length > 0) injectDevices(spec, [...new Set(names)], await readCdiSpecs(warn), deviceNumbers);
}

function expand(device: cri.Device, depth: number): cri.Device[] {
  if (depth === 0 || !statSync(device.hostPath, { throwIfNoEntry: false })?.isDirectory()) return [device];
  return readdirSync(device.hostPath, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() || entry.isCharacterDevice() || entry.isBlockDevice())
    .flatMap(({ name }) => {
      const hostPath = path.join(device.hostPath, name);
      return expand({ ...device, hostPath, containerPath: path.join(device.containerPath, name) }, depth - 1);
    });
}
