import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { errnoOf, invalidArgument, resourceExhausted } from "../../../base/index.ts";
import { exactFs, makeNode, S_IFBLK, S_IFCHR, S_IFIFO, setAttribute } from "../../../host/index.ts";
import type { TarEntry, TarHandler } from "../../tar/index.ts";
import { setImageAttributes } from "./attributes.ts";
import { findIn, isWhiteout, lstat, resolveDirectory, segmentsOf, type Found } from "./resolve.ts";

export interface ApplyLimits {
  readonly maxBytes: number;
  readonly maxEntries: number;
  /** Stop while the disk still has this much. */
  readonly keepFreeBytes: number;
}

export const DEFAULT_APPLY_LIMITS: ApplyLimits = {
  maxBytes: 128 * 2 ** 30,
  maxEntries: 5_000_000,
  keepFreeBytes: 2 ** 28,
};

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
const SPACE_CHECK_BYTES = 256 * 2 ** 20;
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Writes the entries of a layer tar into `root`, which nobody else uses meanwhile. Nothing outside `root` is ever touched: parents are
 * resolved by us, link by link, and the last component is created exclusively. AUFS whiteouts of the archive become overlayfs' form.
 * Synchronous: made for a worker thread.
 */
export class LayerApplier implements TarHandler {
  readonly #root: string;
  /** `root` first, then the layers below, uppermost first: what a parent is looked up in. */
  readonly #trees: readonly string[];
  readonly #limits: ApplyLimits;
  /** Directory as named in the archive → real inner path. */
  #directories = new Map<string, string>();
  /** Directory times are set last, since filling a directory changes them. */
  readonly #times = new Map<string, number>();
  #file: { fd: number; entry: TarEntry; path: string; at: number } | undefined;
  #entries = 0;
  #nextSpaceCheck = SPACE_CHECK_BYTES;
  sizeBytes = 0;

  constructor(root: string, lower: readonly string[], limits: ApplyLimits = DEFAULT_APPLY_LIMITS) {
    this.#root = root;
    this.#trees = [root, ...lower];
    this.#limits = limits;
  }

