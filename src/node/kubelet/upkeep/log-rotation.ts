import { createReadStream, createWriteStream } from "node:fs";
import { readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type { Clock, Logger } from "../../../base/index.ts";
import type { cri } from "../pod/imports.ts";

export interface LogRotationOptions {
  readonly runtime: Pick<cri.RuntimeService, "listContainers" | "containerStatus" | "reopenContainerLog">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly maxBytes: number;
  /** The live file included. */
  readonly maxFiles: number;
}

/** Upstream's containerLogMaxSize and containerLogMaxFiles. */
export const LOG_MAX_BYTES = 10 * 1024 * 1024;
export const LOG_MAX_FILES = 5;

/** Rotates the logs of running containers that have grown too large: rename, reopen, compress all but the newest, delete the oldest. */
export async function rotateLogs(options: LogRotationOptions): Promise<void> {
  const { runtime, log, maxBytes } = options;
  for (const { id } of await runtime.listContainers({ state: "CONTAINER_RUNNING" })) {
    const status = await runtime.containerStatus(id).catch(() => undefined);
    const file = status && (await stat(status.logPath).catch(() => undefined));
    if (!file || file.size <= maxBytes) continue;
    await rotate(status.logPath, id, options).catch((error: unknown) =>
      log.warn("could not rotate a container's log", { container: id, error }),
    );
  }
}

async function rotate(file: string, id: string, { runtime, clock, maxFiles }: LogRotationOptions): Promise<void> {
  const before = await rotated(file);
  for (const old of before.filter((name) => !name.endsWith(".gz"))) await compress(old);
  const kept = await rotated(file);
  // One of the kept files is the live one, one is made now.
  for (const old of kept.slice(0, Math.max(0, kept.length - (maxFiles - 2)))) await rm(old, { force: true });
  const target = `${file}.${timestamp(clock.nowMs())}`;
  await rename(file, target);
  try {
    await runtime.reopenContainerLog(id);
  } catch (error) {
    await rename(target, file);
    throw error;
  }
}

/** Oldest first: the names sort by time. */
async function rotated(file: string): Promise<string[]> {
  const prefix = `${path.basename(file)}.`;
  const names = await readdir(path.dirname(file));
  return names
    .filter((name) => name.startsWith(prefix) && !name.endsWith(".tmp"))
    .sort()
    .map((name) => path.join(path.dirname(file), name));
}

/** By way of a temporary name, so that a crash leaves either file whole. */
async function compress(file: string): Promise<void> {
  const pending = `${file}.tmp`;
  await pipeline(createReadStream(file), createGzip(), createWriteStream(pending));
  await rename(pending, `${file}.gz`);
  await rm(file, { force: true });
}

/** `20260102-030405.678`, so that rotations of one second keep their order. */
function timestamp(nowMs: number): string {
  return new Date(nowMs).toISOString().replaceAll(/[-:Z]/g, "").replace("T", "-");
}
