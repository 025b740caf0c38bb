/** A directory whose files COPY and ADD take: a build context, a stage's root filesystem, an unpacked archive. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { invalidArgument, notFound } from "../../../base/index.ts";
import { exactFs } from "../../../host/index.ts";
import { MAX_SYMLINKS } from "../limits.ts";

export interface FileTree {
  readonly root: string;
  /** Content digests known already, by path; the others are computed when asked for. */
  readonly digests: Map<string, string>;
  /** True for a path that does not exist as far as the build is concerned (.dockerignore). */
  readonly ignored?: (name: string, isDirectory: boolean) => boolean;
}

/**
 * Resolves symbolic links as a process with this root would (chroot): absolute links begin at the root, `..` stops there. Missing parts stay as
 * they are. `followLast` also resolves a link in the last place. Returns a path relative to the root, without `..`.
 */
export function resolveInRoot(root: string, name: string, followLast = true): string {
  const pending = name
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .reverse();
  const done: string[] = [];
  let links = 0;
  while (pending.length > 0) {
    const part = pending.pop()!;
    if (part === ".") continue;
    if (part === "..") {
      done.pop();
      continue;
    }
    const here = path.join(root, ...done, part);
    const stat = pending.length > 0 || followLast ? lstat(here) : undefined;
    if (!stat?.isSymbolicLink()) {
      done.push(part);
      continue;
    }
    if (++links > MAX_SYMLINKS) throw invalidArgument(`too many levels of symbolic links in ${name}`);
    const target = exactFs.readlink(here);
    if (target.startsWith("/")) done.length = 0;
    pending.push(
      ...target
        .split("/")
        .filter((piece) => piece !== "")
        .reverse(),
    );
  }
  return done.join("/");
}

export function lstat(file: string): fs.Stats | undefined {
  try {
    return exactFs.lstatIfAny(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** What is in a directory and the build may see, sorted by name. */
export function listTree(tree: FileTree, name: string): fs.Dirent[] {
  const entries = exactFs.readdirTypes(path.join(tree.root, name));
  const visible = entries.filter(
    (entry) => !tree.ignored?.(name ? `${name}/${entry.name}` : entry.name, entry.isDirectory()),
  );
  return visible.sort((a, b) => (a.name < b.name ? -1 : 1));
}

const HASH_CHUNK = 1 << 20;

/** SHA-256 of a file's content, hexadecimal. */
export async function digestFile(tree: FileTree, name: string, signal?: AbortSignal): Promise<string> {
  const known = tree.digests.get(name);
  if (known) return known;
  const hash = createHash("sha256");
  for await (const chunk of exactFs.createReadStream(path.join(tree.root, name), {
    highWaterMark: HASH_CHUNK,
    ...(signal ? { signal } : {}),
  })) {
    hash.update(chunk as Buffer);
  }
  const digest = hash.digest("hex");
  tree.digests.set(name, digest);
  return digest;
}

/** A small text file of the tree; undefined when there is none. Links are resolved inside the tree. */
export function readTreeText(tree: Pick<FileTree, "root">, name: string, maxBytes: number): string | undefined {
  const file = path.join(tree.root, resolveInRoot(tree.root, name));
  const stat = lstat(file);
  if (!stat?.isFile()) return undefined;
  if (stat.size > maxBytes) throw invalidArgument(`${name} is larger than ${maxBytes} bytes`);
  return fs.readFileSync(file, "utf8");
}

export function missingFile(name: string, where: string, hint?: string) {
  return notFound(`failed to compute cache key: ${where} has no ${name}: not found`, hint ? { hint } : undefined);
}
