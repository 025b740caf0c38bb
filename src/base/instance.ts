import { createHash } from "node:crypto";
import path from "node:path";
import type { Clock } from "./clock.ts";
import type { Logger } from "./log.ts";
import type { Random } from "./random.ts";

/**
 * One berth on a machine. Several live side by side: everything on disk stands below `dataDir` and `runtimeDir`, and everything in the
 * kernel (links, nftables tables, cgroups, namespaces) bears a name made by `kernelName`, by which leftovers are found.
 */
export interface InstanceContext {
  /** 1 to 32 of `a-z 0-9 -`. */
  readonly instance: string;
  /** Survives reboots: images, volumes, the store. */
  readonly dataDir: string;
  /** Gone after a reboot: sockets, mounts, pid files. */
  readonly runtimeDir: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Four hex digits that tell instances apart where names must be short (links have 15 bytes). */
export function instanceTag(instance: string): string {
  return createHash("sha256").update(instance).digest("hex").slice(0, 4);
}

/**
 * A name for a thing in the kernel: `berth` + the instance's tag + what it is. At most 15 bytes for a `suffix` of at most 6, which is what a
 * link's name may have.
 */
export function kernelName(instance: string, suffix = ""): string {
  return `berth${instanceTag(instance)}${suffix}`;
}

/** Where an instance keeps its state, unless the environment says otherwise. */
export function instanceDirs(
  instance: string,
  env: Readonly<Record<string, string | undefined>>,
): { dataDir: string; runtimeDir: string } {
  return {
    dataDir: path.resolve(env["BERTH_DATA_DIR"] ?? `/var/lib/berth/${instance}`),
    runtimeDir: path.resolve(env["BERTH_RUNTIME_DIR"] ?? `/run/berth/${instance}`),
  };
}
