import { lstat, readlink } from "node:fs/promises";
import path from "node:path";
import { errnoOf, invalidArgument } from "../../base/index.ts";

const MAX_SYMLINKS = 255;

/**
 * Where a path inside a root stands on the host, with every symlink resolved as the root's own processes would see it: absolute links and `..` stay
 * inside. The last component need not exist. Only for roots that nobody changes meanwhile (a stopped container, an image): a running one is
 * entered by a process that has changed its root.
 */
export async function resolveInRoot(
  root: string,
  inside: string,
  options: { followLast?: boolean } = {},
): Promise<string> {
  const followLast = options.followLast ?? true;
  let pending = inside.split("/").filter(Boolean);
  let resolved: string[] = [];
  let links = 0;
  while (pending.length > 0) {
    const [component, ...rest] = pending as [string, ...string[]];
    pending = rest;
    if (component === ".") continue;
    if (component === "..") {
      resolved = resolved.slice(0, -1);
      continue;
    }
    const candidate = path.join(root, ...resolved, component);
    const isLink = await lstat(candidate).then(
      (stat) => stat.isSymbolicLink(),
      (error: unknown) => {
        if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return false;
        throw error;
      },
    );
    if (!isLink || (pending.length === 0 && !followLast)) {
      resolved.push(component);
      continue;
    }
    if (++links > MAX_SYMLINKS) throw invalidArgument(`${inside}: too many levels of symbolic links`);
    const target = await readlink(candidate);
    if (target.startsWith("/")) resolved = [];
    pending = [...target.split("/").filter(Boolean), ...pending];
  }
  return path.join(root, ...resolved);
}
