import { messageOf } from "./errors.ts";
import { systemClock, type Clock } from "./clock.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, unknown>>;

/** Structured, one JSON object a line. Messages are constant sentences; what varies goes into fields. Never secrets. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to each line. */
  with(fields: LogFields): Logger;
}

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface LoggerOptions {
  readonly write: (line: string) => void;
  /** What is less than it is not written; a function where it may change. */
  readonly level?: LogLevel | (() => LogLevel);
  readonly clock?: Clock;
  readonly fields?: LogFields;
}

export function createLogger(options: LoggerOptions): Logger {
  const { write, level = "info", clock = systemClock, fields = {} } = options;
  const emit = (at: LogLevel, message: string, extra: LogFields = {}) => {
    if (RANK[at] < RANK[typeof level === "function" ? level() : level]) return;
    const time = new Date(clock.nowMs()).toISOString();
    write(JSON.stringify({ time, level: at, message, ...fields, ...plain(extra) }) + "\n");
  };
  return {
    debug: (message, extra) => emit("debug", message, extra),
    info: (message, extra) => emit("info", message, extra),
    warn: (message, extra) => emit("warn", message, extra),
    error: (message, extra) => emit("error", message, extra),
    with: (more) => createLogger({ ...options, fields: { ...fields, ...more } }),
  };
}

export const silentLogger: Logger = createLogger({ write: () => {}, level: "error" });

/** Errors don't survive JSON.stringify; their message, code and causes do. */
function plain(fields: LogFields): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [key, value instanceof Error ? chain(value) : value]),
  );
}

function chain(error: Error): string {
  return error.cause === undefined
    ? messageOf(error)
    : `${error.message}: ${error.cause instanceof Error ? chain(error.cause) : messageOf(error.cause)}`;
}
