/**
 * Puts selected files where a COPY wants them: first a plan against the root filesystem as it is (links resolved as in a chroot, nothing written), then
 * the writing into the new layer's own directory. Files of the build context are linked, not copied: they are ours and nobody changes them.
 */
import fs from "node:fs";
import path from "node:path";
import { errnoOf, failedPrecondition } from "../../../base/index.ts";
import { exactFs } from "../../../host/index.ts";
import { imageAttributes, setImageAttributes } from "../../snapshot/index.ts";
import type { CopyAttributes, Selected } from "../context/select.ts";
import { lstat, resolveInRoot } from "../context/tree.ts";

/** A directory that must be in the layer: one that exists below keeps its looks. */
export interface PlacedDirectory {
  readonly name: string;
  readonly existing: fs.Stats | undefined;
  readonly item: Selected | undefined;
}

export interface Placement {
  readonly directories: readonly PlacedDirectory[];
  readonly files: readonly { readonly name: string; readonly item: Selected }[];
}

export interface Destination {
  /** Absolute; a trailing slash says that it is a directory. */
  readonly path: string;
  /** More than one source, a wildcard or a directory: the destination must be a directory. */
  readonly mustBeDirectory: boolean;
}

/** Throws failedPrecondition when a file stands where a directory must be, or the other way round. */
export function planPlacement(root: string, selected: readonly Selected[], destination: Destination): Placement {
  return new Planner(root).plan(selected, destination);
}

class Planner {
  readonly #root: string;
  readonly #directories = new Map<string, PlacedDirectory>();
  readonly #files = new Map<string, Selected>();
  /** Below these nothing exists yet, so nothing needs to be looked up. */
  readonly #fresh = new Set<string>();
  /** Directories that links lead to elsewhere, by the name under which they were asked for. */
  readonly #real = new Map<string, string>();

  constructor(root: string) {
    this.#root = root;
  }

