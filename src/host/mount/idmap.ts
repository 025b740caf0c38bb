import { closeSync, mkdirSync, openSync, rmSync } from "node:fs";
import path from "node:path";
import { checked, libc } from "../ffi/index.ts";
import { actAsFsUser } from "./fs-user.ts";
import { unmount } from "./mount.ts";
import { mountOverlay, type OverlaySpec } from "./overlay.ts";

/** System call numbers that x86-64, arm64 and riscv64 share. */
const SYS = { open_tree: 428, move_mount: 429, mount_setattr: 442 } as const;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_RDONLY = 1n;
const MOUNT_ATTR_IDMAP = 0x100000n;

/**
 * Makes `source` appear at `target` with the owners of its files mapped as the user namespace at `userns` says (mount_setattr(2), Linux 5.12): what
 * belongs to root on disk belongs to the namespace's root there. Throws invalidArgument for a file system that can't (then errno EINVAL).
 */
export function mountIdmapped(
  source: string,
  target: string,
  userns: string,
  options: { recursive?: boolean; readonly?: boolean } = {},
): void {
  const openTree = libc("long syscall(long number, int dirFd, const char *path, unsigned int flags)");
  const setAttributes = libc(
    "long syscall(long number, int fd, const char *path, unsigned int flags, void *attributes, unsigned long size)",
  );
  const moveMount = libc(
    "long syscall(long number, int fromFd, const char *fromPath, int toFd, const char *toPath, unsigned int flags)",
  );
  const recursive = options.recursive ? AT_RECURSIVE : 0;
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive;
  const tree = checked(openTree(SYS.open_tree, AT_FDCWD, source, flags), `open_tree ${source}`);
  const namespace = openSync(userns, "r");
  try {
    const attributes = Buffer.alloc(32);
    attributes.writeBigUInt64LE(MOUNT_ATTR_IDMAP | (options.readonly ? MOUNT_ATTR_RDONLY : 0n), 0);
    attributes.writeBigUInt64LE(BigInt(namespace), 24);
    const set = setAttributes(SYS.mount_setattr, tree, "", AT_EMPTY_PATH | recursive, attributes, attributes.length);
    checked(set, `map the owners of ${source}`);
    checked(moveMount(SYS.move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH), `mount at ${target}`);
  } finally {
    closeSync(namespace);
    closeSync(tree);
  }
}

/**
 * An overlay whose layers, upper directory and work directory are all seen through a user namespace, so that owners are mapped both ways. `scratch` is
 * a folder for mounts that last as long as the call: overlayfs keeps clones of them. overlayfs works as who mounts it, and root itself has no
 * name in mapped layers; so the namespace's root mounts.
 */
export function mountOverlayIdmapped(
  target: string,
  spec: OverlaySpec,
  idmap: { readonly userns: string; readonly uid: number; readonly gid: number },
  scratch: string,
): void {
  const folders: string[] = [];
  const mapped = (source: string) => {
    const folder = path.join(scratch, String(folders.length));
    mkdirSync(folder, { recursive: true });
    while (unmount(folder, { lazy: true }));
    mountIdmapped(source, folder, idmap.userns);
    folders.push(folder);
    return folder;
  };
  try {
    const lower = spec.lower.map(mapped);
    const upper = spec.upper && mappedUpper(spec.upper, mapped);
    using _user = actAsFsUser(idmap.uid, idmap.gid);
    mountOverlay(target, { ...spec, lower, upper });
  } finally {
    for (const folder of folders) unmount(folder, { lazy: true });
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Upper and work directory must be on one mount: that of the folder they share. */
function mappedUpper(upper: NonNullable<OverlaySpec["upper"]>, mapped: (source: string) => string) {
  const shared = path.dirname(upper.directory);
  const folder = mapped(shared);
  return {
    directory: path.join(folder, path.relative(shared, upper.directory)),
    work: path.join(folder, path.relative(shared, upper.work)),
  };
}
