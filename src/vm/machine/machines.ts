import { mkdir, readdir, rmdir } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { vm } from "../../api/index.ts";
import {
  alreadyExists,
  conflict,
  invalidArgument,
  KeyedMutex,
  notFound,
  type InstanceContext,
} from "../../base/index.ts";
import { CACHE } from "../guest/index.ts";
import { Catalogue } from "../image/index.ts";
import { refuseOvercommit } from "./admission.ts";
import { adviceFor } from "./advice.ts";
import { createMachine, restoredRecord } from "./create.ts";
import { MachineHost, type MachineEngine } from "./host.ts";
import { Machine } from "./machine.ts";
import { sandboxId } from "./network.ts";
import type { MachineRecord } from "./record.ts";
import { readStats, type StatsSample } from "./stats.ts";

const IMAGE_CACHE = path.join(CACHE, "images");
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;

/** Images whose files were being copied when a former daemon ended. */
async function removeMounts({ context, engine }: MachineHost): Promise<void> {
  for (const name of await readdir(context.runtimeDir)) {
    if (!name.startsWith("image-")) continue;
    const folder = path.join(context.runtimeDir, name);
    await engine.snapshots.unmount(folder).catch(() => {});
    // Never what is in it, should it still be mounted.
    await rmdir(folder).catch(() => {});
  }
}

/** All machines of an instance. */
export class Machines {
  readonly host: MachineHost;
  readonly catalogue: Catalogue;
  readonly #machines = new Map<string, Machine>();
  readonly #names = new KeyedMutex();
  /** The last look at each machine, by which rates are told. */
  readonly #samples = new Map<string, StatsSample>();

  private constructor(context: InstanceContext, engine: MachineEngine) {
    this.host = new MachineHost(context, engine);
    this.catalogue = new Catalogue(path.join(this.host.dataDir, "images"), IMAGE_CACHE);
  }

