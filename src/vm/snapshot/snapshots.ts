import type { vm } from "../../api/index.ts";
import { alreadyExists, failedPrecondition, invalidArgument, notFound } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { runJob } from "../machine/jobs.ts";
import type { MachineHost } from "../machine/host.ts";
import type { Machine } from "../machine/machine.ts";
import type { SnapshotRecord } from "../machine/record.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;
/** Each one makes every qcow2 header longer. */
const MAX_SNAPSHOTS = 128;
const OFFLINE_MS = 10 * 60_000;

/**
 * Snapshots stand inside the disks (qcow2's internal ones), all disks of a machine under one name; of a running machine with its memory. They form a tree: each
 * knows on which the machine stood when it was made.
 */
export async function takeSnapshot(
  host: MachineHost,
  machine: Machine,
  name: string,
  description = "",
): Promise<vm.VmSnapshot> {
  if (!NAME.test(name) || name.startsWith("berth-"))
    throw invalidArgument(`${JSON.stringify(name)} is no name for a snapshot`, { hint: "letters, digits, - _ and ." });
  return machine.exclusively(async () => {
    const { record } = machine;
    if (record.snapshots.some((known) => known.name === name))
      throw alreadyExists(`${record.name} has a snapshot ${name} already`);
    if (record.snapshots.length >= MAX_SNAPSHOTS)
      throw failedPrecondition(`${record.name} has ${MAX_SNAPSHOTS} snapshots; delete some first`);
    if (record.state === "saved")
      throw failedPrecondition(`${record.name} is saved`, { hint: "start or stop it first" });
    const memory = machine.live;
    if (memory) await takeLive(host, machine, name);
    else await offline(machine, "-c", name);
    const snapshot: SnapshotRecord = {
      name,
      ...(record.snapshot === undefined ? {} : { parent: record.snapshot }),
      createdMs: host.context.clock.nowMs(),
      memory,
      description,
      spec: record.spec,
    };
    await machine.change({ snapshots: [...record.snapshots, snapshot], snapshot: name });
    return { ...viewOf(snapshot), current: true };
  });
}

async function takeLive(host: MachineHost, machine: Machine, name: string): Promise<void> {
  machine.refuseShares("snapshotted");
  const job = { tag: name, vmstate: machine.nodes[0], devices: snapshotNodes(machine) };
  // A daemon that was killed may have left one of this name that nobody knows of.
  const leftover = { tag: name, devices: snapshotNodes(machine) };
  await runJob(machine.monitor, host.context.clock, "snapshot-delete", leftover).catch(() => {});
  await runJob(machine.monitor, host.context.clock, "snapshot-save", job);
}

const snapshotNodes = (machine: Machine) => machine.nodes;

/** Puts disks and, where it has some, memory back to a snapshot. What was written since is lost, unless another snapshot holds it. */
export async function revertTo(host: MachineHost, machine: Machine, name: string): Promise<void> {
  await machine.exclusively(async () => {
    const snapshot = find(machine, name);
    const wasLive = machine.live;
    if (wasLive) await machine.quit();
    else if (machine.record.state === "saved") await machine.stopNow(0);
    const { spec } = machine.record;
    await machine.change({ spec: { ...spec, ...hardwareOf(snapshot) }, snapshot: name });
    if (snapshot.memory) await machine.startNow({ resumeFrom: name });
    else {
      await machine.forgetChanges();
      await offline(machine, "-a", name);
      if (wasLive) await machine.startNow();
    }
  });
}

/** A memory image fits only the hardware with which it was made. */
function hardwareOf({ spec }: SnapshotRecord): Partial<vm.VmSpec> {
  const { cpus, maxCpus, memoryBytes, maxMemoryBytes, disks, firmware, vnc } = spec;
  return { cpus, maxCpus, memoryBytes, maxMemoryBytes, disks, firmware, vnc };
}

/** Deletes a snapshot; those made after it hang on its parent then. */
export async function deleteSnapshot(host: MachineHost, machine: Machine, name: string): Promise<void> {
  await machine.exclusively(async () => {
    const { record } = machine;
    const gone = find(machine, name);
    if (machine.live)
      await runJob(machine.monitor, host.context.clock, "snapshot-delete", {
        tag: name,
        devices: snapshotNodes(machine),
      });
    else await offline(machine, "-d", name);
    await machine.replace(withoutSnapshot(record, gone));
  });
}

/** Pure. */
export function withoutSnapshot(record: Machine["record"], gone: SnapshotRecord): Machine["record"] {
  const hang = <T extends object>(item: T, key: "parent" | "snapshot"): T => {
    if ((item as Record<string, unknown>)[key] !== gone.name) return item;
    const { [key]: _gone, ...rest } = item as Record<string, unknown>;
    return { ...rest, ...(gone.parent === undefined ? {} : { [key]: gone.parent }) } as T;
  };
  const snapshots = record.snapshots.filter(({ name }) => name !== gone.name).map((item) => hang(item, "parent"));
  return hang({ ...record, snapshots }, "snapshot");
}

export function listSnapshots(machine: Machine): vm.VmSnapshot[] {
  const { snapshots, snapshot } = machine.record;
  return snapshots.map((item) => ({ ...viewOf(item), current: item.name === snapshot }));
}

function viewOf({ spec: _spec, ...rest }: SnapshotRecord): Omit<vm.VmSnapshot, "current"> {
  return rest;
}

function find(machine: Machine, name: string): SnapshotRecord {
  const found = machine.record.snapshots.find((known) => known.name === name);
  if (!found)
    throw notFound(`${machine.record.name} has no snapshot ${name}`, {
      hint: `berth vm snapshot ls ${machine.record.name}`,
    });
  return found;
}

/** Of a machine that does not run: qemu-img's -c (create), -a (apply) and -d (delete), on each disk. */
async function offline(machine: Machine, action: "-a" | "-c" | "-d", name: string): Promise<void> {
  for (const disk of machine.nodes) {
    const argv = ["/usr/bin/qemu-img", "snapshot", "-q", action, name, machine.diskFile(disk)];
    const { code, stderr } = await run(argv, { timeoutMs: OFFLINE_MS });
    if (code !== 0) throw failedPrecondition(`the disk ${disk} refused: ${stderr.trim()}`);
  }
}
