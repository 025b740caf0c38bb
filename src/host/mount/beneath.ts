import { closeSync, mkdirSync } from "node:fs";
import path from "node:path";
import { invalidArgument, permissionDenied } from "../../base/index.ts";
import { bindChecked, systemErrno } from "../ffi/index.ts";
import { bindMount } from "./mount.ts";

/** openat2(2): the kernel itself refuses every way out, by `..`, by symlink or by magic link, while others change the tree. */
const SYS_OPENAT2 = 437;
const AT_FDCWD = -100;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const O_DIRECTORY = 0o200000;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_BENEATH = 0x08;

const openat2 = bindChecked("long syscall(long number, int dirfd, const char *path, void *how, unsigned long size)");

/**
 * Bind-mounts `root/inside` on `target`, which is made as a folder or file to match. Folders of `inside` that don't exist are made (0755).
 * Throws permissionDenied when something on the way leads out of `root`.
 */
export function bindBeneath(
  root: string,
  inside: string,
  target: string,
  makeTarget: (isFolder: boolean) => void,
): void {
  const parts = inside.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw invalidArgument(`${JSON.stringify(inside)} must not contain ".."`);
  const rootFd = open(AT_FDCWD, root, O_DIRECTORY, 0);
  try {
    const fd = openOrMake(rootFd, parts, inside);
    try {
      makeTarget(isFolder(fd));
      bindMount(`/proc/self/fd/${fd}`, target, { recursive: true });
    } finally {
      closeSync(fd);
    }
  } finally {
    closeSync(rootFd);
  }
}

function openOrMake(rootFd: number, parts: readonly string[], inside: string): number {
  for (let attempt = 0; ; attempt++) {
    try {
      return open(rootFd, parts.join("/") || ".", 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
    } catch (error) {
      const errno = systemErrno(error);
      if (errno === "EXDEV" || errno === "ELOOP")
        throw permissionDenied(`${JSON.stringify(inside)} leads out of its volume`, { cause: error });
      if (errno !== "ENOENT" || attempt > 0) throw error;
      make(rootFd, parts);
    }
  }
}

/** Makes each missing folder under a descriptor of its parent, so that nobody can move the parent meanwhile. */
function make(rootFd: number, parts: readonly string[]): void {
  for (let depth = 0; depth < parts.length; depth++) {
    const parent = open(
      rootFd,
      parts.slice(0, depth).join("/") || ".",
      O_DIRECTORY,
      RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    );
    try {
      mkdirSync(path.join(`/proc/self/fd/${parent}`, parts[depth]!), { mode: 0o755 });
    } catch (error) {
      if ((error as { code?: string }).code !== "EEXIST") throw error;
    } finally {
      closeSync(parent);
    }
  }
}

function isFolder(fd: number): boolean {
  try {
    closeSync(open(fd, ".", O_DIRECTORY, 0));
    return true;
  } catch {
    return false;
  }
}

function open(dirFd: number, name: string, flags: number, resolve: number): number {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(O_PATH | O_CLOEXEC | flags), 0);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  return Number(openat2(SYS_OPENAT2, dirFd, name, how, how.length));
}
