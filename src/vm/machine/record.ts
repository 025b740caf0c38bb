import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { vm } from "../../api/index.ts";
import type { AttachedNetwork } from "./attached.ts";

/** A machine as it stands on disk, in `machine.json` of its folder. Everything else (which process, which links) is found in the kernel. */
export interface MachineRecord {
  readonly id: string;
  readonly name: string;
  /** What it was made from, in the words of the request. */
  readonly source: string;
  readonly uuid: string;
  /** cloud-init acts once for each. */
  readonly instanceId: string;
  readonly spec: vm.VmSpec;
  readonly state: vm.VmState;
  readonly reason?: string;
  /** `oci`: the guest runs berth's init and one process; `system`: an operating system that boots itself. */
  readonly guest: "oci" | "system";
  /** Files outside of the machine's folder that its disks are based on. */
  readonly bases: readonly string[];
  readonly createdMs: number;
  readonly startedMs?: number;
  readonly finishedMs?: number;
  readonly exitCode?: number;
  readonly accelerator?: "kvm" | "tcg";
  readonly addresses: readonly vm.VmAddress[];
  readonly publishedPorts: ReadonlyArray<vm.VmPort & { readonly hostPort: number }>;
  readonly snapshots: readonly SnapshotRecord[];
  /** Name of the snapshot that the disks stand on. */
  readonly snapshot?: string;
  /** Memory that it was given while it runs, other than at its start. */
  readonly grownMemoryBytes?: number;
  /** Disks have a bitmap of what changed since this backup. */
  readonly backedUp?: string;
  readonly lastBackupMs?: number;
  /** A namespace of somebody else's, whose card is the machine's beside its own networks. */
  readonly attached?: AttachedNetwork;
  readonly backupPolicy?: vm.VmBackupPolicy;
  /** Only the monitor runs, for work on the disks of a machine that is off. */
  readonly monitorOnly?: boolean;
  /** Not in the spec, which is shown. */
  readonly vncPassword?: string;
}

export interface SnapshotRecord {
  readonly name: string;
  readonly parent?: string;
  readonly createdMs: number;
  readonly memory: boolean;
  readonly description: string;
  /** The machine as it was: a memory image fits no other. */
  readonly spec: vm.VmSpec;
}

const FILE = "machine.json";

/** One folder for each machine: its record, disks, seed. A record is written beside, synced and renamed: a reader sees the old or the new one. */
export class MachineRecords {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  folder(id: string): string {
    return path.join(this.#folder, id);
  }

  async write(record: MachineRecord): Promise<void> {
    const folder = this.folder(record.id);
    await mkdir(folder, { recursive: true, mode: 0o711 });
    const file = path.join(folder, FILE);
    const handle = await open(`${file}.new`, "w", 0o600);
    try {
      await handle.writeFile(JSON.stringify(record, null, 2));
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(`${file}.new`, file);
  }

  /** Every machine; folders without a record (a creation that was cut off) are removed. */
  async readAll(): Promise<MachineRecord[]> {
    const found: MachineRecord[] = [];
    for (const id of await readdir(this.#folder).catch(() => [] as string[])) {
      const text = await readFile(path.join(this.folder(id), FILE), "utf8").catch(() => undefined);
      if (text === undefined) await rm(this.folder(id), { recursive: true, force: true });
      else found.push(JSON.parse(text) as MachineRecord);
    }
    return found;
  }

  async remove(id: string): Promise<void> {
    // First the record: what is left without one is garbage.
    await rm(path.join(this.folder(id), FILE), { force: true });
    await rm(this.folder(id), { recursive: true, force: true });
  }
}
