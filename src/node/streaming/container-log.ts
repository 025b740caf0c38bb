import { open, readdir, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { createGunzip } from "node:zlib";
import { createReadStream } from "node:fs";
import type { Clock } from "../../base/index.ts";

export interface LogOptions {
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly tailLines?: number;
  readonly limitBytes?: number;
  /** Lines from this time on, milliseconds since the epoch. */
  readonly sinceMs?: number;
  readonly stream?: "stdout" | "stderr";
  readonly signal?: AbortSignal;
  /** Whether the container may still write. Asked when a follower has read everything. */
  readonly running: () => Promise<boolean>;
}

const CHUNK_BYTES = 64 * 1024;
/** A line longer than this is handed over in pieces, as the runtime wrote it. */
const POLL_MS = 100;

/**
 * A container's log in the CRI format (`TIME stdout|stderr P|F text`), its rotated files first, as `kubectl logs` wants it: text alone or with
 * timestamps. Ends at the end, or with `follow` when the container has ended and all is read.
 */
export async function* readContainerLog(
  file: string,
  options: LogOptions,
  clock: Clock,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = options.limitBytes ?? Number.POSITIVE_INFINITY;
  for await (const entry of entries(file, options, clock)) {
    if (left <= 0) return;
    const bytes = Buffer.from((options.timestamps ? `${entry.time} ` : "") + entry.text);
    yield bytes.subarray(0, left);
    left -= bytes.length;
  }
}

interface Entry {
  readonly time: string;
  readonly text: string;
}

async function* entries(file: string, options: LogOptions, clock: Clock): AsyncGenerator<Entry, void, undefined> {
  const wanted = (line: string): Entry | undefined => {
    const match = /^(\S+) (stdout|stderr) ([PF])(?:\S*) ?(.*)$/s.exec(line);
    if (!match) return undefined;
    if (options.stream && match[2] !== options.stream) return undefined;
    if (options.sinceMs !== undefined && Date.parse(match[1]!) < options.sinceMs) return undefined;
    return { time: match[1]!, text: match[4]! + (match[3] === "F" ? "\n" : "") };
  };
  if (options.tailLines === undefined) {
    for (const old of await rotated(file)) for await (const line of linesOf(old)) yield* some(wanted(line));
    for await (const line of tailLines(file, 0, options, clock)) yield* some(wanted(line));
    return;
  }
  // The last lines are found by reading through: logs are bounded by rotation, and only the newest file is tailed, as upstream does.
  const kept: Entry[] = [];
  let offset = 0;
  const handle = await open(file, "r").catch(() => undefined);
  if (handle) {
    try {
      for await (const { line, end } of linesFrom(handle, 0)) {
        offset = end;
        const entry = wanted(line);
        if (entry) kept.push(entry);
        if (kept.length > options.tailLines) kept.shift();
      }
    } finally {
      await handle.close();
    }
  }
  yield* kept;
  if (options.follow) for await (const line of tailLines(file, offset, options, clock)) yield* some(wanted(line));
}

function* some(entry: Entry | undefined): Generator<Entry> {
  if (entry) yield entry;
}

/** Lines of the live file from `offset`; with follow, also those yet to come, across rotation. */
async function* tailLines(
  file: string,
  offset: number,
  options: LogOptions,
  clock: Clock,
): AsyncGenerator<string, void, undefined> {
  let handle = await open(file, "r").catch(() => undefined);
  try {
    for (;;) {
      // Asked before reading: what is written before the container ends is then read for sure.
      const running = options.follow && !options.signal?.aborted && (await options.running());
      if (handle) {
        for await (const { line, end } of linesFrom(handle, offset)) {
          offset = end;
          yield line;
        }
      }
      if (options.signal?.aborted || !running) return;
      await clock.sleep(POLL_MS, options.signal).catch(() => {});
      const fresh = await reopened(file, handle);
      if (fresh) {
        await handle?.close();
        handle = fresh;
        offset = 0;
      }
    }
  } finally {
    await handle?.close();
  }
}

/** The new file where the log was rotated (or has appeared), else undefined. */
async function reopened(file: string, handle: FileHandle | undefined): Promise<FileHandle | undefined> {
  const fresh = await open(file, "r").catch(() => undefined);
  if (!fresh || !handle) return fresh;
  const [now, before] = await Promise.all([fresh.stat(), handle.stat()]);
  if (now.ino !== before.ino) return fresh;
  await fresh.close();
  return undefined;
}

/** Whole lines, each with the offset behind it. */
async function* linesFrom(
  handle: FileHandle,
  from: number,
): AsyncGenerator<{ line: string; end: number }, void, undefined> {
  let offset = from;
  let pending = Buffer.alloc(0);
  for (;;) {
    const { bytesRead, buffer } = await handle.read(
      Buffer.allocUnsafe(CHUNK_BYTES),
      0,
      CHUNK_BYTES,
      offset + pending.length,
    );
    if (bytesRead === 0) return;
    pending = Buffer.concat([pending, buffer.subarray(0, bytesRead)]);
    let start = 0;
    for (let at = pending.indexOf(10); at >= 0; at = pending.indexOf(10, start)) {
      yield { line: pending.toString("utf8", start, at), end: offset + at + 1 };
      start = at + 1;
    }
    offset += start;
    pending = pending.subarray(start);
  }
}

/** Rotated files, oldest first: `0.log.20260101-120000`, perhaps compressed. */
async function rotated(file: string): Promise<string[]> {
  const prefix = `${path.basename(file)}.`;
  const names = await readdir(path.dirname(file)).catch(() => []);
  return names
    .filter((name) => name.startsWith(prefix) && !name.endsWith(".tmp"))
    .sort()
    .map((name) => path.join(path.dirname(file), name));
}

async function* linesOf(file: string): AsyncGenerator<string, void, undefined> {
  const raw = createReadStream(file);
  let pending = "";
  for await (const chunk of file.endsWith(".gz") ? raw.pipe(createGunzip()) : raw) {
    const lines = (pending + (chunk as Buffer).toString()).split("\n");
    pending = lines.pop()!;
    yield* lines;
  }
}