  plan(selected: readonly Selected[], destination: Destination): Placement {
    const base = resolveInRoot(this.#root, destination.path);
    const existing = base === "" ? fs.lstatSync(this.#root) : lstat(path.join(this.#root, base));
    const asDirectory =
      destination.mustBeDirectory || destination.path.endsWith("/") || existing?.isDirectory() === true;
    if (asDirectory && existing && !existing.isDirectory())
      throw failedPrecondition(`cannot copy to ${destination.path}: it is not a directory`);
    if (asDirectory) this.#directory(base, undefined);
    for (const item of selected) {
      const inside = item.target !== "" ? item.target : item.stat.isDirectory() ? "" : asDirectory ? item.baseName : "";
      const name = inside === "" ? base : base === "" ? inside : `${base}/${inside}`;
      if (item.stat.isDirectory()) this.#directory(name, item);
      else this.#file(name, item);
    }
    return {
      directories: [...this.#directories.values()],
      files: [...this.#files].map(([name, item]) => ({ name, item })),
    };
  }

  /** Takes up the directory and those above it; answers where it really is, when links lead to it. */
  #directory(name: string, item: Selected | undefined): string {
    const linked = this.#real.get(name);
    if (linked !== undefined && linked !== name) return this.#directory(linked, item);
    const known = this.#directories.get(name);
    if (known) {
      if (item && !known.existing && !known.item) this.#directories.set(name, { ...known, item });
      return name;
    }
    const real = name === "" ? "" : join(this.#directory(parentOf(name), undefined), baseOf(name));
    const existing = this.#lookup(real);
    if (existing?.isSymbolicLink()) return this.#follow(name, real, item);
    if (real !== name) {
      this.#real.set(name, real);
      return this.#directory(real, item);
    }
    if (this.#files.has(name) || (existing && !existing.isDirectory())) {
      throw failedPrecondition(`cannot copy a directory over the file /${name}`);
    }
    if (!existing) this.#fresh.add(name);
    this.#directories.set(name, { name, existing, item });
    this.#real.set(name, name);
    return name;
  }

  /** A directory of the source meets a link in the root: what the link leads to is meant, as `cp` has it. */
  #follow(name: string, link: string, item: Selected | undefined): string {
    const target = resolveInRoot(this.#root, link);
    if (target === link || !lstat(path.join(this.#root, target))?.isDirectory())
      throw failedPrecondition(`cannot copy a directory over the link /${link}`);
    this.#real.set(name, target);
    this.#real.set(link, target);
    return this.#directory(target, item);
  }

  #file(name: string, item: Selected): void {
    const real = join(this.#directory(parentOf(name), undefined), baseOf(name));
    if (this.#directories.has(real) || this.#lookup(real)?.isDirectory())
      throw failedPrecondition(`cannot replace the directory /${real} with a file`);
    this.#files.set(real, item);
  }

  #lookup(name: string): fs.Stats | undefined {
    if (name !== "" && this.#fresh.has(parentOf(name))) return undefined;
    return lstat(path.join(this.#root, name));
  }
}

function join(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

function baseOf(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

function parentOf(name: string): string {
  const slash = name.lastIndexOf("/");
  return slash < 0 ? "" : name.slice(0, slash);
}

export interface PlaceOptions extends CopyAttributes {
  /** Sources may be linked into the layer: they belong to this build alone. */
  readonly link: boolean;
  /** For directories that the copy had to make. */
  readonly nowSeconds: number;
  readonly signal?: AbortSignal;
}

/** Writes a plan into a layer's directory, which must not be mounted. */
export async function place(upper: string, placement: Placement, options: PlaceOptions): Promise<void> {
  const privileged = process.getuid?.() === 0;
  const directories = placement.directories;
  for (const { name } of directories) if (name !== "") makeDirectory(path.join(upper, name));
  const used = new Set<number>();
  for (const { name, item } of placement.files) {
    options.signal?.throwIfAborted();
    await placeFile(path.join(upper, name), item, options, used, privileged);
  }
  // Children first, since making them changed the times of their parents.
  for (const directory of directories.toReversed())
    finishDirectory(path.join(upper, directory.name), directory, options, privileged);
}

function makeDirectory(target: string): void {
  try {
    exactFs.mkdir(target);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}

function finishDirectory(
  target: string,
  { existing, item }: PlacedDirectory,
  options: PlaceOptions,
  privileged: boolean,
): void {
  const like = existing ?? item?.stat;
  const owner = existing ?? options.owner ?? item?.stat ?? { uid: 0, gid: 0 };
  const mode = existing
    ? existing.mode & 0o7777
    : item && options.mode
      ? options.mode(item.stat.mode & 0o7777, true)
      : (like?.mode ?? 0o755) & 0o7777;
  if (privileged) exactFs.lchown(target, owner.uid, owner.gid);
  exactFs.chmod(target, mode);
  if (item && !existing) setImageAttributes(target, imageAttributes(path.join(item.tree.root, item.source)));
  const seconds = like ? like.mtimeMs / 1000 : options.nowSeconds;
  exactFs.utimes(target, seconds, seconds);
}

async function placeFile(
  target: string,
  item: Selected,
  options: PlaceOptions,
  used: Set<number>,
  privileged: boolean,
): Promise<void> {
  const source = path.join(item.tree.root, item.source);
  const { stat } = item;
  const owner = options.owner ?? stat;
  const mode = options.mode ? options.mode(stat.mode & 0o7777, false) : stat.mode & 0o7777;
  const same = owner.uid === stat.uid && owner.gid === stat.gid && mode === (stat.mode & 0o7777);
  if (stat.isSymbolicLink()) {
    exactFs.symlink(exactFs.readlink(source), target);
    if (privileged) exactFs.lchown(target, owner.uid, owner.gid);
    exactFs.lutimes(target, stat.mtimeMs / 1000, stat.mtimeMs / 1000);
    return;
  }
  if (!stat.isFile()) throw failedPrecondition(`/${item.source} is a device or pipe, which COPY does not take`);
  // The same file twice in a layer would become a hard link there, which the sources were not.
  if (options.link && same && !used.has(stat.ino)) {
    used.add(stat.ino);
    exactFs.link(source, target);
    return;
  }
  await exactFs.copyFile(source, target, fs.constants.COPYFILE_FICLONE);
  if (privileged) exactFs.lchown(target, owner.uid, owner.gid);
  exactFs.chmod(target, mode);
  setImageAttributes(target, imageAttributes(source));
  exactFs.utimes(target, stat.mtimeMs / 1000, stat.mtimeMs / 1000);
}
