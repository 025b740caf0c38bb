import { cp, mkdir, symlink } from "node:fs/promises";
import path from "node:path";
import type { OciMount, OciSpec } from "../../api/index.ts";
import { baseSpec } from "../../engine/index.ts";
import { defaultSeccompProfile } from "../../host/index.ts";

/** Who runs QEMU and the relays on the host: nobody else has this number, and nothing belongs to it but a machine's own files. */
export const VM_UID = 61_417;

/**
 * The root directory in which everything of a microVM runs on the host: the relay, and mount points for the rest. Nothing of the host is
 * seen in it but `/usr`, which QEMU and virtiofsd get to read.
 */
export async function makeHostRoot(folder: string): Promise<void> {
  for (const name of ["tools", "usr", "dev", "proc", "sys", "tmp", "machine", "share", "etc", "var/run"])
    await mkdir(path.join(folder, name), { recursive: true });
  const link = (target: string, name: string) =>
    symlink(target, path.join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  await link("usr/lib", "lib");
  await link("usr/lib64", "lib64");
  await cp(path.join(import.meta.dirname, "guest/relay.pl"), path.join(folder, "tools/relay.pl"));
}

export interface HostProcess {
  readonly root: string;
  readonly args: readonly string[];
  readonly netnsPath?: string;
  readonly capabilities?: readonly string[];
  readonly uid?: number;
  readonly mounts?: readonly OciMount[];
  readonly terminal?: boolean;
  /** Character devices by path and number. */
  readonly devices?: ReadonlyArray<{ readonly path: string; readonly major: number; readonly minor: number }>;
  /** It puts a system call filter of its own on, narrower than ours would be, after preparations that ours forbids. */
  readonly confinesItself?: boolean;
  readonly cgroupsPath: string;
}

/** A process of a machine as an OCI spec: no user, no capability and no file more than it needs. Pure. */
export function hostSpec(options: HostProcess): OciSpec {
  const capabilities = options.capabilities ?? [];
  const uid = options.uid ?? VM_UID;
  const spec = baseSpec({
    rootfs: options.root,
    args: options.args,
    env: ["PATH=/tools", "TMPDIR=/tmp"],
    cwd: "/",
    network: options.netnsPath,
    capabilities,
    readonlyRootfs: true,
  });
  spec.process.user = { uid, gid: uid };
  spec.process.terminal = options.terminal ?? false;
  spec.process.noNewPrivileges = true;
  spec.mounts = [
    ...spec.mounts.filter(({ destination }) => ["/proc", "/dev", "/dev/pts"].includes(destination)),
    { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["nosuid", "nodev", "mode=1777", "size=1m"] },
    ...(options.mounts ?? []),
  ];
  const devices = options.devices ?? [];
  spec.linux.devices = devices.map((device) => ({ type: "c", ...device, fileMode: 0o600, uid, gid: uid }));
  spec.linux.resources = {
    devices: [
      ...(spec.linux.resources?.devices ?? []),
      ...devices.map(({ major, minor }) => ({ allow: true, type: "c" as const, major, minor, access: "rw" })),
    ],
  };
  spec.linux.rootfsPropagation = "rslave";
  spec.linux.cgroupsPath = options.cgroupsPath;
  if (!options.confinesItself) spec.linux.seccomp = defaultSeccompProfile(capabilities, process.arch);
  return spec;
}

export const USR_MOUNT: OciMount = {
  destination: "/usr",
  type: "bind",
  source: "/usr",
  options: ["rbind", "ro", "nosuid", "nodev"],
};
