import { CAUGHT_UP, logLines } from "./log-reader.ts";

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

/** Milliseconds since the epoch, rounded as `parseTimestamp` does what a client says: who asks for a line's own time gets that line. */
function timeMs(time: string): number {
  const utc = dockerTime(time);
  return Number(`${Date.parse(`${utc.slice(0, 19)}Z`) / 1000}.${utc.slice(20, 29)}`) * 1000;
}

const MAX_TAIL = 1_000_000;

/**
 * The log of a container, of which `files` are the names that it may have, oldest first. With `follow`, goes on until `ended` is aborted and everything
 * written before that is read, or the signal is.
 */
export async function* readLogs(
  files: readonly string[],
  query: LogQuery,
  ended: AbortSignal,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  if (files.length === 0) return;
  const isLate = (entry: LogEntry) => query.untilMs !== undefined && timeMs(entry.time) > query.untilMs;
  const keep = query.tail === undefined ? undefined : Math.min(query.tail, MAX_TAIL);
  /** The last lines so far, until all that was there is read. */
  let tail: LogEntry[] | undefined = keep === undefined ? undefined : [];
  for await (const line of logLines(files, { follow: query.follow ?? false, ended, signal })) {
    if (line === CAUGHT_UP) {
      for (const entry of tail ?? []) {
        if (isLate(entry)) return;
        yield entry;
      }
      tail = undefined;
      continue;
    }
    const entry = parseLogLine(line);
    if (!entry || !query[entry.stream]) continue;
    if (query.sinceMs !== undefined && timeMs(entry.time) < query.sinceMs) continue;
    if (tail) {
      tail.push(entry);
      if (tail.length > keep!) tail.shift();
      continue;
    }
    if (isLate(entry)) return;
    yield entry;
  }
}
