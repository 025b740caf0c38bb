import { mkdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { unavailable, type InstanceContext } from "../../../../base/index.ts";
import type { Machine } from "../../../../vm/index.ts";
import type { JoinFile } from "../../../join.ts";
import type { OpenVms, VmRooms } from "../../vm-api.ts";
import { writePrivate } from "../api-server.ts";
import { packBerth } from "./pack-berth.ts";

/** What `berth node add --vm` asks for. */
export interface MachineSize {
  readonly cpus: number;
  readonly memoryBytes: number;
}

export interface NodeMachineOptions {
  readonly name: string;
  readonly size: MachineSize;
  /** Of the node's own network namespace, whose card becomes the machine's. */
  readonly netnsPath: string;
  readonly nameServers: readonly string[];
  /** Certificates are made anew for each start. */
  readonly invite: () => Promise<JoinFile>;
  readonly vms: OpenVms;
}

/** Of berth's own catalogue: Debian with what berth runs on. */
const IMAGE = "berth";
const DISK_BYTES = 16 * 2 ** 30;
const SHARE_TAG = "berth";
/** A guest that does not answer loses what it had not written. */
const SYNC_MS = 10_000;

/** The virtual machine that a node is: berth's own image, with this berth's program and a join file in a folder that it may read. */
export class NodeMachine {
  readonly #options: NodeMachineOptions;
  readonly #folder: string;

  constructor({ dataDir }: InstanceContext, options: NodeMachineOptions) {
    this.#options = options;
    this.#folder = path.join(dataDir, "nodes", options.name);
  }

  /** `plugIn` makes the namespace anew, with the addresses that become the guest's. Throws resourceExhausted, notFound or failedPrecondition before anything runs. */
  async start(plugIn: () => void): Promise<void> {
    const { netnsPath, nameServers, invite, vms } = this.#options;
    const rooms = await vms.open();
    const share = path.join(this.#folder, "share");
    await mkdir(share, { recursive: true, mode: 0o700 });
    await packBerth(share);
    const machine = this.#find(rooms) ?? (await this.#create(rooms, share));
    await writePrivate(path.join(share, "join.json"), `${JSON.stringify(await invite())}\n`);
    plugIn();
    await machine.attach({ netnsPath, network: "nodes", nameServers, searchDomains: [] }, { anew: true });
    await rooms.machines.start(machine);
  }

  #find({ machines }: VmRooms): Machine | undefined {
    return machines.all().find(({ record }) => record.name === this.#options.name);
  }

  async #create({ machines }: VmRooms, share: string): Promise<Machine> {
    const { name, size } = this.#options;
    return machines.create({
      name,
      source: IMAGE,
      ...size,
      diskBytes: DISK_BYTES,
      networks: [],
      shares: [{ source: share, tag: SHARE_TAG, readonly: true }],
      userData: await readFile(path.join(import.meta.dirname, "node-machine.yaml"), "utf8"),
    });
  }

  async isLive(): Promise<boolean> {
    return this.#find(await this.#options.vms.open())?.live ?? false;
  }

  /** Throws unavailable with the reason and the last lines of its console when the machine runs no more. */
  async refuseEnded(): Promise<void> {
    const machine = this.#find(await this.#options.vms.open());
    if (machine?.live) return;
    throw unavailable(
      `the machine ${this.#options.name} has ended: ${machine?.record.reason ?? "it was removed"}; its console ends with:\n${await this.lastLines()}`,
    );
  }

  async lastLines(): Promise<string> {
    const machine = this.#find(await this.#options.vms.open());
    return ((await machine?.lastLines()) ?? []).map((line) => `  ${line}`).join("\n");
  }

  /** The guest's disk is brought up to date first: image layers are not synced as they are written (docs/adr/0011). */
  async cutPower(): Promise<void> {
    const machine = this.#find(await this.#options.vms.open());
    if (!machine?.live) return;
    await machine.agent.exec(["/bin/sync"], { timeoutMs: SYNC_MS }).catch(() => {});
    await machine.stop(0);
  }

  async remove(): Promise<void> {
    const rooms = await this.#options.vms.open();
    const machine = this.#find(rooms);
    if (machine) await rooms.machines.remove(machine, true);
    await rm(this.#folder, { recursive: true, force: true });
  }
}
