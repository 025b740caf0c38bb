import { lstat, opendir, readlink, realpath } from "node:fs/promises";
import path from "node:path";
import { canceled, errnoOf, invalidArgument, notFound } from "../../base/index.ts";

const MAX_SYMLINKS = 40;

/**
 * Resolves `inner` as if `root` were `/`: symlinks, absolute ones too, cannot leave it (as path_resolution(7) under chroot). Nothing may change the tree
 * meanwhile. Throws notFound.
 */
export async function resolveInRoot(root: string, inner: string): Promise<string> {
  const todo = inner.split("/").filter(Boolean);
  let at: string[] = [];
  let links = 0;
  while (todo.length > 0) {
    const part = todo.shift()!;
    if (part === ".") continue;
    if (part === "..") {
      at.pop();
      continue;
    }
    const full = path.join(root, ...at, part);
    const facts = await lstat(full).catch((error: unknown) => {
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR")
        throw notFound(`${inner}: no such file or directory`);
      throw error;
    });
    if (!facts.isSymbolicLink()) {
      at.push(part);
      continue;
    }
    if (++links > MAX_SYMLINKS) throw invalidArgument(`${inner}: too many levels of symbolic links`);
    const target = await readlink(full);
    if (target.startsWith("/")) at = [];
    todo.unshift(...target.split("/").filter(Boolean));
  }
  return path.join(root, ...at);
}

/** A path below `root` that is there and, all symlinks followed, still below it. Throws invalidArgument and notFound. */
export async function pathBelow(root: string, inner: string): Promise<string> {
  if (path.isAbsolute(inner) || inner.split("/").includes("..")) {
    throw invalidArgument(`volume subpath ${JSON.stringify(inner)} must be a relative path within the volume`);
  }
  let real: string;
  try {
    real = await realpath(path.join(root, inner));
  } catch (error) {
    throw notFound(`cannot access path ${inner} in the volume: no such file or directory`, { cause: error });
  }
  const base = await realpath(root);
  if (real !== base && !real.startsWith(`${base}/`)) {
    throw invalidArgument(`volume subpath ${JSON.stringify(inner)} leaves the volume`);
  }
  return real;
}

/** Bytes of the files below a directory; a file with several names counts once. Files that vanish meanwhile do not count. */
export async function treeBytes(root: string, signal?: AbortSignal): Promise<number> {
  const seen = new Set<bigint>();
  let total = 0;
  const folders = [root];
  while (folders.length > 0) {
    const folder = folders.pop()!;
    if (signal?.aborted) throw canceled("canceled while adding up sizes", { cause: signal.reason });
    const entries = await opendir(folder).catch(() => undefined);
    if (!entries) continue;
    for await (const entry of entries) {
      const full = path.join(folder, entry.name);
      const facts = await lstat(full, { bigint: true }).catch(() => undefined);
      if (!facts) continue;
      if (facts.isDirectory()) folders.push(full);
      else if (facts.nlink > 1n) {
        if (seen.has(facts.ino)) continue;
        seen.add(facts.ino);
      }
      if (facts.isFile()) total += Number(facts.size);
    }
  }
  return total;
}

export async function isEmptyDirectory(folder: string): Promise<boolean> {
  const entries = await opendir(folder);
  const first = await entries.read();
  await entries.close();
  return first === null;
}
