import { rmSync } from "node:fs";
import { openEngine } from "../engine/index.ts";
import type { DaemonContext } from "./context.ts";

/**
 * Removes everything that an instance has: containers, links, rules, mounts, cgroups, and last its two directories. Works on what a killed
 * daemon left as well, since all of it bears the instance's name. The caller holds the instance's lock.
 */
export async function reset(context: DaemonContext): Promise<void> {
  const engine = await openEngine(context, context.config);
  await engine.destroyAll();
  await engine.close();
  for (const directory of [context.runtimeDir, context.dataDir]) rmSync(directory, { recursive: true, force: true });
}
