/** A thread that has a container's root as its own: reads and writes files there as the container would see them. One task, then it ends. */
import fs from "node:fs";
import path from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { codeOf, errnoOf, invalidArgument, messageOf, notFound, type ErrorCode } from "../../../base/index.ts";
import {
  actAsFsUser,
  confineThread,
  exactFs,
  getAttribute,
  listAttributes,
  makeNode,
  setAttribute,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  type IdMapping,
} from "../../../host/index.ts";
import { TarParser, tarEnd, tarHeader, tarPadding, type TarEntry, type TarType } from "../../tar/index.ts";

export type FilesTask =
  | { readonly kind: "stat"; readonly path: string }
  /** `name` stands for the path itself in the archive. */
  | { readonly kind: "read"; readonly path: string; readonly name: string }
  | {
      readonly kind: "write";
      readonly path: string;
      readonly noOverwriteDirNonDir: boolean;
      readonly owner?: { uid: number; gid: number };
    };

export interface FilesWorkerData {
  readonly root: string;
  readonly task: FilesTask;
  /** How the root's owners are mapped, where it is seen through a user namespace. */
  readonly owners?: { readonly uids: readonly IdMapping[]; readonly gids: readonly IdMapping[] };
  /** How many chunks the reader is ready to take; the worker waits at 0. */
  readonly credits: SharedArrayBuffer;
}

export interface PathStat {
  readonly name: string;
  readonly size: number;
  /** Go's os.FileMode. */
  readonly mode: number;
  readonly mtimeMs: number;
  readonly linkTarget: string;
}

export type FilesMessage =
  | { readonly kind: "stat"; readonly stat: PathStat }
  | { readonly kind: "chunk"; readonly chunk: Uint8Array }
  | { readonly kind: "taken" }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string };

const CHUNK_BYTES = 256 * 1024;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;

/** File systems that the kernel makes up, and what is in memory: as dockerd, they are no part of a copy of what lies around them. */
const KERNELS = new Set([0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x1cd1, 0x19800202, 0x01021994]);

/** Who nobody in a user namespace is. */
const OVERFLOW_ID = 65_534;

const port = parentPort!;
const { root, task, credits, owners } = workerData as FilesWorkerData;
const credit = new Int32Array(credits);
const send = (message: FilesMessage) => port.postMessage(message);

function fail(error: unknown): void {
  const errno = errnoOf(error);
  const code: ErrorCode =
    errno === "ENOENT"
      ? "notFound"
      : errno === "ENOSPC"
        ? "resourceExhausted"
        : errno === "EROFS" || errno === "EACCES"
          ? "permissionDenied"
          : errno
            ? "invalidArgument"
            : codeOf(error);
  send({ kind: "failed", code, message: messageOf(error) });
}

try {
  confineThread(root);
  // What is made belongs to the namespace's root; for the host's there is no name in it. The thread stays so until its end.
  if (owners) actAsFsUser(onHost(owners.uids, 0), onHost(owners.gids, 0));
  if (task.kind === "stat") {
    send({ kind: "stat", stat: statOf(task.path) });
    send({ kind: "done" });
  } else if (task.kind === "read") {
    readTree(task.path, task.name);
    send({ kind: "done" });
  } else writeTree(task);
} catch (error) {
  fail(error);
}

function statOf(file: string): PathStat {
  const stat = exactFs.lstat(file);
  return {
    name: path.basename(file) || "/",
    size: stat.size,
    mode: goMode(stat.mode),
    mtimeMs: stat.mtimeMs,
    linkTarget: stat.isSymbolicLink() ? path.resolve(path.dirname(file), exactFs.readlink(file)) : "",
  };
}

/** Go's os.FileMode: permissions below, types and the three special bits far above. */
function goMode(mode: number): number {
  let result = mode & 0o777;
  const type = mode & S_IFMT;
  if (type === S_IFDIR) result += 2 ** 31;
  if (type === S_IFLNK) result += 2 ** 27;
  if (type === S_IFBLK) result += 2 ** 26;
  if (type === S_IFCHR) result += 2 ** 26 + 2 ** 21;
  if (type === S_IFIFO) result += 2 ** 25;
  if (type === 0o140000) result += 2 ** 24;
  if (mode & 0o4000) result += 2 ** 23;
  if (mode & 0o2000) result += 2 ** 22;
  if (mode & 0o1000) result += 2 ** 20;
  return result;
}

