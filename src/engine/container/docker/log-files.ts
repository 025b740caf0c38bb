import { rename, rm, stat } from "node:fs/promises";
import type { ContainerRecord } from "./record.ts";

const DEFAULT_LOCAL_LOG = { maxBytes: 20 * 1024 * 1024, files: 5 };

/** `max-size` and `max-file`; Docker's own defaults for `local`. */
export function logLimits(record: ContainerRecord): { maxBytes: number | undefined; files: number } {
  const { Type, Config } = record.hostConfig.LogConfig ?? {};
  const defaults = Type === "local" ? DEFAULT_LOCAL_LOG : { maxBytes: undefined, files: 1 };
  const size = /^(\d+)([kmg]?)b?$/i.exec(Config?.["max-size"] ?? "");
  const unit = { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[size?.[2]?.toLowerCase() ?? ""] ?? 1;
  return {
    maxBytes: size ? Number(size[1]) * unit : defaults.maxBytes,
    files: Math.max(1, Number(Config?.["max-file"] ?? defaults.files) || 1),
  };
}

/** The files of a log, oldest first. */
export async function logFilesOf(record: ContainerRecord, current: string | undefined): Promise<string[]> {
  if (current === undefined) return [];
  const { files } = logLimits(record);
  const older = Array.from({ length: files - 1 }, (_, index) => `${current}.${files - 1 - index}`);
  const there = await Promise.all(older.map(exists));
  return [...older.filter((_, index) => there[index]), current];
}

/** Moves a log that has grown beyond its limit out of the way; `reopen` makes the monitor begin a new file. Answers the size found. */
export async function rotateLog(record: ContainerRecord, file: string, reopen: () => Promise<void>): Promise<number> {
  const { maxBytes, files } = logLimits(record);
  const sizeBytes = (await stat(file).catch(() => undefined))?.size ?? 0;
  if (maxBytes === undefined || sizeBytes < maxBytes) return sizeBytes;
  for (let index = files - 1; index > 1; index--) {
    await rename(`${file}.${index - 1}`, `${file}.${index}`).catch(() => {});
  }
  if (files > 1) await rename(file, `${file}.1`);
  else await rm(file, { force: true });
  await reopen().catch(() => {});
  return sizeBytes;
}

function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
