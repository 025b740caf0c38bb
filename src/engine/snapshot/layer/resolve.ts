import type { Stats } from "node:fs";
import { invalidArgument } from "../../../base/index.ts";
import { exactFs, getAttribute } from "../../../host/index.ts";

/** As the kernel has it (MAXSYMLINKS). */
const MAX_LINKS = 40;
const MAX_PATH_BYTES = 4096;

/**
 * The segments of a name from an archive. `.` and empty ones are dropped and `..` is taken lexically; one that would leave the root is
 * refused, since no honest archive has it.
 */
export function segmentsOf(name: string): string[] {
  if (name.length > MAX_PATH_BYTES)
    throw invalidArgument(`a path of ${name.length} characters is too long: ${name.slice(0, 60)}…`);
  if (name.includes("\0")) throw invalidArgument("a path contains a zero byte");
  const segments: string[] = [];
  for (const segment of name.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment !== "..") segments.push(segment);
    else if (segments.pop() === undefined) throw invalidArgument(`path ${name} leads out of the image's root`);
  }
  return segments;
}

export function lstat(path: string): Stats | undefined {
  try {
    return exactFs.lstatIfAny(path);
  } catch (error) {
    // A component of the path is a file: there is nothing below it.
    if ((error as { code?: string }).code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** overlayfs' form of "deleted": a character device 0/0. */
export function isWhiteout(facts: Stats): boolean {
  return facts.isCharacterDevice() && facts.rdev === 0;
}

export interface Found {
  /** The directory tree that has it: index into `trees`. */
  readonly tree: number;
  readonly facts: Stats;
}

/** The uppermost tree that has `inner` (a path without links in it, beginning with `/`), unless it is deleted there. */
export function findIn(trees: readonly string[], inner: string): Found | undefined {
  for (let tree = 0; tree < trees.length; tree++) {
    const facts = lstat(trees[tree]! + inner);
    if (facts) return isWhiteout(facts) ? undefined : { tree, facts };
    if (hidden(trees[tree]!, inner)) return undefined;
  }
  return undefined;
}

export function isOpaque(path: string): boolean {
  return getAttribute(path, "trusted.overlay.opaque")?.toString() === "y";
}

/** Whether a tree hides what lies below it at `inner`: an ancestor is deleted, opaque or no directory there. */
function hidden(tree: string, inner: string): boolean {
  for (let slash = inner.lastIndexOf("/"); slash > 0; slash = inner.lastIndexOf("/", slash - 1)) {
    const ancestor = tree + inner.slice(0, slash);
    const facts = lstat(ancestor);
    if (facts && (!facts.isDirectory() || isOpaque(ancestor))) return true;
  }
  return false;
}

/**
 * Follows `segments` through stacked trees the way the kernel would in a root that shows them merged, links included, and never leaves
 * that root: absolute links begin at it and `..` stops at it. Gives the inner path of the directory; `missing` is called for a directory
 * that no tree has and may make it.
 */
export function resolveDirectory(
  trees: readonly string[],
  segments: readonly string[],
  missing: (inner: string, found: Found | undefined) => void,
): string {
  const left = segments.slice().reverse();
  let inner = "";
  let links = 0;
  for (let segment = left.pop(); segment !== undefined; segment = left.pop()) {
    if (segment === "..") {
      inner = inner.slice(0, Math.max(0, inner.lastIndexOf("/")));
      continue;
    }
    const child = `${inner}/${segment}`;
    const found = findIn(trees, child);
    if (found?.facts.isSymbolicLink()) {
      if (++links > MAX_LINKS) throw invalidArgument(`too many symbolic links on the way to ${segments.join("/")}`);
      const target = exactFs.readlink(trees[found.tree]! + child);
      if (target.startsWith("/")) inner = "";
      left.push(
        ...target
          .split("/")
          .filter((part) => part !== "" && part !== ".")
          .reverse(),
      );
      continue;
    }
    if (found && !found.facts.isDirectory())
      throw invalidArgument(`${child} is not a directory, but ${segments.join("/")} lies below it`);
    if (!found || found.tree > 0) missing(child, found);
    inner = child;
  }
  return inner;
}
