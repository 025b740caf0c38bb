import { existsSync } from "node:fs";
import { copyFile, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { vm } from "../../api/index.ts";
import { failedPrecondition, invalidArgument, notFound, randomHex } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { BACKUP_BITMAP as BITMAP, bitmapOf, sha256File } from "../disk/index.ts";
import { atRest, copyDisks } from "../machine/copy.ts";
import type { Machine } from "../machine/machine.ts";
import type { Machines } from "../machine/machines.ts";
import type { MachineRecord } from "../machine/record.ts";

const FILE = "backup.json";
/** Where UEFI keeps its variables. */
const FIRMWARE = "firmware";
const LONG_MS = 60 * 60_000;
/** A chain of increments is read as a whole at a restore; after so many a full backup is made again. */
const MAX_CHAIN = 14;

/** A backup on disk: what `berth vm backup ls` shows, and the machine as it was. */
interface BackupRecord extends vm.VmBackup {
  readonly machine: MachineRecord;
}

/**
 * Copies of machines' disks, apart from the machines. A full one stands alone; an incremental one holds what changed since its parent, known by a bitmap in the
 * disk (https://www.qemu.org/docs/master/interop/bitmaps.html), and its files are based on the parent's. Each disk's checksum is kept and looked at before a restore.
 */
export class Backups {
  readonly #machines: Machines;
  readonly #folder: string;

  constructor(machines: Machines) {
    this.#machines = machines;
    this.#folder = path.join(machines.host.dataDir, "backups");
  }

  /** Removes what a killed daemon left of backups and test restores that it had not finished. */
  async clean(): Promise<void> {
    for (const name of await readdir(this.#folder).catch(() => [] as string[]))
      if (!existsSync(path.join(this.#folder, name, FILE)))
        await rm(path.join(this.#folder, name), { recursive: true, force: true });
  }

  async list(vmName?: string): Promise<vm.VmBackup[]> {
    const all = await this.#records();
    return all.filter((backup) => vmName === undefined || backup.vm === vmName).map(viewOf);
  }

  /** Backs a machine up, running or not. Incremental where there is a backup that the disks' bitmaps go back to, unless `full`. */
  create(machine: Machine, options: { readonly full?: boolean } = {}): Promise<vm.VmBackup> {
    return machine.exclusively(async () => {
      const { clock, random } = this.#machines.host.context;
      const id = `${new Date(clock.nowMs()).toISOString().slice(0, 19).replaceAll(/[-:T]/g, "")}-${randomHex(random, 3)}`;
      const parent = options.full ? undefined : await this.#parentOf(machine);
      const folder = path.join(this.#folder, id);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const wasLive = machine.live;
      // Until this one is noted nobody may count on the bitmaps: a daemon that is killed meanwhile makes a full one next.
      const { backedUp: _parent, ...uncounted } = machine.record;
      await machine.replace(uncounted);
      try {
        if (!wasLive) await machine.startNow({ frozen: true });
        const frozen = await atRest(machine, async (rest) => {
          await this.#copy(machine, folder, parent, rest.thaw);
          return rest.frozen;
        });
        if (!wasLive) await machine.quit();
        if (machine.record.spec.firmware === "uefi")
          await copyFile(machine.diskFile(FIRMWARE), path.join(folder, `${FIRMWARE}.qcow2`));
        const backup: BackupRecord = {
          id,
          vm: machine.record.name,
          kind: parent ? "incremental" : "full",
          ...(parent ? { parent: parent.id } : {}),
          createdMs: clock.nowMs(),
          consistency: !wasLive ? "off" : frozen ? "agent" : "crash",
          disks: await Promise.all(
            machine.record.spec.disks.map(async ({ name, sizeBytes }) => ({
              name,
              sizeBytes,
              sha256: await sha256File(path.join(folder, `${name}.qcow2`)),
            })),
          ),
          machine: machine.record,
        };
        await writeRecord(folder, backup);
        await machine.change({ backedUp: id, lastBackupMs: backup.createdMs });
        return viewOf(backup);
      } catch (error) {
        await rm(folder, { recursive: true, force: true });
        if (!wasLive && machine.live) await machine.quit();
        throw error;
      }
    });
  }

  /** The newest backup of the chain that the disks' bitmaps count from. */
  async #parentOf(machine: Machine): Promise<BackupRecord | undefined> {
    const { backedUp } = machine.record;
    if (backedUp === undefined) return undefined;
    const parent = await this.#read(backedUp).catch(() => undefined);
    if (!parent || (await this.#chain(parent)).length >= MAX_CHAIN) return undefined;
    // A disk that grew since is copied whole.
    const same = parent.disks.every(
      ({ name, sizeBytes }) => machine.record.spec.disks.find((disk) => disk.name === name)?.sizeBytes === sizeBytes,
    );
    return same && parent.disks.length === machine.record.spec.disks.length && (await hasBitmaps(machine))
      ? parent
      : undefined;
  }

  async #copy(machine: Machine, folder: string, parent: BackupRecord | undefined, begun: () => Promise<void>) {
    if (!parent) await clearBitmaps(machine);
    const kind = parent ? "incremental" : "full";
    for (const [name, file] of await copyDisks(this.#machines.host, machine, kind, begun)) {
      const target = path.join(folder, `${name}.qcow2`);
      await rename(file, target);
      if (parent) await rebase(target, path.join(this.#folder, parent.id, `${name}.qcow2`));
    }
  }

  /** Compares every file of a backup, and of those it is based on, with its checksum. Throws failedPrecondition. */
  async verify(id: string): Promise<void> {
    for (const backup of await this.#chain(await this.#read(id))) {
      for (const { name, sha256 } of backup.disks) {
        const file = path.join(this.#folder, backup.id, `${name}.qcow2`);
        const found = await sha256File(file).catch(() => "missing");
        if (found !== sha256)
          throw failedPrecondition(
            `the backup ${backup.id} is damaged: ${name} has the checksum ${found}, not ${sha256}`,
            {
              hint: "use another backup",
            },
          );
      }
    }
  }

  /** SHA-256 of the content of a backup's disks as a machine would see it: that of a test restore. */
  async contentSums(id: string): Promise<ReadonlyArray<{ readonly name: string; readonly sha256: string }>> {
    const backup = await this.#read(id);
    const work = path.join(this.#folder, `.test-${randomHex(this.#machines.host.context.random, 4)}`);
    await mkdir(work, { recursive: true, mode: 0o700 });
    try {
      const sums: { name: string; sha256: string }[] = [];
      for (const { name } of backup.disks) {
        const raw = path.join(work, `${name}.raw`);
        await convert(path.join(this.#folder, backup.id, `${name}.qcow2`), "raw", raw);
        sums.push({ name, sha256: await sha256File(raw) });
        await rm(raw);
      }
      return sums;
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  /** A stopped machine from a backup, after its checksums were looked at. It keeps the identity that was backed up when no machine has it any more. */
  async restore(id: string, name?: string): Promise<Machine> {
    await this.verify(id);
    const backup = await this.#read(id);
    return this.#machines.adopt(backup.machine, name ?? backup.vm, async (disksFolder) => {
      for (const { name: disk } of backup.disks)
        await convert(
          path.join(this.#folder, backup.id, `${disk}.qcow2`),
          "qcow2",
          path.join(disksFolder, `${disk}.qcow2`),
        );
      if (backup.machine.spec.firmware === "uefi") {
        const firmware = `${FIRMWARE}.qcow2`;
        await copyFile(path.join(this.#folder, backup.id, firmware), path.join(disksFolder, firmware));
      }
    });
  }

  /** Throws failedPrecondition while others are based on it. */
  async remove(id: string): Promise<void> {
    const children = (await this.#records()).filter(({ parent }) => parent === id);
    if (children.length > 0)
      throw failedPrecondition(`the backup ${id} is what ${children.map((child) => child.id).join(", ")} is based on`, {
        hint: "delete those first",
      });
    const folder = path.join(this.#folder, (await this.#read(id)).id);
    await rm(path.join(folder, FILE), { force: true });
    await rm(folder, { recursive: true, force: true });
  }

  /** Removes what a policy does not keep any more: whole chains, so that no backup loses what it is based on. */
  async expire(machine: Machine, keep: number): Promise<void> {
    const own = (await this.#records()).filter((backup) => backup.machine.id === machine.id);
    for (const id of expired(own, keep)) await this.remove(id);
  }

  async #records(): Promise<BackupRecord[]> {
    const found: BackupRecord[] = [];
    for (const id of await readdir(this.#folder).catch(() => [] as string[])) {
      const text = await readFile(path.join(this.#folder, id, FILE), "utf8").catch(() => undefined);
      if (text !== undefined) found.push(JSON.parse(text) as BackupRecord);
    }
    return found.sort((a, b) => a.createdMs - b.createdMs);
  }

  async #read(id: string): Promise<BackupRecord> {
    if (!/^[\w-]+$/.test(id)) throw invalidArgument(`${JSON.stringify(id)} is no backup's id`);
    const text = await readFile(path.join(this.#folder, id, FILE), "utf8").catch(() => undefined);
    if (text === undefined) throw notFound(`there is no backup ${id}`, { hint: "berth vm backup ls" });
    return JSON.parse(text) as BackupRecord;
  }

  /** The backup and all it is based on. */
  async #chain(backup: BackupRecord): Promise<BackupRecord[]> {
    const chain = [backup];
    for (let next = backup.parent; next !== undefined; next = chain.at(-1)!.parent) chain.push(await this.#read(next));
    return chain;
  }
}

/**
 * Which backups of one machine are not kept, newest first: a chain goes when none of its members is among the `keep` newest. `backups` are sorted by time. Pure.
 */
export function expired(backups: ReadonlyArray<Pick<vm.VmBackup, "id" | "parent">>, keep: number): string[] {
  const parentOf = new Map(backups.map(({ id, parent }) => [id, parent]));
  const needed = new Set<string>();
  for (const { id } of backups.slice(-keep))
    for (let next: string | undefined = id; next !== undefined; next = parentOf.get(next)) needed.add(next);
  return backups
    .map(({ id }) => id)
    .filter((id) => !needed.has(id))
    .toReversed();
}

interface NamedNode {
  readonly "node-name": string;
  readonly "dirty-bitmaps"?: ReadonlyArray<{ readonly name: string; readonly inconsistent?: boolean }>;
}

async function bitmaps({ monitor, nodes }: Machine): Promise<Map<string, boolean>> {
  const found = new Map<string, boolean>();
  for (const node of await monitor.execute<NamedNode[]>("query-named-block-nodes", { flat: true })) {
    const bitmap = node["dirty-bitmaps"]?.find(({ name }) => name === BITMAP);
    if (bitmap && nodes.includes(node["node-name"])) found.set(node["node-name"], bitmap.inconsistent !== true);
  }
  return found;
}

/** A monitor that was killed leaves bitmaps that count nothing any more. Those of a machine that is off are looked at when it is started for the backup. */
async function hasBitmaps(machine: Machine): Promise<boolean> {
  if (!machine.live) return machine.record.state !== "crashed" && (await offlineBitmaps(machine));
  const found = await bitmaps(machine);
  return machine.nodes.every((node) => found.get(node) === true);
}

async function offlineBitmaps(machine: Machine): Promise<boolean> {
  const found = await Promise.all(machine.nodes.map((disk) => bitmapOf(machine.diskFile(disk))));
  return found.every((bitmap) => bitmap === "good");
}

async function clearBitmaps(machine: Machine): Promise<void> {
  for (const node of (await bitmaps(machine)).keys())
    await machine.monitor.execute("block-dirty-bitmap-remove", { node, name: BITMAP });
}

async function rebase(file: string, base: string): Promise<void> {
  const { code, stderr } = await run([
    "/usr/bin/qemu-img",
    "rebase",
    "-u",
    "-f",
    "qcow2",
    "-b",
    base,
    "-F",
    "qcow2",
    file,
  ]);
  if (code !== 0) throw failedPrecondition(`the backup cannot be based on its parent: ${stderr.trim()}`);
}

async function convert(source: string, format: string, target: string): Promise<void> {
  const argv = ["/usr/bin/qemu-img", "convert", "-f", "qcow2", "-O", format, source, target];
  const { code, stderr } = await run(argv, { timeoutMs: LONG_MS });
  if (code !== 0) throw failedPrecondition(`the backup cannot be read: ${stderr.trim()}`);
}

async function writeRecord(folder: string, backup: BackupRecord): Promise<void> {
  const file = path.join(folder, FILE);
  const handle = await open(`${file}.new`, "w", 0o600);
  try {
    await handle.writeFile(JSON.stringify(backup, null, 2));
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}

function viewOf({ machine: _machine, ...view }: BackupRecord): vm.VmBackup {
  return view;
}
