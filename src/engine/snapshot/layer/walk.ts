import { closeSync, readSync, type Stats } from "node:fs";
import { exactFs } from "../../../host/index.ts";
import { plainFile, tarEnd, tarHeader, tarPadding, type TarEntry, type TarType } from "../../tar/index.ts";
import type { Change, Usage } from "../types.ts";
import { imageAttributes } from "./attributes.ts";
import { findIn, isOpaque, isWhiteout, lstat } from "./resolve.ts";

interface Walked {
  /** Beginning with `/`. */
  readonly inner: string;
  readonly path: string;
  readonly facts: Stats;
}

/** All below `root`, parents first, names in the order of their UTF-16 code units: the same tree always gives the same sequence. */
function* walk(root: string, inner = ""): Generator<Walked> {
  for (const name of exactFs.readdir(root + inner).sort()) {
    const child = `${inner}/${name}`;
    const facts = lstat(root + child);
    if (!facts) continue;
    yield { inner: child, path: root + child, facts };
    if (facts.isDirectory()) yield* walk(root, child);
  }
}

const READ_BYTES = 1 << 18;

/**
 * The OCI layer tar of an overlay directory, in chunks. Deterministic; sockets are left out, since tar has no word for them. A chunk is good
 * until the next one is asked for: content is read into one buffer, since fresh memory for each would cost more than the reading.
 */
export function* tarOf(root: string, options: { clampMtimeMs?: number } = {}): Generator<Buffer> {
  const latest = options.clampMtimeMs === undefined ? Infinity : Math.floor(options.clampMtimeMs / 1000);
  const links = new Map<string, string>();
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  for (const { inner, path, facts } of walk(root)) {
    const name = inner.slice(1);
    if (isWhiteout(facts)) {
      yield tarHeader(plainFile(whiteoutName(name), 0, Math.min(Math.floor(facts.mtimeMs / 1000), latest)));
      continue;
    }
    const entry = entryOf(name, path, facts, links, latest);
    if (!entry) continue;
    yield tarHeader(entry);
    if (entry.type === "file") yield* contentOf(path, entry.sizeBytes, buffer);
    if (entry.type === "directory" && isOpaque(path))
      yield tarHeader(plainFile(`${name}/.wh..wh..opq`, 0, entry.mtime));
  }
  yield tarEnd();
}

function whiteoutName(name: string): string {
  const slash = name.lastIndexOf("/") + 1;
  return `${name.slice(0, slash)}.wh.${name.slice(slash)}`;
}

function entryOf(
  name: string,
  path: string,
  facts: Stats,
  links: Map<string, string>,
  latest: number,
): TarEntry | undefined {
  const type = typeOf(facts);
  if (!type) return undefined;
  const key = `${facts.dev}:${facts.ino}`;
  const first = facts.nlink > 1 && type !== "directory" ? links.get(key) : undefined;
  if (first === undefined && facts.nlink > 1) links.set(key, name);
  const common = {
    name: type === "directory" ? `${name}/` : name,
    mode: facts.mode & 0o7777,
    uid: facts.uid,
    gid: facts.gid,
    mtime: Math.min(Math.floor(facts.mtimeMs / 1000), latest),
  };
  if (first !== undefined)
    return { ...common, type: "hardlink", linkName: first, sizeBytes: 0, major: 0, minor: 0, attributes: {} };
  const device = type === "character" || type === "block";
  return {
    ...common,
    type,
    linkName: type === "symlink" ? exactFs.readlink(path) : "",
    sizeBytes: type === "file" ? facts.size : 0,
    major: device ? Number(((BigInt(facts.rdev) >> 8n) & 0xfffn) | ((BigInt(facts.rdev) >> 32n) & ~0xfffn)) : 0,
    minor: device ? Number((BigInt(facts.rdev) & 0xffn) | ((BigInt(facts.rdev) >> 12n) & ~0xffn)) : 0,
    attributes: imageAttributes(path),
  };
}

function typeOf(facts: Stats): TarType | undefined {
  if (facts.isFile()) return "file";
  if (facts.isDirectory()) return "directory";
  if (facts.isSymbolicLink()) return "symlink";
  if (facts.isFIFO()) return "fifo";
  if (facts.isCharacterDevice()) return "character";
  if (facts.isBlockDevice()) return "block";
  return undefined;
}

/** Exactly `size` bytes, whatever happens to the file meanwhile: what is missing is zeros, since the header is already out. */
function* contentOf(path: string, size: number, buffer: Buffer): Generator<Buffer> {
  if (size === 0) return;
  const fd = exactFs.open(path, "r");
  try {
    for (let left = size; left > 0;) {
      const wanted = buffer.subarray(0, left);
      const got = readSync(fd, wanted, 0, wanted.byteLength, null);
      const chunk = got === 0 ? wanted.fill(0) : wanted.subarray(0, got);
      left -= chunk.byteLength;
      yield chunk;
    }
  } finally {
    closeSync(fd);
  }
  if (size % 512 !== 0) yield tarPadding(size);
}

/** What `upper` changes over the layers below (uppermost first), as `docker diff` has it. */
export function changesOf(upper: string, lower: readonly string[]): Change[] {
  const changes: Change[] = [];
  for (const { inner, facts } of walk(upper)) {
    if (isWhiteout(facts)) changes.push({ kind: "deleted", path: inner });
    else changes.push({ kind: findIn(lower, inner) ? "modified" : "added", path: inner });
  }
  return changes;
}

export function usageOf(root: string): Usage {
  const seen = new Set<string>();
  let sizeBytes = 0;
  let inodes = 0;
  for (const { facts } of walk(root)) {
    const key = `${facts.dev}:${facts.ino}`;
    if (facts.nlink > 1 && !facts.isDirectory()) {
      if (seen.has(key)) continue;
      seen.add(key);
    }
    inodes++;
    if (facts.isFile()) sizeBytes += facts.size;
  }
  return { sizeBytes, inodes };
}
