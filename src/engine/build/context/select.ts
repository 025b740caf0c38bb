/** Which files a COPY takes from a tree and where each goes: sources, wildcards, `--parents`, `--exclude`; and the digest of it all. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { invalidArgument, resourceExhausted } from "../../../base/index.ts";
import { exactFs } from "../../../host/index.ts";
import { imageAttributes } from "../../snapshot/index.ts";
import { nearest } from "../dockerfile/index.ts";
import { MAX_TREE_ENTRIES } from "../limits.ts";
import { globRegex, hasWildcard, ignoreMatcher } from "./patterns.ts";
import { digestFile, listTree, lstat, missingFile, resolveInRoot, type FileTree } from "./tree.ts";

export interface SelectOptions {
  readonly parents?: boolean;
  readonly exclude?: readonly string[];
  /** What to call the tree in errors: `the build context`, `stage build`. */
  readonly where: string;
}

/** One file, directory or link to copy. */
export interface Selected {
  readonly tree: FileTree;
  /** Where it is, below the tree's root. */
  readonly source: string;
  /** Where it goes, below the destination; empty: it becomes the destination itself (or lends its name, when that is a directory). */
  readonly target: string;
  readonly stat: fs.Stats;
  /** The name that a file takes in a destination that is a directory. */
  readonly baseName: string;
}

/** Throws notFound for a source that matches nothing. */
export function select(tree: FileTree, sources: readonly string[], options: SelectOptions): Selected[] {
  const excluded = ignoreMatcher(options.exclude ?? []);
  const selected: Selected[] = [];
  for (const source of sources) {
    const pivot = options.parents ? source.indexOf("/./") : -1;
    const found = expand(tree, source);
    if (found.length === 0) throw nothingFound(tree, source, options.where);
    const base = pivot < 0 ? "" : normal(source.slice(0, pivot));
    for (const name of found) {
      const prefix = options.parents ? relativeTo(base, name) : "";
      walkSource(tree, name, prefix, excluded, selected);
    }
  }
  return selected;
}

function normal(source: string): string {
  const cleaned = path.posix.normalize(`/${source}`);
  return cleaned.replace(/^\/+|\/+$/g, "");
}

function relativeTo(base: string, name: string): string {
  return base && (name === base || name.startsWith(`${base}/`)) ? name.slice(base.length + 1) : name;
}

/** Paths in the tree that a source names, wildcards expanded, not yet followed. */
function expand(tree: FileTree, source: string): string[] {
  const parts = normal(source)
    .split("/")
    .filter((part) => part !== "");
  let found = [""];
  for (const [index, part] of parts.entries()) {
    const next: string[] = [];
    for (const parent of found) {
      if (part === "**") next.push(...descendants(tree, parent));
      else if (hasWildcard(part)) next.push(...matching(tree, parent, globRegex(part)));
      else next.push(...named(tree, parent, part, index === parts.length - 1));
    }
    found = [...new Set(next)];
  }
  return found;
}

function named(tree: FileTree, parent: string, part: string, last: boolean): string[] {
  const name = parent ? `${parent}/${part.replace(/\\(.)/g, "$1")}` : part.replace(/\\(.)/g, "$1");
  const stat = lstat(path.join(tree.root, resolveInRoot(tree.root, name, false)));
  if (!stat || tree.ignored?.(name, stat.isDirectory())) return [];
  return last ? [name] : [resolveInRoot(tree.root, name)];
}

function matching(tree: FileTree, parent: string, regex: RegExp): string[] {
  const directory = resolveInRoot(tree.root, parent);
  if (!lstat(path.join(tree.root, directory))?.isDirectory()) return [];
  const names = listTree(tree, directory).map((entry) => entry.name);
  return names.filter((name) => regex.test(name)).map((name) => (directory ? `${directory}/${name}` : name));
}

function descendants(tree: FileTree, parent: string): string[] {
  const found = [parent];
  for (let at = 0; at < found.length; at++) {
    if (!lstat(path.join(tree.root, found[at]!))?.isDirectory()) continue;
    for (const entry of listTree(tree, found[at]!))
      if (entry.isDirectory()) found.push(found[at] ? `${found[at]}/${entry.name}` : entry.name);
  }
  return found;
}

