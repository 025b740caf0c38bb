import type { OciDeviceRule, OciMount, OciNamespaceType, OciSpec } from "../../../api/index.ts";
import { MASKED_PATHS, READONLY_PATHS } from "../../../api/index.ts";
import { ALL_CAPABILITIES, DEFAULT_CAPABILITIES } from "./capabilities.ts";

export const DEFAULT_SHM_BYTES = 64 * 1024 * 1024;

/** Devices that every container may use, besides making nodes: null, zero, full, tty, random, urandom, console, ptmx, pts/*. */
export const DEFAULT_DEVICE_RULES: readonly OciDeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  ...(
    [
      [1, 3],
      [1, 5],
      [1, 7],
      [1, 8],
      [1, 9],
      [5, 0],
      [5, 1],
      [5, 2],
      [136, undefined],
    ] as const
  ).map(([major, minor]) => ({ allow: true, type: "c" as const, major, minor, access: "rwm" })),
];

/** The file systems that every container has. `cgroupPrivate`: whether /sys/fs/cgroup shows the container's own group only. */
export function defaultMounts(
  options: { shmBytes?: number; shmSource?: string; privileged?: boolean } = {},
): OciMount[] {
  const mode = options.privileged ? "rw" : "ro";
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", mode] },
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: [mode, "nosuid", "noexec", "nodev"] },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
    options.shmSource === undefined
      ? {
          destination: "/dev/shm",
          type: "tmpfs",
          source: "shm",
          options: ["nosuid", "noexec", "nodev", "mode=1777", `size=${options.shmBytes ?? DEFAULT_SHM_BYTES}`],
        }
      : { destination: "/dev/shm", type: "bind", source: options.shmSource, options: ["rbind", "rprivate"] },
  ];
}

export interface BaseSpec {
  readonly rootfs: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly hostname?: string;
  /** Path of the network namespace; "host": none of its own; undefined: a fresh, empty one. */
  readonly network?: string;
  readonly privileged?: boolean;
  readonly capabilities?: readonly string[];
  readonly readonlyRootfs?: boolean;
  readonly shmBytes?: number;
}

/** A spec with Docker's defaults for everything not said. */
export function baseSpec(options: BaseSpec): OciSpec {
  const capabilities = [...(options.capabilities ?? (options.privileged ? ALL_CAPABILITIES : DEFAULT_CAPABILITIES))];
  const namespaces: Array<{ type: OciNamespaceType; path?: string }> = [
    { type: "mount" },
    { type: "pid" },
    { type: "ipc" },
    { type: "uts" },
  ];
  if (options.network !== "host") namespaces.push({ type: "network", path: options.network });
  return {
    ociVersion: "1.0.2",
    hostname: options.hostname,
    root: { path: options.rootfs, readonly: options.readonlyRootfs ?? false },
    process: {
      user: { uid: 0, gid: 0 },
      args: [...options.args],
      env: [...options.env],
      cwd: options.cwd || "/",
      capabilities: {
        bounding: capabilities,
        effective: capabilities,
        permitted: capabilities,
        inheritable: [],
        ambient: [],
      },
    },
    mounts: defaultMounts({ privileged: options.privileged, shmBytes: options.shmBytes }),
    linux: {
      namespaces,
      resources: { devices: options.privileged ? [{ allow: true, access: "rwm" }] : [...DEFAULT_DEVICE_RULES] },
      maskedPaths: options.privileged ? [] : [...MASKED_PATHS],
      readonlyPaths: options.privileged ? [] : [...READONLY_PATHS],
    },
  };
}
