import { failedPrecondition, hasCode, messageOf, rfc3339, type Clock } from "../../base/index.ts";
import { type EventRecorder, type KubeClient, type Lister, type Stored } from "../../client/index.ts";
import type { VirtualMachineHost } from "./host.ts";
import { machineName, ownerReference } from "./plan.ts";
import { replacing } from "./status.ts";
import {
  FINALIZER,
  vmBackups,
  vmSnapshots,
  type CopyStatus,
  type VirtualMachine,
  type VirtualMachineBackup,
  type VirtualMachineSnapshot,
} from "./types.ts";

type Vm = Stored<VirtualMachine>;
type Again = { requeueAfterMs?: number } | void;

const RETRY_MS = 10_000;

export interface CopyParts {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly events: EventRecorder;
  readonly host: VirtualMachineHost;
  readonly vms: Lister<VirtualMachine>;
  readonly snapshots: Lister<VirtualMachineSnapshot>;
  readonly backups: Lister<VirtualMachineBackup>;
}

/** A snapshot's name inside of the disks: known before it is made, so that it is made once. */
const insideName = (snapshot: Stored<VirtualMachineSnapshot>): string => `k-${snapshot.metadata.uid}`;

/** The snapshot of a machine by the name of its object. Throws failedPrecondition when it is another machine's or not complete. */
export async function snapshotNameOf(client: KubeClient, vm: Vm, name: string, signal: AbortSignal): Promise<string> {
  const { namespace } = vm.metadata;
  const snapshot = await client.of(vmSnapshots).get({ name, namespace }, { signal });
  if (snapshot.spec.source.name !== vm.metadata.name || snapshot.status?.phase !== "Succeeded")
    throw failedPrecondition(`${name} is no complete snapshot of ${vm.metadata.name}`);
  return insideName(snapshot);
}

/** States inside a machine's disks, with its memory when it runs. They go with the machine. */
export class SnapshotReconciler {
  readonly #parts: CopyParts;

  constructor(parts: CopyParts) {
    this.#parts = parts;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<Again> {
    const { client, host, vms, snapshots, clock, events } = this.#parts;
    const snapshot = snapshots.get(key);
    if (!snapshot) return;
    const objects = client.of(vmSnapshots);
    const vm = vms.get(`${snapshot.metadata.namespace}/${snapshot.spec.source.name}`);
    if (snapshot.metadata.deletionTimestamp) {
      if (vm) await host.removeSnapshot(machineName(vm), insideName(snapshot));
      return release(objects, snapshot, signal);
    }
    if (isDone(snapshot.status)) return;
    if (!vm || !(await host.find(machineName(vm)))) {
      const message = `${snapshot.spec.source.name} has no machine yet`;
      await report(objects, snapshot, { phase: "Pending", message }, signal);
      return { requeueAfterMs: RETRY_MS };
    }
    if (!snapshot.metadata.finalizers?.includes(FINALIZER)) {
      const metadata = { finalizers: [FINALIZER], ownerReferences: [ownerReference(vm)] };
      await objects.patch(snapshot.metadata, { metadata }, { signal });
      return;
    }
    try {
      await report(objects, snapshot, { phase: "InProgress" }, signal);
      const made = await host.snapshot(machineName(vm), insideName(snapshot), key);
      const status = { phase: "Succeeded" as const, creationTime: rfc3339(made.createdMs), memory: made.memory };
      await report(objects, snapshot, status, signal);
      events.event(snapshot, "Normal", "Succeeded", `Took a snapshot of ${vm.metadata.name}`);
    } catch (error) {
      if (hasCode(error, "canceled")) throw error;
      const status = { phase: "Failed" as const, message: messageOf(error), creationTime: rfc3339(clock.nowMs()) };
      await report(objects, snapshot, status, signal);
    }
  }
}

/** Copies apart from the machine; they outlive it. */
export class BackupReconciler {
  readonly #parts: CopyParts;
  /** Made, and not yet written down in the object. */
  readonly #made = new Map<string, Awaited<ReturnType<VirtualMachineHost["backup"]>>>();

  constructor(parts: CopyParts) {
    this.#parts = parts;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<Again> {
    const { client, host, vms, backups, clock, events } = this.#parts;
    const backup = backups.get(key);
    if (!backup) return;
    const objects = client.of(vmBackups);
    if (backup.metadata.deletionTimestamp) return this.#remove(backup, signal);
    if (isDone(backup.status)) return;
    const vm = vms.get(`${backup.metadata.namespace}/${backup.spec.source.name}`);
    if (!vm || !(await host.find(machineName(vm)))) {
      const message = `${backup.spec.source.name} has no machine yet`;
      await report(objects, backup, { phase: "Pending", message }, signal);
      return { requeueAfterMs: RETRY_MS };
    }
    if (!backup.metadata.finalizers?.includes(FINALIZER)) {
      await objects.patch(backup.metadata, { metadata: { finalizers: [FINALIZER] } }, { signal });
      return;
    }
    const { uid } = backup.metadata;
    try {
      await report(objects, backup, { phase: "InProgress" }, signal);
      const made = this.#made.get(uid) ?? (await host.backup(machineName(vm), backup.spec.full ?? false));
      this.#made.set(uid, made);
      const { id, kind, consistency, createdMs } = made;
      const facts = { backup: id, type: kind, consistency, creationTime: rfc3339(createdMs) };
      await report(objects, backup, { phase: "Succeeded", ...facts }, signal);
      this.#made.delete(uid);
      events.event(backup, "Normal", "Succeeded", `Backed ${vm.metadata.name} up`);
    } catch (error) {
      if (hasCode(error, "canceled") || this.#made.has(uid)) throw error;
      const status = { phase: "Failed" as const, message: messageOf(error), creationTime: rfc3339(clock.nowMs()) };
      await report(objects, backup, status, signal);
    }
  }

  /** One that others are based on stays until those are gone. */
  async #remove(backup: Stored<VirtualMachineBackup>, signal: AbortSignal): Promise<Again> {
    const { client, host } = this.#parts;
    const objects = client.of(vmBackups);
    const id = backup.status?.backup;
    try {
      if (id !== undefined) await host.removeBackup(id);
    } catch (error) {
      if (!hasCode(error, "failedPrecondition")) throw error;
      await report(objects, backup, { ...backup.status, message: messageOf(error) }, signal);
      return { requeueAfterMs: RETRY_MS };
    }
    await release(objects, backup, signal);
  }
}

const isDone = (status: CopyStatus | undefined): boolean => status?.phase === "Succeeded" || status?.phase === "Failed";

type Copies<T extends VirtualMachineSnapshot | VirtualMachineBackup> = ReturnType<typeof KubeClient.prototype.of<T>>;

async function report<T extends VirtualMachineSnapshot | VirtualMachineBackup>(
  objects: Copies<T>,
  object: Stored<T>,
  status: NonNullable<T["status"]>,
  signal: AbortSignal,
): Promise<void> {
  const patch = { status: replacing(object.status, status) };
  await objects.patch(object.metadata, patch, { subresource: "status", signal });
}

async function release<T extends VirtualMachineSnapshot | VirtualMachineBackup>(
  objects: Copies<T>,
  { metadata }: Stored<T>,
  signal: AbortSignal,
): Promise<void> {
  const finalizers = metadata.finalizers?.filter((one) => one !== FINALIZER) ?? [];
  await objects.patch(metadata, { metadata: { finalizers } }, { signal }).catch((error: unknown) => {
    if (!hasCode(error, "notFound")) throw error;
  });
}