function walkSource(
  tree: FileTree,
  name: string,
  prefix: string,
  excluded: (name: string, directory: boolean) => boolean,
  out: Selected[],
): void {
  // A link that the Dockerfile names is followed; links found inside directories are copied as links.
  const real = resolveInRoot(tree.root, name);
  const stat = lstat(path.join(tree.root, real));
  if (!stat) throw missingFile(`/${name}`, "the source", "It is a symbolic link that leads nowhere.");
  const baseName = path.posix.basename(name);
  const walk = (source: string, target: string, own: fs.Stats, excludeName: string) => {
    if (excludeName !== "" && excluded(excludeName, own.isDirectory())) return;
    if (out.length >= MAX_TREE_ENTRIES) throw resourceExhausted(`more than ${MAX_TREE_ENTRIES} files in one COPY`);
    out.push({ tree, source, target, stat: own, baseName });
    if (!own.isDirectory()) return;
    for (const { name: child } of listTree(tree, source)) {
      const below = source ? `${source}/${child}` : child;
      walk(
        below,
        target ? `${target}/${child}` : child,
        exactFs.lstat(path.join(tree.root, below)),
        excludeName ? `${excludeName}/${child}` : child,
      );
    }
  };
  // Exclusions are relative to the source's own directory for a directory, and to the context for a file.
  walk(real, prefix, stat, stat.isDirectory() ? (prefix ? name : "") : name);
}

function nothingFound(tree: FileTree, source: string, where: string) {
  const parent = path.posix.dirname(normal(source));
  const directory = parent === "." ? "" : parent;
  let hint: string | undefined;
  if (lstat(path.join(tree.root, directory))?.isDirectory()) {
    const meant = nearest(
      path.posix.basename(source),
      listTree(tree, directory).map((entry) => entry.name),
    );
    if (meant) hint = `Did you mean ${directory ? `${directory}/` : ""}${meant}?`;
    else if (fs.existsSync(path.join(tree.root, normal(source)))) hint = "It is there, but .dockerignore excludes it.";
  }
  return missingFile(normal(source) === "" ? "/" : `/${normal(source)}`, where, hint);
}

export interface Ownership {
  readonly uid: number;
  readonly gid: number;
}

/** How copied files look: undefined keeps what the source has. */
export interface CopyAttributes {
  readonly owner: Ownership | undefined;
  readonly mode: ((before: number, isDirectory: boolean) => number) | undefined;
}

/**
 * Digest of what a COPY would put in place: paths, kinds, modes, owners, link targets and content. Modification times don't count, so that a
 * fresh checkout of the same files is the same input.
 */
export async function digestSelection(
  selected: readonly Selected[],
  attributes: CopyAttributes,
  signal?: AbortSignal,
): Promise<string> {
  const hash = createHash("sha256");
  for (const item of selected) {
    signal?.throwIfAborted();
    const { stat } = item;
    const owner = attributes.owner ?? stat;
    const mode = attributes.mode ? attributes.mode(stat.mode & 0o7777, stat.isDirectory()) : stat.mode & 0o7777;
    const facts = [item.target, item.target === "" ? item.baseName : "", owner.uid, owner.gid];
    if (stat.isSymbolicLink()) facts.push("link", exactFs.readlink(path.join(item.tree.root, item.source)));
    else if (stat.isDirectory()) facts.push("directory", mode);
    else if (stat.isFile()) facts.push("file", mode, await digestFile(item.tree, item.source, signal));
    else facts.push("special", mode, stat.rdev);
    for (const [name, value] of Object.entries(imageAttributes(path.join(item.tree.root, item.source))))
      facts.push(name, value.toString("base64"));
    hash.update(JSON.stringify(facts));
  }
  return hash.digest("hex");
}

/** `--chmod`: octal, or symbolic as chmod(1) has it. Throws invalidArgument. */
export function parseChmod(text: string): (before: number, isDirectory: boolean) => number {
  if (/^[0-7]{1,5}$/.test(text)) {
    const mode = Number.parseInt(text, 8) & 0o7777;
    return () => mode;
  }
  const clauses = text.split(",").map((clause) => /^([ugoa]*)([-+=])([rwxXst]*)$/.exec(clause));
  if (clauses.some((clause) => clause === null))
    throw invalidArgument(
      `invalid chmod parameter: ${JSON.stringify(text)}. It should be octal (0644) or symbolic (u+x)`,
    );
  return (before, isDirectory) => clauses.reduce((mode, clause) => applyClause(mode, clause!, isDirectory), before);
}

function applyClause(mode: number, [, who, operator, permissions]: RegExpExecArray, isDirectory: boolean): number {
  const classes = who === "" || who!.includes("a") ? "ugo" : who!;
  let bits = 0;
  let reach = 0;
  for (const [index, name] of ["u", "g", "o"].entries()) {
    if (!classes.includes(name)) continue;
    const shift = 6 - 3 * index;
    reach |= 7 << shift;
    if (permissions!.includes("r")) bits |= 4 << shift;
    if (permissions!.includes("w")) bits |= 2 << shift;
    if (permissions!.includes("x") || (permissions!.includes("X") && (isDirectory || mode & 0o111))) bits |= 1 << shift;
  }
  if (permissions!.includes("s")) bits |= (classes.includes("u") ? 0o4000 : 0) | (classes.includes("g") ? 0o2000 : 0);
  if (permissions!.includes("t")) bits |= 0o1000;
  if (operator === "+") return mode | bits;
  return operator === "-" ? mode & ~bits : (mode & ~reach) | bits;
}
