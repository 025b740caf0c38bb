/**
 * Unpacks a tar stream into a fresh directory that is ours alone, hashing file content as it passes.
 *
 * Safe by construction: every path is made of plain names, every ancestor is a directory that this unpacking made itself (never a symbolic
 * link), and links are written but not followed. So nothing outside the directory can be reached, whatever the archive says.
 */
import { createHash, type Hash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { invalidArgument, resourceExhausted } from "../../../base/index.ts";
import { exactFs } from "../../../host/index.ts";
import { MAX_PATH_BYTES, MAX_TREE_BYTES, MAX_TREE_ENTRIES } from "../limits.ts";
import { setImageAttributes, type ExternalDecompressor } from "../../snapshot/index.ts";
import { TarParser, type TarEntry, type TarHandler } from "../../tar/index.ts";
import { decompressed } from "./decompress.ts";
import { Comparison, type KnownFiles } from "./known.ts";
import type { FileTree } from "./tree.ts";

export interface UnpackOptions {
  /** Keep the archive's owners (ADD); otherwise everything belongs to root, as in a context. */
  readonly keepOwner?: boolean;
  readonly decompressor?: ExternalDecompressor;
  /** Large files of former contexts. */
  readonly known?: KnownFiles;
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytes: number) => void;
}

/** Throws invalidArgument for a broken or hostile archive, resourceExhausted beyond the limits. */
export async function unpack(
  source: AsyncIterable<Uint8Array>,
  root: string,
  options: UnpackOptions = {},
): Promise<FileTree> {
  const sink = new UnpackSink(root, options);
  const parser = new TarParser(sink);
  try {
    for await (const chunk of decompressed(source, options.decompressor)) {
      options.signal?.throwIfAborted();
      parser.write(chunk);
      options.onProgress?.(sink.bytes);
    }
    parser.end();
    sink.finish();
  } finally {
    sink.close();
  }
  return { root, digests: sink.digests };
}

type Kind = "directory" | "other";

interface OpenFile {
  readonly fd: number;
  readonly path: string;
  readonly header: TarEntry;
  /** Absent for a sparse file, whose holes would take as long as content: who needs its digest reads it later. */
  readonly hash: Hash | undefined;
  at: number;
}

class UnpackSink implements TarHandler {
  /** SHA-256 of files' content by path, hexadecimal. */
  readonly digests = new Map<string, string>();
  bytes = 0;
  readonly #root: string;
  readonly #keepOwner: boolean;
  readonly #known: KnownFiles | undefined;
  /** Set while the arriving file is still equal to a known one. */
  #comparison: { comparison: Comparison; path: string; header: TarEntry } | undefined;
  readonly #kinds = new Map<string, Kind>([["", "directory"]]);
  /** Directories get their time last, since writing into them changes it. */
  readonly #directoryTimes = new Map<string, number>();
  #file: OpenFile | undefined;

  constructor(root: string, options: Pick<UnpackOptions, "keepOwner" | "known">) {
    this.#root = root;
    this.#keepOwner = options.keepOwner === true && process.getuid?.() === 0;
    this.#known = options.keepOwner ? undefined : options.known;
  }

