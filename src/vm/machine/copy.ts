import { rm } from "node:fs/promises";
import path from "node:path";
import { hasCode, randomHex } from "../../base/index.ts";
import { BACKUP_BITMAP, QemuImg } from "../disk/index.ts";
import type { MachineHost } from "./host.ts";
import { finishJobs } from "./jobs.ts";
import type { Machine } from "./machine.ts";

/** `plain`: everything; `full`: everything, and changes are counted from now; `incremental`: what changed since they were last counted. */
export type CopyKind = "plain" | "full" | "incremental";

const THAW_MS = 2_000;

const copyFile = (machine: Machine, name: string) => path.join(machine.disksFolder, `.copy-${name}.qcow2`);

/**
 * Copies all disks of a machine whose monitor runs, as they are at one moment, into files beside them: by disk. `begun` is called when writes may go on. Removes the files
 * when it fails.
 */
export async function copyDisks(
  host: MachineHost,
  machine: Machine,
  kind: CopyKind,
  begun: () => Promise<void>,
): Promise<ReadonlyMap<string, string>> {
  const { monitor, record, nodes } = machine;
  const files = new Map(nodes.map((name) => [name, copyFile(machine, name)]));
  const jobs: string[] = [];
  try {
    for (const { name, sizeBytes } of record.spec.disks) {
      await rm(files.get(name)!, { force: true });
      await new QemuImg().create(files.get(name)!, { sizeBytes });
    }
    await host.handOver(machine.disksFolder);
    const actions: unknown[] = [];
    for (const name of nodes) {
      const file = { driver: "file", filename: files.get(name) };
      await monitor.execute("blockdev-add", { driver: "qcow2", "node-name": `copy-${name}`, file });
      const id = `copy-${name}-${randomHex(host.context.random, 3)}`;
      jobs.push(id);
      actions.push(...copyActions(kind, name, id));
    }
    await monitor.execute("transaction", { actions });
    await begun();
    await finishJobs(monitor, host.context.clock, jobs);
  } catch (error) {
    for (const file of files.values()) await rm(file, { force: true });
    throw error;
  } finally {
    for (const name of nodes) await monitor.execute("blockdev-del", { "node-name": `copy-${name}` }).catch(() => {});
  }
  return files;
}

/**
 * Ends what a killed daemon left half done in a monitor that runs on: copies are given up with their files, other jobs come to their end, and the guest's file systems are
 * let go.
 */
export async function abandonCopies(host: MachineHost, machine: Machine): Promise<void> {
  const { monitor, nodes } = machine;
  await machine.agent.call("guest-fsfreeze-thaw", undefined, THAW_MS).catch(() => {});
  const jobs = await monitor.execute<Array<{ readonly id: string }>>("query-jobs");
  for (const { id } of jobs) if (id.startsWith("copy-")) await monitor.execute("job-cancel", { id }).catch(() => {});
  const ids = jobs.map(({ id }) => id);
  await finishJobs(monitor, host.context.clock, ids).catch((error: unknown) =>
    host.context.log.info("a machine's job did not succeed", { machine: machine.record.name, error }),
  );
  for (const name of nodes) {
    await monitor.execute("blockdev-del", { "node-name": `copy-${name}` }).catch(() => {});
    await rm(copyFile(machine, name), { force: true });
  }
}

function copyActions(kind: CopyKind, name: string, id: string): unknown[] {
  const data = { "job-id": id, device: name, target: `copy-${name}`, "auto-dismiss": false };
  if (kind === "incremental")
    return [{ type: "blockdev-backup", data: { ...data, sync: "incremental", bitmap: BACKUP_BITMAP } }];
  const copy = { type: "blockdev-backup", data: { ...data, sync: "full" } };
  if (kind === "plain") return [copy];
  return [{ type: "block-dirty-bitmap-add", data: { node: name, name: BACKUP_BITMAP, persistent: true } }, copy];
}

/** Lets the guest's file systems come to rest, where its agent can. `task` gets what ends the rest early; it ends with the task at last. */
export async function atRest<T>(
  machine: Machine,
  task: (rest: { readonly frozen: boolean; readonly thaw: () => Promise<void> }) => Promise<T>,
): Promise<T> {
  const frozen = await freeze(machine);
  const thaw = async () => {
    if (frozen) await machine.agent.call("guest-fsfreeze-thaw").catch(() => {});
  };
  try {
    return await task({ frozen, thaw });
  } finally {
    await thaw();
  }
}

async function freeze(machine: Machine): Promise<boolean> {
  if (machine.record.state !== "running") return false;
  try {
    await machine.agent.call("guest-fsfreeze-freeze");
    return true;
  } catch (error) {
    if (!hasCode(error, "unavailable", "notImplemented", "failedPrecondition", "deadlineExceeded")) throw error;
    return false;
  }
}
