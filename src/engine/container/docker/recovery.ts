import type { Sandbox } from "../runtime/index.ts";
import { OWNED } from "./creator.ts";
import { OWNER_LABEL } from "./launcher.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { saveIfRoom, type ContainerParts } from "./parts.ts";
import { isRunning, type ContainerRecord } from "./record.ts";

/** Brings records and what the isolations found (`sandboxes`) together again after the daemon was down, however it ended. */
export async function recoverContainers(
  parts: ContainerParts,
  lifecycle: Lifecycle,
  sandboxes: readonly Sandbox[],
): Promise<void> {
  const { store, lock } = parts;
  const found = new Map(
    sandboxes.filter((sandbox) => sandbox.request.labels?.[OWNER_LABEL] === "docker").map((s) => [s.id, s]),
  );
  const records = store.list();
  await Promise.all(
    records.map((record) => lock.run(record.id, () => recoverOne(parts, lifecycle, record, found.get(record.id)))),
  );
  for (const [id, sandbox] of found) if (!store.byId(id)) await sandbox.destroy();
  await removeUnowned(parts);
  for (const record of records) {
    if (store.byId(record.id) && !isRunning(record)) void resume(parts, lifecycle, record);
  }
}

/** Snapshots that were made for a container of which no record was written any more. */
async function removeUnowned({ deps, store }: ContainerParts): Promise<void> {
  for (const { key, labels } of deps.snapshots.list()) {
    if (labels["berth.owner"] === OWNED["berth.owner"] && !store.byId(key)) await deps.snapshots.remove(key);
  }
}

async function recoverOne(
  parts: ContainerParts,
  lifecycle: Lifecycle,
  record: ContainerRecord,
  sandbox: Sandbox | undefined,
): Promise<void> {
  const container = sandbox?.container(record.id);
  if (isRunning(record) && container && container.state !== "created") {
    if (container.state === "paused" || container.state === "running") record.state.status = container.state;
    lifecycle.watch(record, container, sandbox!);
    return;
  }
  const wasRunning = isRunning(record);
  await parts.launcher.down(record, sandbox);
  if (wasRunning) {
    const finishedMs = parts.deps.ctx.clock.nowMs();
    record.state = { ...record.state, status: "exited", pid: 0, exitCode: 255, finishedMs };
    await saveIfRoom(parts, record);
  }
}

/** Restart policies at daemon start, and removals that were cut short. */
async function resume(parts: ContainerParts, lifecycle: Lifecycle, record: ContainerRecord): Promise<void> {
  try {
    const policy = record.hostConfig.RestartPolicy?.Name;
    const wanted = policy === "always" || (policy === "unless-stopped" && !record.stoppedByUser);
    const started = record.state.startedMs > 0;
    if (record.state.status === "removing") {
      await lifecycle.remove(record, record.state.removingVolumes ?? record.hostConfig.AutoRemove ?? false);
    } else if (record.hostConfig.AutoRemove && started) await lifecycle.remove(record, true);
    else if ((wanted && started) || record.state.status === "restarting") await lifecycle.start(record.id);
  } catch (error) {
    parts.deps.ctx.log.warn("a container could not be resumed", { container: record.id, error });
  }
}
