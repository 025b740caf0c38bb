import { readdir } from "node:fs/promises";
import { type Sandbox } from "../container/index.ts";
import type { ContainerRecord } from "./records.ts";
import type { Endings } from "./endings.ts";
import { CRI_OWNER, type CriState } from "./state.ts";

/** Takes over what a former daemon left running, and removes what it left half made. `found` are the isolations' recovered sandboxes. */
export async function recoverRuntime(state: CriState, endings: Endings, found: readonly Sandbox[]): Promise<void> {
  await Promise.all([state.sandboxRecords.load(), state.containerRecords.load()]);
  for (const sandbox of found) {
    if (sandbox.request.labels?.[CRI_OWNER.key] !== state.ownerLabel) continue;
    if (state.sandboxRecords.get(sandbox.id)) state.sandboxes.set(sandbox.id, sandbox);
    else await sandbox.destroy();
  }
  for (const record of state.sandboxRecords.all()) {
    if (record.state === "SANDBOX_READY" && !state.sandboxes.has(record.id))
      await state.sandboxRecords.put({ ...record, state: "SANDBOX_NOTREADY" });
  }
  for (const record of state.containerRecords.all()) await recoverContainer(state, endings, record);
  await state.deps.network.recover(
    new Set(
      state.sandboxRecords
        .all()
        .filter((record) => record.state === "SANDBOX_READY")
        .map((record) => record.id),
    ),
  );
  await reclaim(state);
}

async function recoverContainer(state: CriState, endings: Endings, record: ContainerRecord): Promise<void> {
  const container = state.sandboxes.get(record.podSandboxId)?.container(record.id);
  if (container) return endings.watch(record, container);
  if (record.state === "CONTAINER_EXITED") return;
  await state.containerRecords.put({
    ...record,
    state: "CONTAINER_EXITED",
    exitCode: 255,
    reason: "Unknown",
    message: "the container's end was not seen: the machine or its monitor went down",
    finishedAt: state.now(),
  });
}

/** Removes what an interrupted create left: folders and snapshots without a record. */
async function reclaim(state: CriState): Promise<void> {
  for (const id of await readdir(state.runFolder).catch(() => []))
    if (!state.sandboxRecords.get(id)) await state.removeFolder(id);
  for (const { key } of state.deps.snapshots.list()) {
    const id = key.slice(state.snapshotPrefix.length);
    if (!key.startsWith(state.snapshotPrefix) || state.containerRecords.get(id)) continue;
    await state.removeBundle(id);
    await state.deps.snapshots.remove(key);
  }
}
