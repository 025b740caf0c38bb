import path from "node:path";
import { hasCode, KeyedMutex, messageOf, type InstanceContext } from "../../base/index.ts";
import type { Controller } from "../../controllers/index.ts";
import type { KubeClient } from "../../client/index.ts";
import { installResources } from "../custom-resources.ts";
import { Contents } from "./contents.ts";

export interface LocalContents {
  readonly volumes: Contents;
  readonly snapshots: Contents;
}

/** Volumes and snapshots of one instance. */
export function localContents(dataDir: string): LocalContents {
  const alone = new KeyedMutex();
  return {
    volumes: new Contents(path.join(dataDir, "local-volumes"), alone),
    snapshots: new Contents(path.join(dataDir, "local-snapshots"), alone),
  };
}

/** After what a cluster starts with. */
const FIRST_INSTALL_MS = 2_000;

/**
 * Defines snapshots and hands their controller over to be run. Nobody who starts a cluster waits for it: it resolves when they are served, or with nothing when
 * the signal ends it before.
 */
export async function installSnapshots(
  { clock, log }: InstanceContext,
  client: KubeClient,
  { volumes, snapshots }: LocalContents,
  signal: AbortSignal,
): Promise<Controller | undefined> {
  try {
    const [{ defaultSnapshotClass, snapshotDefinitions }, { localSnapshotsController }, types] = await Promise.all([
      import("./snapshots/crds.ts"),
      import("./snapshots/controller.ts"),
      import("./snapshots/types.ts"),
    ]);
    const { volumeSnapshotClasses, volumeSnapshotContents, volumeSnapshots } = types;
    await installResources(
      {
        client,
        clock,
        definitions: snapshotDefinitions(),
        resources: [volumeSnapshotClasses, volumeSnapshotContents, volumeSnapshots],
        firstAfterMs: FIRST_INSTALL_MS,
      },
      signal,
    );
    await client
      .of(volumeSnapshotClasses)
      .create(defaultSnapshotClass(), { signal })
      .catch((error: unknown) => {
        if (!hasCode(error, "alreadyExists")) throw error;
      });
    return localSnapshotsController({ client, volumes, contents: snapshots });
  } catch (error) {
    if (!signal.aborted) log.error("snapshots of volumes are not served", { error: messageOf(error) });
    return undefined;
  }
}
