import { closeSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import { MiB } from "../base/index.ts";

/** The daemon's log: one JSON object a line, at most `maxBytes` a file, `daemon.log.1` the one before, and so on. */
export interface LogFile {
  write(line: string): void;
  close(): void;
}

const MAX_LOG_BYTES = 10 * MiB;
const KEPT_LOG_FILES = 3;

export function openLogFile(file: string, { maxBytes = MAX_LOG_BYTES, kept = KEPT_LOG_FILES } = {}): LogFile {
  mkdirSync(path.dirname(file), { recursive: true });
  let fd = openSync(file, "a", 0o640);
  let size = fstatSync(fd).size;

  function rotate(): void {
    closeSync(fd);
    rmSync(`${file}.${kept}`, { force: true });
    for (let n = kept - 1; n >= 0; n--) {
      try {
        renameSync(n === 0 ? file : `${file}.${n}`, `${file}.${n + 1}`);
      } catch {
        // That generation does not exist yet.
      }
    }
    fd = openSync(file, "a", 0o640);
    size = 0;
  }

  return {
    write(line) {
      const length = Buffer.byteLength(line);
      if (size > 0 && size + length > maxBytes) rotate();
      try {
        writeSync(fd, line);
        size += length;
      } catch {
        // A full disk must not take the daemon down; the line is lost.
      }
    },
    close: () => closeSync(fd),
  };
}
