import path from "node:path";
import type { cri, OciSpec } from "../../api/index.ts";
import {
  deviceNumbers,
  devicesAt,
  hostDevices,
  injectDevices,
  readCdiSpecs,
  type Sandbox,
} from "../container/index.ts";

/** As containerd: names of CDI devices may also come as annotations, separated by commas. */
const CDI_ANNOTATION = "cdi.k8s.io/";
/**
 * Puts a container's devices into its spec, by path and by name, and where it is privileged on the host's own kernel all that the host has. Throws for
 * those that the host does not have.
 */
export async function addDevices(
  spec: OciSpec,
  { devices, cdiDevices = [], annotations, linux }: cri.ContainerConfig,
  isolation: Sandbox["isolation"],
  warn: (message: string) => void,
): Promise<void> {
  if (linux.securityContext.privileged && isolation === "process") spec.linux.devices = hostDevices();
  for (const { hostPath, containerPath, permissions } of devices) {
    for (const node of devicesAt(hostPath)) {
      const { type, major, minor } = node;
      (spec.linux.devices ??= []).push({ ...node, path: path.join(containerPath, path.relative(hostPath, node.path)) });
      const rule = { allow: true, type, major, minor, access: permissions || "rwm" };
      spec.linux.resources = { ...spec.linux.resources, devices: [...(spec.linux.resources?.devices ?? []), rule] };
    }
  }
  const annotated = Object.entries(annotations).filter(([key]) => key.startsWith(CDI_ANNOTATION));
  const names = [...cdiDevices.map(({ name }) => name), ...annotated.flatMap(([, value]) => value.split(","))];
  if (names.length > 0) injectDevices(spec, [...new Set(names)], await readCdiSpecs(warn), deviceNumbers);
}
