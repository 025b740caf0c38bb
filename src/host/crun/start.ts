import { existsSync } from "node:fs";
import { open, unlink } from "node:fs/promises";
import path from "node:path";
import { errnoOf } from "../../base/index.ts";

/**
 * What `crun start` does, without starting a program (4 ms): a created container's init waits at a FIFO for one byte. False when there is no such
 * FIFO: another runtime, another version, or started already.
 */
export async function releaseExecFifo(stateDir: string, id: string): Promise<boolean> {
  const fifo = execFifo(stateDir, id);
  try {
    // Without a reader this fails with ENXIO instead of waiting for ever.
    await using handle = await open(fifo, O_WRONLY_NONBLOCK);
    await unlink(fifo);
    await handle.write("\0");
    return true;
  } catch (error) {
    if (["ENOENT", "ENXIO", "ENOTDIR"].includes(errnoOf(error) ?? "")) return false;
    throw error;
  }
}

/** True while a container waits to be started. */
export function waitsToStart(stateDir: string, id: string): boolean {
  return existsSync(execFifo(stateDir, id));
}

const O_WRONLY_NONBLOCK = 0o1 | 0o4000;

function execFifo(stateDir: string, id: string): string {
  return path.join(stateDir, id, "exec.fifo");
}
