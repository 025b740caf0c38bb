/**
 * Large files of former contexts, kept as further hard links to what layers hold. A client sends its whole context again for each build; a file that
 * comes again is compared with the one already here, chunk by chunk as it arrives, and then linked: nothing is written, nothing hashed.
 *
 * A link's name says what stat doesn't: `PATHHASH-CONTENTDIGEST`. A file that only this folder still holds is deleted by `sweep`, so it never keeps
 * disk space that layers have given back.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { errnoOf, MiB } from "../../../base/index.ts";
import { exactFs } from "../../../host/index.ts";
import type { TarEntry } from "../../tar/index.ts";
import type { FileTree } from "./tree.ts";

/** Below this, writing and hashing cost less than remembering. */
const MIN_BYTES = 1 * MiB;
const MAX_REMEMBERED = 10_000;

export interface KnownFile {
  readonly file: string;
  readonly digest: string;
}

export class KnownFiles {
  readonly #directory: string;
  /** By hash of the context's path. */
  #index: Map<string, KnownFile[]> | undefined;

  constructor(directory: string) {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#directory = directory;
  }

  /** Files that had this path, and have the size, mode and time that the header says: the content may be the same. */
  find(name: string, header: TarEntry): KnownFile | undefined {
    // Of a sparse file the holes don't arrive.
    if (header.sizeBytes < MIN_BYTES || header.storedBytes !== header.sizeBytes) return undefined;
    return this.#load()
      .get(pathHash(name))
      ?.find(({ file }) => {
        const stat = fs.lstatSync(file, { throwIfNoEntry: false });
        const same = stat?.size === header.sizeBytes && (stat.mode & 0o7777) === header.mode;
        return same && stat.uid === 0 && stat.gid === 0 && Math.abs(stat.mtimeMs - header.mtime * 1000) < 0.002;
      });
  }

  /** Remembers the large files of a context that a layer took in. */
  remember(tree: FileTree): void {
    for (const [name, digest] of tree.digests) {
      const source = path.join(tree.root, name);
      const stat = exactFs.lstatIfAny(source);
      if (!stat?.isFile() || stat.size < MIN_BYTES || stat.nlink < 2) continue;
      const hash = pathHash(name);
      const file = path.join(this.#directory, `${hash}-${digest}`);
      const index = this.#load();
      const known = index.get(hash) ?? [];
      if (index.size >= MAX_REMEMBERED || known.some((other) => other.file === file)) continue;
      link(source, file);
      index.set(hash, [...known, { file, digest }]);
    }
  }

  /** Deletes what no layer holds any more. */
  sweep(): void {
    const index = this.#load();
    for (const [hash, files] of index) {
      const kept = files.filter(({ file }) => {
        const stat = fs.lstatSync(file, { throwIfNoEntry: false });
        if (stat && stat.nlink > 1) return true;
        fs.rmSync(file, { force: true });
        return false;
      });
      if (kept.length > 0) index.set(hash, kept);
      else index.delete(hash);
    }
  }

  #load(): Map<string, KnownFile[]> {
    if (this.#index) return this.#index;
    this.#index = new Map();
    for (const entry of fs.readdirSync(this.#directory)) {
      const [hash, digest] = entry.split("-");
      if (!hash || !digest || !/^[0-9a-f]{64}$/.test(digest)) continue;
      const known = this.#index.get(hash) ?? [];
      this.#index.set(hash, [...known, { file: path.join(this.#directory, entry), digest }]);
    }
    return this.#index;
  }
}

function link(source: string, target: string): void {
  try {
    exactFs.link(source, target);
  } catch (error) {
    // Too many links, or there already: remembering is a convenience.
    if (!["EEXIST", "EMLINK"].includes(errnoOf(error) ?? "")) throw error;
  }
}

function pathHash(name: string): string {
  return createHash("sha256").update(name).digest("hex").slice(0, 32);
}

/** An arriving file that is compared with a known one as long as they are equal. */
export class Comparison {
  readonly known: KnownFile;
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafe(MiB);
  /** Bytes found equal. */
  equalBytes = 0;

  constructor(known: KnownFile) {
    this.known = known;
    this.#fd = fs.openSync(known.file, "r");
  }

  /** False when the content differs; then the first `equalBytes` are still the same. */
  matches(chunk: Buffer): boolean {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + this.#buffer.length);
      const length = fs.readSync(this.#fd, this.#buffer, 0, part.length, this.equalBytes + at);
      if (length !== part.length || part.compare(this.#buffer, 0, length) !== 0) return false;
      at += part.length;
    }
    this.equalBytes += chunk.length;
    return true;
  }

  /** What was found equal, again, for who has to write it after all. */
  *replay(): Generator<Buffer> {
    for (let at = 0; at < this.equalBytes;) {
      const length = fs.readSync(this.#fd, this.#buffer, 0, Math.min(this.#buffer.length, this.equalBytes - at), at);
      if (length === 0) throw new Error(`${this.known.file} became shorter`);
      yield this.#buffer.subarray(0, length);
      at += length;
    }
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}
