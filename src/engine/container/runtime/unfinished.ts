/** A creation that a killed daemon left half done: monitor and runtime may still be at work on it, with nobody to tell. */
import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { signalProcess } from "../../../host/index.ts";
import type { Core } from "./core.ts";

const SIGKILL = 9;
const LOOK_MS = 5;
const MAX_LOOKS = 400;

/** Whether a bundle was handed to a runtime and never became a container. */
export function isUnfinished(core: Core, id: string): boolean {
  const bundle = core.layout.bundle(id);
  return existsSync(path.join(bundle, "config.json")) && !existsSync(path.join(bundle, "facts.json"));
}

/** Ends who works on the bundle, then removes what the runtime noted about it. Control groups are reclaimed apart. */
export async function clearUnfinished(core: Core, id: string): Promise<void> {
  const bundle = core.layout.bundle(id);
  for (let look = 0; look < MAX_LOOKS; look++) {
    const workers = await processesOn(bundle);
    if (workers.length === 0) break;
    for (const pid of workers) signalProcess(pid, SIGKILL);
    await core.ctx.clock.sleep(LOOK_MS);
  }
  const states = path.join(core.layout.root, "oci");
  for (const runtime of await readdir(states).catch(() => []))
    await rm(path.join(states, runtime, id), { recursive: true, force: true });
  await rm(path.join(bundle, "config.json"), { force: true });
}

/** Processes that have a bundle among their arguments: conmon, and the runtime until it becomes the container's own program. */
async function processesOn(bundle: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      return command.split("\0").includes(bundle) ? [Number(pid)] : [];
    }),
  );
  return found.flat();
}