function emit(chunk: Buffer): void {
  while (Atomics.load(credit, 0) <= 0) Atomics.wait(credit, 0, 0);
  Atomics.sub(credit, 0, 1);
  send({ kind: "chunk", chunk });
}

function readTree(top: string, name: string): void {
  const links = new Map<string, string>();
  const visit = (file: string, as: string, above?: fs.Stats) => {
    const stat = exactFs.lstat(file);
    const type = tarType(stat.mode);
    // A socket has no place in an archive.
    if (type === undefined) return;
    const inode = `${stat.dev}:${stat.ino}`;
    const first = stat.nlink > 1 && type === "file" ? links.get(inode) : undefined;
    if (first === undefined && stat.nlink > 1) links.set(inode, as);
    const entry: TarEntry = {
      name: type === "directory" ? `${as}/` : as,
      type: first === undefined ? type : "hardlink",
      mode: stat.mode & 0o7777,
      uid: owners ? inContainer(owners.uids, stat.uid) : stat.uid,
      gid: owners ? inContainer(owners.gids, stat.gid) : stat.gid,
      sizeBytes: type === "file" && first === undefined ? stat.size : 0,
      mtime: stat.mtimeMs / 1000,
      linkName: first ?? (type === "symlink" ? exactFs.readlink(file) : ""),
      major: (stat.rdev >> 8) & 0xfff,
      minor: (stat.rdev & 0xff) | ((stat.rdev >>> 12) & 0xfff00),
      attributes: first === undefined ? attributesOf(file) : {},
    };
    if (as !== "") emit(tarHeader(entry));
    if (entry.type === "file") emitContent(file, stat.size);
    if (type === "directory" && !(above && stat.dev !== above.dev && isKernels(file))) {
      for (const child of exactFs.readdir(file).sort()) {
        try {
          visit(path.join(file, child), as === "" ? child : `${as}/${child}`, stat);
        } catch (error) {
          // Gone meanwhile: the container runs.
          if (errnoOf(error) !== "ENOENT") throw error;
        }
      }
    }
  };
  visit(top, name);
  emit(tarEnd());
}

/** proc, sysfs, cgroup, cgroup2, devpts, mqueue or tmpfs (statfs(2)). */
function isKernels(directory: string): boolean {
  return KERNELS.has(exactFs.statfs(directory).type);
}

/** Exactly as many bytes as the header said, whatever happens to the file meanwhile. */
function emitContent(file: string, sizeBytes: number): void {
  const fd = exactFs.open(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
  try {
    for (let left = sizeBytes; left > 0;) {
      const buffer = Buffer.alloc(Math.min(CHUNK_BYTES, left));
      const read = fs.readSync(fd, buffer);
      left -= buffer.length;
      if (read < buffer.length) buffer.fill(0, read);
      emit(buffer);
    }
    const padding = tarPadding(sizeBytes);
    if (padding.length > 0) emit(padding);
  } finally {
    fs.closeSync(fd);
  }
}

/** Attributes that a copy keeps: capabilities and the user's own. What the security module or the host's root says is not the archive's business. */
function isKept(name: string): boolean {
  return name === "security.capability" || name.startsWith("user.");
}

function attributesOf(file: string): Record<string, Buffer> {
  const kept: Record<string, Buffer> = {};
  for (const name of listAttributes(file).filter(isKept)) {
    const value = getAttribute(file, name);
    if (value) kept[name] = value;
  }
  return kept;
}

/** Like GNU tar, content counts more: on a file system without them the file is there without them. */
function setAttributes(file: string, attributes: TarEntry["attributes"]): void {
  for (const [name, value] of Object.entries(attributes).filter(([name]) => isKept(name))) {
    try {
      setAttribute(file, name, value);
    } catch (error) {
      if (codeOf(error) !== "notImplemented" && codeOf(error) !== "permissionDenied") throw error;
    }
  }
}

function onHost(mappings: readonly IdMapping[], id: number): number {
  const map = mappings.find(({ containerId, size }) => id >= containerId && id < containerId + size);
  if (!map)
    throw invalidArgument(`user or group ${id} has no name on the host: it is beyond the ranges of userns-remap`);
  return map.hostId + id - map.containerId;
}
function inContainer(mappings: readonly IdMapping[], id: number): number {
  const map = mappings.find(({ hostId, size }) => id >= hostId && id < hostId + size);
  return map ? map.containerId + id - map.hostId : OVERFLOW_ID;
}
function chownAsMapped(file: string, { uid, gid }: { uid: number; gid: number }): void {
  if (owners) exactFs.lchown(file, onHost(owners.uids, uid), onHost(owners.gids, gid));
  else exactFs.lchown(file, uid, gid);
}

function tarType(mode: number): TarType | undefined {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "character";
    case S_IFBLK:
      return "block";
    case S_IFIFO:
      return "fifo";
    default:
      return undefined;
  }
}

