/** Where builds keep what is theirs, and how leftovers of a killed daemon are found. */
import fs from "node:fs";
import path from "node:path";
import type { InstanceContext } from "../../../base/index.ts";
import type { Sandbox } from "../../container/index.ts";
import type { SnapshotStore } from "../../snapshot/index.ts";

/** Keys of snapshots, and ids of containers, that belong to a build. */
export const DRAFT_PREFIX = "build-";

export interface BuildPlaces {
  /** Cache records and cache mounts. */
  readonly state: string;
  /** Contexts; on the same file system as the layers. */
  readonly scratch: string;
  readonly mounts: string;
  readonly secrets: string;
  /** Small files that RUN steps mount. */
  readonly files: string;
}

export function buildPlaces({ dataDir, runtimeDir }: InstanceContext): BuildPlaces {
  return {
    state: path.join(dataDir, "build"),
    scratch: path.join(dataDir, "build", "scratch"),
    mounts: path.join(runtimeDir, "build", "mounts"),
    secrets: path.join(runtimeDir, "build", "secrets"),
    files: path.join(runtimeDir, "build", "files"),
  };
}

/** Removes mounts, drafts and files of builds that a former daemon didn't end. Called once, before any build. */
export async function reclaimBuilds(context: InstanceContext, snapshots: SnapshotStore): Promise<void> {
  const places = buildPlaces(context);
  for (const name of fs.existsSync(places.mounts) ? fs.readdirSync(places.mounts) : []) {
    await snapshots.unmount(path.join(places.mounts, name));
  }
  for (const { key } of snapshots.list()) if (key.startsWith(DRAFT_PREFIX)) await snapshots.remove(key);
  for (const directory of [places.mounts, places.secrets, places.files, places.scratch]) {
    await fs.promises.rm(directory, { recursive: true, force: true });
  }
}

/** Ends RUN steps of a killed daemon, which nobody waits for any more. */
export async function reclaimRuns(sandboxes: Iterable<Pick<Sandbox, "id" | "destroy">>): Promise<void> {
  for (const sandbox of sandboxes) if (RUN_ID.test(sandbox.id)) await sandbox.destroy();
}

const RUN_ID = new RegExp(`^${DRAFT_PREFIX}[0-9a-f]{32}$`);
