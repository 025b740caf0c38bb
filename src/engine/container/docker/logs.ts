import { open, stat, type FileHandle } from "node:fs/promises";
import { watch } from "node:fs";
import { KiB, MiB } from "../../../base/index.ts";

/** One line, or part of a line, of a container's output. */
export interface LogEntry {
  readonly time: string;
  readonly stream: "stdout" | "stderr";
  /** With its line end, unless the line goes on in the next entry. */
  readonly text: Buffer;
}

export interface LogQuery {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow?: boolean;
  /** Milliseconds since the epoch; fractions count. */
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** The last so many lines; undefined: all. */
  readonly tail?: number;
}

/** Longer lines come in parts. */
const MAX_LINE_BYTES = 1 * MiB;
const READ_BYTES = 64 * KiB;

/** Parses a line of CRI's format, `TIME STREAM P|F TEXT`; undefined for one that is none. */
export function parseLogLine(line: Buffer): LogEntry | undefined {
  const first = line.indexOf(0x20);
  const second = line.indexOf(0x20, first + 1);
  const third = line.indexOf(0x20, second + 1);
  if (first < 0 || second < 0 || third < 0) return undefined;
  const stream = line.toString("latin1", first + 1, second);
  if (stream !== "stdout" && stream !== "stderr") return undefined;
  const text = line.subarray(third + 1);
  const whole = line.toString("latin1", second + 1, third).startsWith("F");
  return {
    time: line.toString("latin1", 0, first),
    stream,
    text: whole ? Buffer.concat([text, NEWLINE]) : Buffer.from(text),
  };
}

const NEWLINE = Buffer.from("\n");

/** Docker writes UTC with `Z` and nine digits; conmon the local offset. */
export function dockerTime(time: string): string {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(time);
  if (!match) return time;
  const [, whole, fraction = "", zone] = match;
  const base = zone === "Z" || zone === "+00:00" ? whole! : new Date(`${whole}${zone}`).toISOString().slice(0, 19);
  return `${base}.${fraction.padEnd(9, "0")}Z`;
}

/** Milliseconds since the epoch, with the fraction's nanoseconds as far as a number holds them. */
function timeMs(time: string): number {
  const utc = dockerTime(time);
  return Date.parse(`${utc.slice(0, 19)}Z`) + Number(`0.${utc.slice(20, 29)}`) * 1000;
}

/**
 * The log of a container: rotated files (oldest first), then the current one. With `follow`, goes on until `ended` is aborted and everything
 * written before that is read, or the signal is.
 */
export async function* readLogs(
  files: readonly string[],
  query: LogQuery,
  ended: AbortSignal,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  const wanted = (entry: LogEntry) =>
    query[entry.stream] && (query.sinceMs === undefined || timeMs(entry.time) >= query.sinceMs);
  const current = files.at(-1)!;
  let position = 0;
  if (query.tail !== undefined) {
    const last: LogEntry[] = [];
    for (const file of files) {
      for await (const item of readFrom(file, 0)) {
        if (file === current) position = item.end;
        if (!wanted(item.entry) || query.tail === 0) continue;
        last.push(item.entry);
        if (last.length > Math.min(query.tail, MAX_TAIL)) last.shift();
      }
    }
    for (const entry of last) {
      if (query.untilMs !== undefined && timeMs(entry.time) > query.untilMs) return;
      yield entry;
    }
  } else {
    for (const file of files) {
      for await (const item of readFrom(file, 0)) {
        if (signal.aborted) return;
        if (file === current) position = item.end;
        if (query.untilMs !== undefined && timeMs(item.entry.time) > query.untilMs) return;
        if (wanted(item.entry)) yield item.entry;
      }
    }
  }
  if (query.follow) yield* follow(current, position, query, wanted, ended, signal);
}

const MAX_TAIL = 1_000_000;

async function* follow(
  file: string,
  start: number,
  query: LogQuery,
  wanted: (entry: LogEntry) => boolean,
  ended: AbortSignal,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  let position = start;
  let inode = (await stat(file).catch(() => undefined))?.ino;
  let wake: () => void = () => {};
  let changed = true;
  const touch = () => {
    changed = true;
    wake();
  };
  let watcher = watchFile(file, touch);
  for (const source of [ended, signal]) source.addEventListener("abort", touch, { once: true });
  try {
    for (;;) {
      const last = ended.aborted;
      changed = false;
      for await (const item of readFrom(file, position)) {
        position = item.end;
        if (signal.aborted) return;
        if (query.untilMs !== undefined && timeMs(item.entry.time) > query.untilMs) return;
        if (wanted(item.entry)) yield item.entry;
      }
      const now = await stat(file).catch(() => undefined);
      if (now && now.ino !== inode) {
        // Rotated: the name now means a new file.
        inode = now.ino;
        position = 0;
        watcher?.close();
        watcher = watchFile(file, touch);
        continue;
      }
      if (signal.aborted || last) return;
      if (!changed && !ended.aborted) await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    watcher?.close();
    for (const source of [ended, signal]) source.removeEventListener("abort", touch);
  }
}

function watchFile(file: string, onChange: () => void) {
  try {
    const watcher = watch(file, onChange);
    watcher.on("error", () => {});
    return watcher;
  } catch {
    return undefined;
  }
}

/** The complete lines of a file from a position, each with the position after it. A missing file has none. */
async function* readFrom(file: string, start: number): AsyncGenerator<{ entry: LogEntry; end: number }> {
  let handle: FileHandle;
  try {
    handle = await open(file, "r");
  } catch {
    return;
  }
  try {
    let rest = Buffer.alloc(0);
    let position = start;
    let restStart = start;
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      let data = rest.length > 0 ? Buffer.concat([rest, buffer.subarray(0, bytesRead)]) : buffer.subarray(0, bytesRead);
      for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
        const entry = parseLogLine(data.subarray(0, end));
        restStart += end + 1;
        data = data.subarray(end + 1);
        if (entry) yield { entry, end: restStart };
      }
      if (data.length > MAX_LINE_BYTES) {
        restStart += data.length;
        data = data.subarray(data.length);
      }
      rest = Buffer.from(data);
    }
  } finally {
    await handle.close();
  }
}