function writeTree(options: Extract<FilesTask, { kind: "write" }>): void {
  const target = exactFs.statIfAny(options.path);
  if (!target) throw notFound(`no such directory: ${options.path}`);
  if (!target.isDirectory()) throw invalidArgument("extraction point is not a directory");
  const times: Array<[string, number]> = [];
  let [fd, at] = [-1, 0];
  let current: { file: string; entry: TarEntry } | undefined;
  const parser = new TarParser({
    entry(entry) {
      const file = path.join(options.path, path.join("/", entry.name));
      current = { file, entry };
      if (file === options.path) return;
      exactFs.makeParents(path.dirname(file));
      prepare(file, entry, options.noOverwriteDirNonDir);
      fd = create(file, entry, options.path);
      at = 0;
    },
    data(chunk) {
      for (let done = 0; fd >= 0 && done < chunk.length;)
        done += fs.writeSync(fd, chunk, done, chunk.length - done, at + done);
      at += chunk.length;
    },
    hole(bytes) {
      at += bytes;
      if (fd >= 0) fs.ftruncateSync(fd, at);
    },
    entryEnd() {
      if (!current || current.file === options.path) return;
      const { file, entry } = current;
      const owner = options.owner ?? entry;
      if (entry.type !== "hardlink") chownAsMapped(file, owner);
      if (entry.type !== "hardlink") setAttributes(file, entry.attributes);
      if (entry.type !== "symlink" && entry.type !== "hardlink") exactFs.chmod(file, entry.mode);
      if (fd >= 0) fs.closeSync(fd);
      fd = -1;
      if (entry.type === "directory") times.push([file, entry.mtime]);
      else if (entry.type !== "hardlink") exactFs.lutimes(file, entry.mtime, entry.mtime);
    },
  });
  port.on("message", (chunk: Uint8Array | null) => {
    try {
      if (chunk) {
        parser.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
        send({ kind: "taken" });
        return;
      }
      parser.end();
      for (const [directory, mtime] of times.reverse()) exactFs.utimes(directory, mtime, mtime);
      send({ kind: "done" });
    } catch (error) {
      fail(error);
    }
  });
  send({ kind: "taken" });
}

/** Makes way for an entry. A directory stays when a directory comes. */
function prepare(file: string, entry: TarEntry, noOverwriteDirNonDir: boolean): void {
  const there = exactFs.lstatIfAny(file);
  if (!there) return;
  const isDirectory = entry.type === "directory";
  if (there.isDirectory() && isDirectory) return;
  if (noOverwriteDirNonDir && there.isDirectory() !== isDirectory) {
    throw invalidArgument(
      there.isDirectory()
        ? `cannot overwrite directory "${file}" with non-directory`
        : `cannot overwrite non-directory "${file}" with directory`,
    );
  }
  exactFs.removeTree(file);
}

/** A descriptor for a file's content, -1 for anything else. */
function create(file: string, entry: TarEntry, top: string): number {
  switch (entry.type) {
    case "directory":
      exactFs.makeParents(file);
      return -1;
    case "symlink":
      exactFs.symlink(entry.linkName, file);
      return -1;
    case "hardlink":
      exactFs.link(path.join(top, path.join("/", entry.linkName)), file);
      return -1;
    case "fifo":
      makeNode(file, S_IFIFO | entry.mode);
      return -1;
    case "character":
      makeNode(file, S_IFCHR | entry.mode, entry);
      return -1;
    case "block":
      makeNode(file, S_IFBLK | entry.mode, entry);
      return -1;
    case "file":
      return exactFs.open(file, fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL, 0o600);
  }
}
