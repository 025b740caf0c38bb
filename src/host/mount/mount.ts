import { mkdirSync } from "node:fs";
import { checked, errno, errnoName, libc } from "../ffi/index.ts";

/** Flags of mount(2) and umount2(2), from linux/mount.h. */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  NOATIME: 1024,
  BIND: 4096,
  MOVE: 8192,
  REC: 16384,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
} as const;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/** mount(2). Throws with the errno's code; `target` must exist. */
export function mount(
  source: string,
  target: string,
  type: string | null,
  flags = 0,
  data: string | null = null,
): void {
  const native = libc(
    "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
  );
  checked(native(source, target, type, flags, data), `mount ${type ?? "bind"} ${source} at ${target}`);
}

/** False when nothing was mounted there. `lazy` detaches now and lets go when the last user is gone. */
export function unmount(target: string, options: { lazy?: boolean } = {}): boolean {
  const native = libc("int umount2(const char *target, int flags)");
  if (native(target, UMOUNT_NOFOLLOW | (options.lazy ? MNT_DETACH : 0)) === 0) return true;
  const name = errnoName(errno());
  if (name === "EINVAL" || name === "ENOENT") return false;
  checked(-1, `unmount ${target}`);
  return false;
}

/** Makes `source` appear at `target` too. A read-only bind takes a second call, since the kernel ignores the flag in the first. */
export function bindMount(
  source: string,
  target: string,
  options: { readonly?: boolean; recursive?: boolean } = {},
): void {
  mount(source, target, null, MS.BIND | (options.recursive ? MS.REC : 0));
  if (options.readonly) mount("none", target, null, MS.BIND | MS.REMOUNT | MS.RDONLY);
}

export function mountTmpfs(target: string, options: { sizeBytes?: number; mode?: number; flags?: number } = {}): void {
  const data = [
    ...(options.sizeBytes === undefined ? [] : [`size=${options.sizeBytes}`]),
    `mode=${(options.mode ?? 0o755).toString(8)}`,
  ].join(",");
  mount("tmpfs", target, "tmpfs", options.flags ?? MS.NOSUID | MS.NODEV, data);
}

/** Keeps mount events below `target` to ourselves. `target` must be a mount point. */
export function makePrivate(target: string): void {
  mount("none", target, null, MS.PRIVATE | MS.REC);
}

export function ensureDirectory(target: string): void {
  mkdirSync(target, { recursive: true });
}
