import type { OciMount, OciResources, OciSpec } from "../../api/index.ts";
import { failedPrecondition, MiB } from "../../base/index.ts";
import type { SandboxRequest } from "../../engine/index.ts";

/** Where the guest keeps the namespaces that all its containers share. */
export const GUEST_NAMESPACES = { net: "/run/ns/net", ipc: "/run/ns/ipc", uts: "/run/ns/uts" } as const;

const DEFAULT_MEMORY_BYTES = 256 * MiB;
/** The guest's kernel, agent and runtime, on top of what the containers may use. */
const GUEST_OVERHEAD_BYTES = 96 * MiB;

export interface MachineSize {
  readonly memoryBytes: number;
  readonly cpus: number;
}

/** How big a machine is that shall give its containers these resources. Pure. */
export function machineSize(resources: OciResources = {}): MachineSize {
  const limit = resources.memory?.limit ?? 0;
  const { quota = 0, period = 100_000 } = resources.cpu ?? {};
  return {
    memoryBytes: (limit > 0 ? limit : DEFAULT_MEMORY_BYTES) + GUEST_OVERHEAD_BYTES,
    cpus: quota > 0 ? Math.max(1, Math.ceil(quota / period)) : 1,
  };
}

export interface GuestMount {
  readonly index: number;
  readonly source: string;
  readonly destination: string;
}

export interface GuestSpec {
  readonly spec: OciSpec;
  /** What of the host must stand in the container's share, by number. */
  readonly binds: readonly GuestMount[];
}

/** Folder of a container in the guest. */
export const guestFolder = (id: string): string => `/share/${id}`;

/** A container's spec as its microVM carries it out. Throws failedPrecondition, with the reason, for what only the host's kernel could give. Pure. */
export function guestSpec(id: string, spec: OciSpec, sandbox: SandboxRequest): GuestSpec {
  refuseHostNamespaces(spec, sandbox);
  if ((spec.linux.devices ?? []).length > 0)
    throw failedPrecondition("a microVM has no access to devices of the host", {
      hint: "leave --device out, or run the container without --runtime vm",
    });
  const folder = guestFolder(id);
  const binds: GuestMount[] = [];
  const mounts = spec.mounts.map((mount): OciMount => {
    if (!isBind(mount)) return mount;
    const index = binds.length;
    binds.push({ index, source: mount.source ?? "", destination: mount.destination });
    return { ...mount, source: `${folder}/mounts/${index}` };
  });
  const shared = (name: "ipc" | "uts") => (sandbox.shared?.[name] ? { path: GUEST_NAMESPACES[name] } : {});
  const { devices: _rules, ...resources } = spec.linux.resources ?? {};
  const inGuest: OciSpec = {
    ...spec,
    root: { ...spec.root, path: `${folder}/rootfs` },
    mounts,
    linux: {
      ...spec.linux,
      devices: [],
      resources,
      cgroupsPath: `/${id}`,
      namespaces: [
        { type: "mount" },
        { type: "pid" },
        { type: "cgroup" },
        { type: "ipc", ...shared("ipc") },
        { type: "uts", ...shared("uts") },
        { type: "network", path: GUEST_NAMESPACES.net },
      ],
    },
  };
  if (sandbox.shared?.uts) delete inGuest.hostname;
  return { spec: inGuest, binds };
}

export const isBind = ({ type, options }: OciMount): boolean =>
  type === "bind" || (options ?? []).some((option) => option === "bind" || option === "rbind");

function refuseHostNamespaces(spec: OciSpec, sandbox: SandboxRequest): void {
  const own: readonly string[] = [GUEST_NAMESPACES.ipc, GUEST_NAMESPACES.uts];
  for (const type of ["pid", "ipc", "uts"] as const) {
    const found = spec.linux.namespaces.find((namespace) => namespace.type === type);
    if (!found) {
      // A Pod's containers may leave out what they join.
      if (type !== "pid" && sandbox.shared?.[type]) continue;
      throw failedPrecondition(`a microVM cannot use the host's ${type} namespace: it has a kernel of its own`, {
        hint: "leave the host namespace out, or run the container without --runtime vm",
      });
    }
    if (found.path !== undefined && !own.includes(found.path))
      throw failedPrecondition(
        `a microVM cannot join the ${type} namespace of another container: it has a kernel of its own`,
      );
  }
}
