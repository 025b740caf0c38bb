import { watch, type FSWatcher } from "node:fs";
import { open, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { KiB, MiB } from "../../../base/index.ts";

/** Longer lines come in parts. */
const MAX_LINE_BYTES = 1 * MiB;
const READ_BYTES = 64 * KiB;

/** Stands between what was there when the reading began and what is written afterwards. */
export const CAUGHT_UP = Symbol("caught up");

export interface FollowOptions {
  /** Goes on until `ended` is aborted and everything written before that is read. */
  readonly follow: boolean;
  readonly ended: AbortSignal;
  readonly signal: AbortSignal;
}

/**
 * The whole lines, without their ends, of a log that may be rotated meanwhile: `files` are its names, oldest first, of which some may not be there.
 * A file is read to its end by the descriptor, whatever it is called by then, and the next is the one that stands after it; what was rotated away
 * before it could be read is left out.
 */
export async function* logLines(
  files: readonly string[],
  { follow, ended, signal }: FollowOptions,
): AsyncGenerator<Buffer | typeof CAUGHT_UP> {
  let wake: () => void = () => {};
  let changed = true;
  const touch = () => {
    changed = true;
    wake();
  };
  const watcher = follow ? watchLog(files.at(-1)!, touch) : undefined;
  for (const source of [ended, signal]) source.addEventListener("abort", touch, { once: true });
  let file: LogFile | undefined;
  let next: LogFile | undefined;
  let caughtUp = false;
  try {
    for (;;) {
      const last = ended.aborted;
      changed = false;
      // Asked before the reading: once there is a next file, nothing more is written into this one.
      next = await fileAfter(files, file);
      if (file) for await (const line of file.lines()) yield line;
      if (signal.aborted) return;
      if (next) {
        await file?.handle.close();
        file = next;
        next = undefined;
        continue;
      }
      if (!caughtUp) yield CAUGHT_UP;
      caughtUp = true;
      if (!follow || last) return;
      if (!changed && !ended.aborted) await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    watcher?.close();
    for (const source of [ended, signal]) source.removeEventListener("abort", touch);
    await file?.handle.close();
    await next?.handle.close();
  }
}

/** The log's folder is watched, since its name goes from file to file. */
function watchLog(file: string, onChange: () => void): FSWatcher | undefined {
  const name = path.basename(file);
  try {
    const watcher = watch(path.dirname(file), (_event, changed) => {
      if (changed === null || changed.startsWith(name)) onChange();
    });
    return watcher.on("error", () => {});
  } catch {
    return undefined;
  }
}

/** The file that follows the one which the caller holds open; without one, or when it is gone, the oldest. */
async function fileAfter(files: readonly string[], current: LogFile | undefined): Promise<LogFile | undefined> {
  if (current && (await inodeOf(files.at(-1)!)) === current.inode) return undefined;
  const inodes = await inodesOf(files);
  const at = current ? inodes.indexOf(current.inode) : -1;
  for (const [index, found] of inodes.entries()) {
    if (index <= at || found === undefined) continue;
    const handle = await open(files[index]!, "r").catch(() => undefined);
    if ((await handle?.stat({ bigint: true }))?.ino === found) return new LogFile(handle!, found);
    // Rotated between the two looks.
    await handle?.close();
    return await fileAfter(files, current);
  }
  return undefined;
}

function inodeOf(name: string): Promise<bigint | undefined> {
  return stat(name, { bigint: true }).then(
    ({ ino }) => ino,
    () => undefined,
  );
}

/** Which file bears each name. A rotation renames one after the other: only what two looks agree on was so at one moment. */
async function inodesOf(files: readonly string[]): Promise<ReadonlyArray<bigint | undefined>> {
  let seen = await Promise.all(files.map(inodeOf));
  for (;;) {
    const again = await Promise.all(files.map(inodeOf));
    if (again.every((inode, index) => inode === seen[index])) return again;
    seen = again;
  }
}

class LogFile {
  readonly handle: FileHandle;
  readonly inode: bigint;
  #position = 0;
  /** The beginning of a line whose end isn't written yet. */
  #rest = Buffer.alloc(0);

  constructor(handle: FileHandle, inode: bigint) {
    this.handle = handle;
    this.inode = inode;
  }

  /** Those that were completed since the last call. */
  async *lines(): AsyncGenerator<Buffer> {
    for (;;) {
      const { bytesRead, buffer } = await this.handle.read(
        Buffer.allocUnsafe(READ_BYTES),
        0,
        READ_BYTES,
        this.#position,
      );
      if (bytesRead === 0) return;
      this.#position += bytesRead;
      const read = buffer.subarray(0, bytesRead);
      let data = this.#rest.length > 0 ? Buffer.concat([this.#rest, read]) : read;
      for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
        yield data.subarray(0, end);
        data = data.subarray(end + 1);
      }
      this.#rest = data.length > MAX_LINE_BYTES ? Buffer.alloc(0) : Buffer.from(data);
    }
  }
}