  entry(entry: TarEntry): void {
    if (++this.#entries > this.#limits.maxEntries)
      throw resourceExhausted(`the layer has more than ${this.#limits.maxEntries} entries`);
    this.#account(entry.sizeBytes, entry.storedBytes);
    const segments = segmentsOf(entry.name);
    const base = segments.pop();
    if (base === undefined) return this.#rootEntry(entry);
    const parent = this.#parent(segments);
    if (base.startsWith(WHITEOUT)) return this.#whiteout(parent, base, entry);
    const inner = `${parent}/${base}`;
    try {
      this.#create(entry, inner);
    } catch (error) {
      if (errnoOf(error) !== "ENOSPC") throw error;
      throw resourceExhausted("no space left on device: the disk that holds the images is full", { cause: error });
    }
  }

  data(chunk: Buffer): void {
    if (!this.#file) return;
    for (let written = 0; written < chunk.byteLength;)
      written += writeSync(this.#file.fd, chunk, written, chunk.byteLength - written, this.#file.at + written);
    this.#file.at += chunk.byteLength;
  }

  /** Stays one on our disk. */
  hole(bytes: number): void {
    if (!this.#file) return;
    this.#file.at += bytes;
    ftruncateSync(this.#file.fd, this.#file.at);
  }

  entryEnd(): void {
    if (!this.#file) return;
    const { fd, entry, path } = this.#file;
    this.#file = undefined;
    if (entry.uid !== 0 || entry.gid !== 0) fchownSync(fd, entry.uid, entry.gid);
    fchmodSync(fd, entry.mode);
    setImageAttributes(path, entry.attributes);
    futimesSync(fd, entry.mtime, entry.mtime);
    closeSync(fd);
  }

  /** Sets the times of directories. */
  finish(): void {
    for (const [path, mtime] of this.#times) exactFs.utimes(path, mtime, mtime);
  }

  /** Lets go of an open file after a failure. */
  abort(): void {
    if (this.#file) closeSync(this.#file.fd);
    this.#file = undefined;
  }

  #account(bytes: number, onDisk = bytes): void {
    this.sizeBytes += bytes;
    if (this.sizeBytes > this.#limits.maxBytes)
      throw resourceExhausted(`the layer unpacks to more than ${this.#limits.maxBytes} bytes`);
    if (this.sizeBytes < this.#nextSpaceCheck) return;
    this.#nextSpaceCheck = this.sizeBytes + SPACE_CHECK_BYTES;
    const disk = statfsSync(this.#root);
    if (disk.bavail * disk.bsize < onDisk + this.#limits.keepFreeBytes)
      throw resourceExhausted("the layer doesn't fit on the disk that holds the images", {
        hint: "remove images with `docker image prune -a`",
      });
  }

  #parent(segments: readonly string[]): string {
    const key = segments.join("/");
    const known = this.#directories.get(key);
    if (known !== undefined) return known;
    const inner = resolveDirectory(this.#trees, segments, (child, found) => this.#impliedDirectory(child, found));
    this.#directories.set(key, inner);
    return inner;
  }

  /** A directory that the archive doesn't mention (here): as it is in the layers below, else as root's own. */
  #impliedDirectory(inner: string, found: Found | undefined): void {
    const path = this.#root + inner;
    const replacesWhiteout = this.#clear(inner);
    exactFs.mkdir(path);
    if (replacesWhiteout) this.#opaque(path);
    if (found) {
      exactFs.lchown(path, found.facts.uid, found.facts.gid);
      this.#times.set(path, found.facts.mtimeMs / 1000);
    }
    exactFs.chmod(path, found ? found.facts.mode & 0o7777 : 0o755);
  }

  #rootEntry(entry: TarEntry): void {
    if (entry.type === "directory") this.#directoryFacts(this.#root, entry);
  }

  #whiteout(parent: string, base: string, entry: TarEntry): void {
    if (base === OPAQUE) return this.#opaque(this.#root + parent);
    // Other names with this prefix are AUFS' own bookkeeping.
    if (base.startsWith(".wh..wh.")) return;
    const name = base.slice(WHITEOUT.length);
    if (name === "" || name === "." || name === "..") throw invalidArgument(`broken whiteout ${entry.name}`);
    const inner = `${parent}/${name}`;
    this.#clear(inner);
    makeNode(this.#root + inner, S_IFCHR);
  }

  #opaque(path: string): void {
    setAttribute(path, "trusted.overlay.opaque", Buffer.from("y"));
  }

  /** Removes what is in the way. True when it was a whiteout. */
  #clear(inner: string): boolean {
    const facts = lstat(this.#root + inner);
    if (!facts) return false;
    exactFs.removeTree(this.#root + inner);
    if (facts.isDirectory() || facts.isSymbolicLink()) this.#forget(this.#root + inner);
    return isWhiteout(facts);
  }

  #forget(path: string): void {
    this.#directories = new Map();
    for (const known of this.#times.keys())
      if (known === path || known.startsWith(path + "/")) this.#times.delete(known);
  }

  #create(entry: TarEntry, inner: string): void {
    const path = this.#root + inner;
    switch (entry.type) {
      case "file":
        this.#file = { fd: this.#replacing(inner, () => exactFs.open(path, CREATE, 0o600)), entry, path, at: 0 };
        return;
      case "directory":
        return this.#directory(entry, inner);
      case "symlink":
        if (entry.linkName === "" || entry.linkName.length > 4095)
          throw invalidArgument(`${entry.name}: broken symbolic link`);
        this.#replacing(inner, () => exactFs.symlink(entry.linkName, path));
        break;
      case "hardlink":
        return this.#hardlink(entry, inner);
      case "fifo":
        this.#replacing(inner, () => makeNode(path, S_IFIFO | 0o600));
        break;
      case "character":
      case "block": {
        const kind = entry.type === "block" ? S_IFBLK : S_IFCHR;
        this.#replacing(inner, () => makeNode(path, kind | 0o600, { major: entry.major, minor: entry.minor }));
        break;
      }
    }
    exactFs.lchown(path, entry.uid, entry.gid);
    if (entry.type !== "symlink") exactFs.chmod(path, entry.mode);
    setImageAttributes(path, entry.attributes);
    exactFs.lutimes(path, entry.mtime, entry.mtime);
  }

  /** Makes it at once in the common case that nothing is in the way, else clears the way first. */
  #replacing<T>(inner: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      const details = (error as { details?: { errno?: unknown } }).details;
      if (errnoOf(error) !== "EEXIST" && details?.errno !== "EEXIST") throw error;
    }
    this.#clear(inner);
    return make();
  }

  #directory(entry: TarEntry, inner: string): void {
    const path = this.#root + inner;
    const there = lstat(path);
    if (!there?.isDirectory()) {
      const replacesWhiteout = there ? this.#clear(inner) : false;
      exactFs.mkdir(path);
      if (replacesWhiteout) this.#opaque(path);
    }
    this.#directoryFacts(path, entry);
  }

  #directoryFacts(path: string, entry: TarEntry): void {
    exactFs.lchown(path, entry.uid, entry.gid);
    exactFs.chmod(path, entry.mode);
    setImageAttributes(path, entry.attributes);
    this.#times.set(path, entry.mtime);
  }

  /** The target lies in this layer, or in one below: then the file is copied up first, as overlayfs would. */
  #hardlink(entry: TarEntry, inner: string): void {
    const segments = segmentsOf(entry.linkName);
    const base = segments.pop();
    if (base === undefined) throw invalidArgument(`${entry.name}: hard link to the root directory`);
    const target = `${this.#parent(segments)}/${base}`;
    const found = findIn(this.#trees, target);
    if (!found || found.facts.isDirectory())
      throw invalidArgument(`${entry.name}: hard link to ${entry.linkName}, which is no file of the image`);
    if (target === inner) return;
    if (found.tree > 0) this.#copyUp(target, found);
    this.#replacing(inner, () => exactFs.link(this.#root + target, this.#root + inner));
  }

  #copyUp(inner: string, { tree, facts }: Found): void {
    const path = this.#root + inner;
    if (!facts.isFile())
      throw invalidArgument(`${inner}: a hard link to a special file of a lower layer isn't supported`);
    this.#account(facts.size);
    exactFs.copyFileSync(this.#trees[tree]! + inner, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    exactFs.lchown(path, facts.uid, facts.gid);
    exactFs.chmod(path, facts.mode & 0o7777);
    exactFs.lutimes(path, facts.mtimeMs / 1000, facts.mtimeMs / 1000);
  }
}
