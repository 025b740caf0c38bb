import { closeSync } from "node:fs";
import { failedPrecondition } from "../../base/index.ts";
import { checked, libc } from "../ffi/index.ts";
import { bindMount, mount, MS } from "./mount.ts";

export interface OverlaySpec {
  /** Read-only directories, uppermost first. */
  readonly lower: readonly string[];
  /** Writable directory and overlayfs' own work directory beside it; a read-only mount has neither. */
  readonly upper?: { readonly directory: string; readonly work: string };
  readonly readonly?: boolean;
  /** Skip syncing on unmount (overlayfs documentation, "Volatile mount"). */
  readonly volatile?: boolean;
  /** Appears in /proc/mounts, so that leftovers can be told by owner. */
  readonly source?: string;
}

/** mount(2) copies options into one page. */
const MAX_OPTIONS_BYTES = 4095;
/** overlayfs' own limit (OVL_MAX_STACK). */
const MAX_OVERLAY_LOWER = 500;

/**
 * Mounts an overlay at `target`, which must exist. One lower directory without an upper one is a read-only bind mount, since overlayfs
 * wants two. Layers whose options don't fit mount(2)'s page go through fsconfig(2), one lower directory a call (Linux 6.8).
 */
export function mountOverlay(target: string, spec: OverlaySpec): void {
  if (spec.lower.length > MAX_OVERLAY_LOWER)
    throw failedPrecondition(
      `an image with ${spec.lower.length} layers can't be mounted: the kernel takes ${MAX_OVERLAY_LOWER}`,
    );
  if (!spec.upper && spec.lower.length === 1) return bindMount(spec.lower[0]!, target, { readonly: true });
  const options = overlayOptions(spec);
  const flags = spec.readonly ? MS.RDONLY : 0;
  if (Buffer.byteLength(options) <= MAX_OPTIONS_BYTES)
    mount(spec.source ?? "overlay", target, "overlay", flags, options);
  else mountByParts(target, spec);
}

/** The option string of mount(2). redirect_dir and metacopy stay off, so that an upper directory alone tells what changed. */
function overlayOptions(spec: OverlaySpec): string {
  return [
    `lowerdir=${spec.lower.map(escapePath).join(":")}`,
    ...(spec.upper ? [`upperdir=${escapePath(spec.upper.directory)}`, `workdir=${escapePath(spec.upper.work)}`] : []),
    ...FIXED_OPTIONS,
    ...(spec.volatile && spec.upper ? ["volatile"] : []),
  ].join(",");
}

const FIXED_OPTIONS = ["redirect_dir=off", "metacopy=off", "index=off"];

/** Colons separate lower directories and commas separate options. */
function escapePath(path: string): string {
  return path.replace(/[\\:,]/g, (character) => `\\${character}`);
}

/** System call numbers that x86-64, arm64 and riscv64 share: the table was unified before these were added. */
const SYS = { move_mount: 429, fsopen: 430, fsconfig: 431, fsmount: 432 } as const;
const FSCONFIG = { FLAG: 0, STRING: 1, CREATE: 6 } as const;
const AT_FDCWD = -100;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const CLOEXEC = 1;
const MOUNT_ATTR_RDONLY = 1;

function mountByParts(target: string, spec: OverlaySpec): void {
  const fsopen = libc("long syscall(long number, const char *name, unsigned int flags)");
  const fsconfig = libc(
    "long syscall(long number, int fd, unsigned int command, const char *key, const char *value, int aux)",
  );
  const fsmount = libc("long syscall(long number, int fd, unsigned int flags, unsigned int attributes)");
  const moveMount = libc(
    "long syscall(long number, int fromFd, const char *fromPath, int toFd, const char *toPath, unsigned int flags)",
  );
  const fs = checked(fsopen(SYS.fsopen, "overlay", CLOEXEC), "fsopen overlay");
  try {
    const set = (key: string, value: string) =>
      checked(fsconfig(SYS.fsconfig, fs, FSCONFIG.STRING, key, value, 0), `overlay option ${key}=${value}`);
    set("source", spec.source ?? "overlay");
    for (const lower of spec.lower) set("lowerdir+", lower);
    if (spec.upper) {
      set("upperdir", spec.upper.directory);
      set("workdir", spec.upper.work);
    }
    for (const option of FIXED_OPTIONS) set(...(option.split("=") as [string, string]));
    if (spec.volatile && spec.upper)
      checked(fsconfig(SYS.fsconfig, fs, FSCONFIG.FLAG, "volatile", null, 0), "overlay option volatile");
    checked(fsconfig(SYS.fsconfig, fs, FSCONFIG.CREATE, null, null, 0), `create overlay for ${target}`);
    const attributes = spec.readonly ? MOUNT_ATTR_RDONLY : 0;
    const mounted = checked(fsmount(SYS.fsmount, fs, CLOEXEC, attributes), `mount overlay for ${target}`);
    try {
      checked(
        moveMount(SYS.move_mount, mounted, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH),
        `attach overlay at ${target}`,
      );
    } finally {
      closeSync(mounted);
    }
  } finally {
    closeSync(fs);
  }
}
