import fs, { type Dirent, type ReadStream, type Stats, type StatsFs } from "node:fs";
import { decodeName, encodeName } from "../../base/index.ts";

interface ReadStreamOptions {
  readonly highWaterMark?: number;
  readonly signal?: AbortSignal;
}

/**
 * The calls of node:fs for trees whose names somebody else chose: they take and give names as `decodeName` (base) writes them, so that names which
 * aren't UTF-8 keep their bytes. node's own would turn such a name into another one, under which there is no file. What is only done to
 * descriptors is node's.
 */
export const exactFs = {
  lstat: (path: string): Stats => fs.lstatSync(encodeName(path)),
  /** Undefined for what is not there. */
  lstatIfAny: (path: string): Stats | undefined => fs.lstatSync(encodeName(path), { throwIfNoEntry: false }),
  statIfAny: (path: string): Stats | undefined => fs.statSync(encodeName(path), { throwIfNoEntry: false }),
  open: (path: string, flags: string | number, mode?: number): number => fs.openSync(encodeName(path), flags, mode),
  createReadStream: (path: string, options: ReadStreamOptions = {}): ReadStream =>
    fs.createReadStream(encodeName(path), options),
  mkdir: (path: string, mode?: number): void => fs.mkdirSync(encodeName(path), mode),
  makeParents: (path: string): void => void fs.mkdirSync(encodeName(path), { recursive: true }),
  removeTree: (path: string): void => fs.rmSync(encodeName(path), { recursive: true, force: true }),
  unlink: (path: string): void => fs.unlinkSync(encodeName(path)),
  link: (from: string, to: string): void => fs.linkSync(encodeName(from), encodeName(to)),
  symlink: (target: string, path: string): void => fs.symlinkSync(encodeName(target), encodeName(path)),
  chmod: (path: string, mode: number): void => fs.chmodSync(encodeName(path), mode),
  lchown: (path: string, uid: number, gid: number): void => fs.lchownSync(encodeName(path), uid, gid),
  utimes: (path: string, atime: number, mtime: number): void => fs.utimesSync(encodeName(path), atime, mtime),
  lutimes: (path: string, atime: number, mtime: number): void => fs.lutimesSync(encodeName(path), atime, mtime),
  copyFileSync: (from: string, to: string, mode: number): void =>
    fs.copyFileSync(encodeName(from), encodeName(to), mode),
  copyFile: (from: string, to: string, mode: number): Promise<void> =>
    fs.promises.copyFile(encodeName(from), encodeName(to), mode),

  statfs: (path: string): StatsFs => fs.statfsSync(encodeName(path)),

  readlink(path: string): string {
    const target = fs.readlinkSync(encodeName(path));
    return isDoubtful(target) ? decodeName(fs.readlinkSync(encodeName(path), "buffer")) : target;
  },
  /** In no order. */
  readdir(path: string): string[] {
    const names = fs.readdirSync(encodeName(path));
    return names.some(isDoubtful) ? fs.readdirSync(encodeName(path), "buffer").map(decodeName) : names;
  },
  /** The same with what each is. */
  readdirTypes(path: string): Dirent[] {
    const entries = fs.readdirSync(encodeName(path), { withFileTypes: true });
    if (!entries.some(({ name }) => isDoubtful(name))) return entries;
    const exact = fs.readdirSync(encodeName(path), { withFileTypes: true, encoding: "buffer" });
    return exact.map((entry) => Object.assign(entry as unknown as Dirent, { name: decodeName(entry.name) }));
  },
};

/** node reads bytes that aren't UTF-8 as this character: such a name wants a second look. */
function isDoubtful(name: string): boolean {
  return name.includes("\uFFFD");
}