  /** Finds again what an earlier daemon left running, and what is on disk. */
  static async open(
    context: InstanceContext,
    engine: MachineEngine,
    options: { readonly autostart?: boolean } = {},
  ): Promise<Machines> {
    const machines = new Machines(context, engine);
    await machines.host.open();
    await removeMounts(machines.host);
    const [records, programs] = await Promise.all([machines.host.records.readAll(), machines.host.recover()]);
    for (const record of records) machines.#machines.set(record.id, new Machine(machines.host, record));
    await Promise.all(
      [...machines.#machines.values()].map((machine) => machine.recover(programs.get(machine.id) ?? [])),
    );
    for (const id of programs.keys()) if (!machines.#machines.get(id)?.live) await machines.host.destroy(id);
    if (options.autostart !== false) machines.#autostart();
    return machines;
  }

  #autostart(): void {
    for (const machine of this.#machines.values()) {
      const { spec, state, name } = machine.record;
      if (!spec.autostart || machine.live || state === "created") continue;
      void this.start(machine).catch((error: unknown) =>
        this.host.context.log.error("a machine did not start by itself", { machine: name, error }),
      );
    }
  }

  /** By name, id, or an unambiguous beginning of the id. */
  find(reference: string): Machine {
    const all = [...this.#machines.values()];
    const named = all.find(({ record }) => record.name === reference || record.id === reference);
    if (named) return named;
    const begun = reference.length >= 2 ? all.filter(({ id }) => id.startsWith(reference)) : [];
    if (begun.length > 1) throw invalidArgument(`${reference} is the beginning of several machines' ids`);
    if (begun.length === 0) throw notFound(`there is no machine ${reference}`, { hint: "berth vm ls lists them" });
    return begun[0]!;
  }

  all(): Machine[] {
    return [...this.#machines.values()].sort((a, b) => a.record.createdMs - b.record.createdMs);
  }

  create(request: vm.CreateVmRequest, signal?: AbortSignal): Promise<Machine> {
    return this.#names.run(request.name, async () => {
      this.#refuseTaken(request.name);
      const record = await createMachine({
        host: this.host,
        catalogue: this.catalogue,
        find: (name) => this.find(name),
        request,
        ...(signal ? { signal } : {}),
      });
      const machine = new Machine(this.host, record);
      this.#machines.set(record.id, machine);
      return machine;
    });
  }

  /** A machine from a record and disks that `fill` makes: a restored one. It is the same one when that is gone, else a clone with an identity of its own. */
  adopt(record: MachineRecord, name: string, fill: (disksFolder: string) => Promise<void>): Promise<Machine> {
    return this.#names.run(name, async () => {
      this.#refuseTaken(name);
      const { random, clock } = this.host.context;
      const taken = this.#machines.has(record.id);
      const restored = restoredRecord(record, name, clock.nowMs(), taken ? random : undefined);
      const machine = new Machine(this.host, restored);
      await mkdir(machine.disksFolder, { recursive: true, mode: 0o700 });
      try {
        await fill(machine.disksFolder);
        await this.host.handOver(machine.disksFolder);
        await this.host.records.write(restored);
      } catch (error) {
        await this.host.records.remove(restored.id);
        throw error;
      }
      this.#machines.set(restored.id, machine);
      return machine;
    });
  }

  async start(machine: Machine): Promise<void> {
    const running = this.all().filter((other) => other.live && other !== machine);
    refuseOvercommit(
      { memoryBytes: os.totalmem(), cpus: os.availableParallelism() },
      running.map(({ record }) => record.spec),
      machine.record.spec,
    );
    await machine.start();
  }

  async rename(machine: Machine, name: string): Promise<void> {
    if (!NAME.test(name)) throw invalidArgument(`${JSON.stringify(name)} is no name for a machine`);
    await this.#names.run(name, async () => {
      this.#refuseTaken(name);
      await machine.change({ name });
      this.host.engine.networks.rename(sandboxId(machine.id), name);
    });
  }

  async remove(machine: Machine, force: boolean): Promise<void> {
    const { name, state } = machine.record;
    if (machine.live && !force)
      throw conflict(`the machine ${name} is ${state}`, {
        hint: `berth vm stop ${name}, or berth vm rm --force ${name}`,
      });
    if (machine.live) await machine.stop(0);
    await machine.exclusively(() => machine.remove());
    this.#machines.delete(machine.id);
    this.#samples.delete(machine.id);
  }

  async stats(machine: Machine): Promise<vm.VmStats> {
    const { stats, sample } = await readStats(this.host, machine, this.#samples.get(machine.id));
    this.#samples.set(machine.id, sample);
    return stats;
  }

  async view(machine: Machine): Promise<vm.VmView> {
    const { record } = machine;
    const { clock } = this.host.context;
    const stats = machine.live ? await this.stats(machine).catch(() => undefined) : undefined;
    return {
      id: record.id,
      name: record.name,
      source: record.source,
      state: record.state,
      ...(record.reason ? { reason: record.reason } : {}),
      spec: record.spec,
      addresses: record.addresses,
      ports: machine.live ? record.publishedPorts : [],
      ...(machine.live && record.accelerator ? { accelerator: record.accelerator } : {}),
      createdMs: record.createdMs,
      ...(record.startedMs === undefined ? {} : { startedMs: record.startedMs }),
      ...(record.finishedMs === undefined || machine.live ? {} : { finishedMs: record.finishedMs }),
      ...(record.exitCode === undefined || machine.live ? {} : { exitCode: record.exitCode }),
      ...(machine.pid === undefined ? {} : { pid: machine.pid }),
      ...(record.spec.vnc && machine.live ? { vncSocket: path.join(this.host.runFolder(record.id), "vnc.sock") } : {}),
      ...(record.lastBackupMs === undefined ? {} : { lastBackupMs: record.lastBackupMs }),
      advice: adviceFor(record, stats, clock.nowMs()),
    };
  }

  #refuseTaken(name: string): void {
    if (this.all().some(({ record }) => record.name === name))
      throw alreadyExists(`there is a machine ${name} already`, { hint: `berth vm rm ${name}, or another name` });
  }

  /** Stops watching; machines run on. */
  async close(): Promise<void> {
    await this.host.process.close();
  }

  /** Ends and removes every machine of the instance. */
  async destroyAll(): Promise<void> {
    for (const machine of this.all()) await this.remove(machine, true);
    await this.host.core.destroy();
  }
}