  entry(header: TarEntry): void {
    const name = cleanPath(header.name);
    if (name === "") return this.#rootEntry(header);
    if (this.#kinds.size > MAX_TREE_ENTRIES)
      throw resourceExhausted(`the archive has more than ${MAX_TREE_ENTRIES} entries`);
    this.#makeParents(name);
    const target = path.join(this.#root, name);
    if (header.type === "directory") return this.#directory(name, target, header);
    this.#clear(name, target);
    if (header.type === "file") this.#openFile(name, target, header);
    else if (header.type === "symlink") exactFs.symlink(checkLink(header), target);
    else if (header.type === "hardlink") this.#hardlink(name, target, header);
    else throw invalidArgument(`${header.name}: ${header.type} devices and pipes are not taken from an archive`);
    this.#kinds.set(name, "other");
    if (header.type === "symlink") {
      if (this.#keepOwner) exactFs.lchown(target, header.uid, header.gid);
      exactFs.lutimes(target, header.mtime, header.mtime);
    }
  }

  data(chunk: Buffer): void {
    this.#account(chunk.length);
    if (this.#comparison) {
      if (this.#comparison.comparison.matches(chunk)) return;
      this.#leaveComparison();
    }
    this.#write(chunk);
  }

  /** Stays one on our disk. */
  hole(bytes: number): void {
    this.#account(bytes);
    const file = this.#file!;
    file.at += bytes;
    fs.ftruncateSync(file.fd, file.at);
  }

  #account(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes > MAX_TREE_BYTES)
      throw resourceExhausted(`the archive unpacks to more than ${MAX_TREE_BYTES} bytes`);
  }

  #write(chunk: Buffer): void {
    const file = this.#file!;
    file.hash?.update(chunk);
    for (let written = 0; written < chunk.length;)
      written += fs.writeSync(file.fd, chunk, written, chunk.length - written, file.at + written);
    file.at += chunk.length;
  }

  /** The file has changed: write what was equal so far, and go on as with a new one. */
  #leaveComparison(): void {
    const { comparison, path: name, header } = this.#comparison!;
    this.#comparison = undefined;
    try {
      this.#create(name, path.join(this.#root, name), header);
      for (const part of comparison.replay()) this.#write(part);
    } finally {
      comparison.close();
    }
  }

  /** The file came again as it was. */
  #takeKnown(): void {
    const { comparison, path: name } = this.#comparison!;
    this.#comparison = undefined;
    comparison.close();
    exactFs.link(comparison.known.file, path.join(this.#root, name));
    this.digests.set(name, comparison.known.digest);
  }

  entryEnd(): void {
    if (this.#comparison) return this.#takeKnown();
    const file = this.#file;
    if (!file) return;
    this.#file = undefined;
    try {
      if (this.#keepOwner) fs.fchownSync(file.fd, file.header.uid, file.header.gid);
      fs.fchmodSync(file.fd, file.header.mode);
      setImageAttributes(path.join(this.#root, file.path), file.header.attributes);
      fs.futimesSync(file.fd, file.header.mtime, file.header.mtime);
    } finally {
      fs.closeSync(file.fd);
    }
    if (file.hash) this.digests.set(file.path, file.hash.digest("hex"));
  }

  finish(): void {
    for (const [name, seconds] of this.#directoryTimes) exactFs.utimes(path.join(this.#root, name), seconds, seconds);
  }

  close(): void {
    this.#comparison?.comparison.close();
    this.#comparison = undefined;
    if (this.#file) fs.closeSync(this.#file.fd);
    this.#file = undefined;
  }

  #rootEntry(header: TarEntry): void {
    if (header.type === "directory") this.#directoryTimes.set("", header.mtime);
    else if (header.type === "file")
      throw invalidArgument(`${JSON.stringify(header.name)} is not a path inside the archive`);
  }

  #makeParents(name: string): void {
    for (let slash = name.indexOf("/"); slash > 0; slash = name.indexOf("/", slash + 1)) {
      const parent = name.slice(0, slash);
      const kind = this.#kinds.get(parent);
      if (kind === "other")
        throw invalidArgument(`${name}: the archive goes through ${parent}, which is not a directory`);
      if (kind) continue;
      exactFs.mkdir(path.join(this.#root, parent), 0o755);
      this.#kinds.set(parent, "directory");
    }
  }

  /** A later entry of the same name replaces an earlier one. */
  #clear(name: string, target: string): void {
    const before = this.#kinds.get(name);
    if (!before) return;
    if (before === "directory") throw invalidArgument(`${name} is a directory and something else in the same archive`);
    exactFs.unlink(target);
    this.digests.delete(name);
  }

  #directory(name: string, target: string, header: TarEntry): void {
    if (this.#kinds.get(name) !== "directory") {
      this.#clear(name, target);
      exactFs.mkdir(target);
      this.#kinds.set(name, "directory");
    }
    if (this.#keepOwner) exactFs.lchown(target, header.uid, header.gid);
    exactFs.chmod(target, header.mode);
    setImageAttributes(target, header.attributes);
    this.#directoryTimes.set(name, header.mtime);
  }

  #openFile(name: string, target: string, header: TarEntry): void {
    const isPlain = Object.keys(header.attributes).length === 0;
    const known = isPlain ? this.#known?.find(name, header) : undefined;
    if (known) this.#comparison = { comparison: new Comparison(known), path: name, header };
    else this.#create(name, target, header);
  }

  #create(name: string, target: string, header: TarEntry): void {
    const fd = exactFs.open(
      target,
      fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_NOFOLLOW,
      0o600,
    );
    const hash = header.storedBytes === header.sizeBytes ? createHash("sha256") : undefined;
    this.#file = { fd, path: name, hash, header, at: 0 };
  }

  #hardlink(name: string, target: string, header: TarEntry): void {
    const origin = cleanPath(header.linkName);
    if (this.#kinds.get(origin) !== "other")
      throw invalidArgument(`${name}: a hard link to ${header.linkName}, which is not a file of this archive`);
    exactFs.link(path.join(this.#root, origin), target);
    const digest = this.digests.get(origin);
    if (digest) this.digests.set(name, digest);
  }
}

/** Relative, without `.`, `..`, empty parts. `..` is refused, not resolved: no honest archive has it. */
function cleanPath(name: string): string {
  if (Buffer.byteLength(name) > MAX_PATH_BYTES)
    throw invalidArgument(`a path in the archive is longer than ${MAX_PATH_BYTES} bytes`);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw invalidArgument(`the archive has a path with "..": ${name}`);
  return parts.join("/");
}

function checkLink(header: TarEntry): string {
  if (header.linkName === "" || Buffer.byteLength(header.linkName) > MAX_PATH_BYTES)
    throw invalidArgument(`${header.name}: a symbolic link without a usable target`);
  return header.linkName;
}
