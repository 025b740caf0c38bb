import { rename, rm, stat } from "node:fs/promises";
import type { DockerHostConfig } from "../../../api/index.ts";
import { invalidArgument } from "../../../base/index.ts";
import type { ContainerRecord } from "./record.ts";

const DEFAULT_LOCAL_LOG = { maxBytes: 20 * 1024 * 1024, files: 5 };

export interface LogLimits {
  readonly maxBytes: number | undefined;
  readonly files: number;
}

/** What a log may grow to: Docker's own defaults for `local`, none for `json-file`. Throws invalidArgument in dockerd's words. */
export function checkLogOptions(log: NonNullable<DockerHostConfig["LogConfig"]>): LogLimits {
  const config = log.Config ?? {};
  const isLocal = log.Type === "local";
  const refused = (why: string) => invalidArgument(`failed to initialize logging driver: ${why}`);
  const size = config["max-size"];
  const maxBytes = size === undefined ? undefined : bytesOf(size, isLocal ? 1024 : 1000);
  if (Number.isNaN(maxBytes)) throw refused(`invalid size: '${size}'`);
  if (maxBytes !== undefined && maxBytes <= 0) throw refused("max-size must be a positive number");
  const files = config["max-file"];
  if (files !== undefined && !/^[+-]?\d{1,9}$/.test(files))
    throw refused(`strconv.Atoi: parsing ${JSON.stringify(files)}: invalid syntax`);
  if (files !== undefined && Number(files) < 1) throw refused("max-file cannot be less than 1");
  const isPacked = ["1", "t", "T", "true", "TRUE", "True"].includes(config["compress"] ?? "");
  if (isPacked && !isLocal && (maxBytes === undefined || Number(files ?? 1) < 2))
    throw refused("compress cannot be true when max-file is less than 2 or max-size is not set");
  const defaults = isLocal ? DEFAULT_LOCAL_LOG : { maxBytes: undefined, files: 1 };
  return { maxBytes: maxBytes ?? defaults.maxBytes, files: Number(files ?? defaults.files) };
}

/** A size as go-units reads it: dockerd counts those of `json-file` in thousands. NaN for what is none. */
function bytesOf(size: string, kilo: 1000 | 1024): number {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(size) ?? [];
  return number === undefined ? NaN : Math.floor(Number(number) * kilo ** " kmgtp".indexOf(unit.toLowerCase() || " "));
}

/** Of a container that was made before its options were checked, what dockerd would refuse counts as not given. */
export function logLimits(record: ContainerRecord): LogLimits {
  try {
    return checkLogOptions(record.hostConfig.LogConfig ?? {});
  } catch {
    return { maxBytes: undefined, files: 1 };
  }
}

/** The names that the files of a log have, oldest first. Not all need be there. */
export function logFilesOf(record: ContainerRecord, current: string | undefined): string[] {
  if (current === undefined) return [];
  const older = logLimits(record).files - 1;
  return [...Array.from({ length: older }, (_, index) => `${current}.${older - index}`), current];
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
