import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Cluster } from "../../../apiserver/index.ts";
import { hasCode } from "../../../base/index.ts";
import type { InformerFactory } from "../../../client/index.ts";
import { CriImages, CriRuntime, type Engine } from "../../../engine/index.ts";
import {
  LAUNCHER_IMAGE,
  launcherFiles,
  startVirtualMachines,
  type VirtualMachineFacts,
  type VirtualMachineHost,
} from "../../../node/index.ts";
import type { Machine } from "../../../vm/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import { machinesFolder, type OpenVms, type VmRooms } from "../vm-api.ts";
import type { LocalNodes } from "./nodes/local-nodes.ts";
import type { ClusterSettings } from "./settings.ts";

const BUSYBOX = "/usr/bin/busybox";

export interface VirtualMachinesServices {
  readonly api: Service<Cluster>;
  readonly informers: Service<InformerFactory>;
  readonly engine: Service<Engine>;
  readonly nodes: Service<LocalNodes>;
  readonly vms: Service<OpenVms>;
}

/** VirtualMachines of the cluster on this machine's hypervisor. */
export function virtualMachinesService(
  context: DaemonContext,
  { api, informers, engine, nodes, vms }: VirtualMachinesServices,
  settings: ClusterSettings,
): Service<void> {
  return {
    name: "virtual-machines",
    dependsOn: [api, informers, engine, nodes, vms],
    async start(use) {
      const ctx = { ...context, log: context.log.with({ service: "virtual-machines" }) };
      const host = new HypervisorHost(ctx, use(vms), use(engine), use(nodes), settings);
      const controller = startVirtualMachines(ctx, { client: use(api).client, informers: use(informers), host });
      return { value: undefined, stop: async () => (await controller).close() };
    },
  };
}

/** What the cluster's controller asks, over the rooms of machines. They are opened with the first VirtualMachine. */
class HypervisorHost implements VirtualMachineHost {
  readonly #context: DaemonContext;
  readonly #vms: OpenVms;
  readonly #engine: Engine;
  readonly #nodes: LocalNodes;
  readonly #settings: ClusterSettings;
  readonly #listeners = new Set<(name: string) => void>();
  #opened: Promise<VmRooms> | undefined;

  constructor(context: DaemonContext, vms: OpenVms, engine: Engine, nodes: LocalNodes, settings: ClusterSettings) {
    this.#context = context;
    this.#vms = vms;
    this.#engine = engine;
    this.#nodes = nodes;
    this.#settings = settings;
  }

  #rooms(): Promise<VmRooms> {
    this.#opened ??= this.#vms.open().then((rooms) => {
      rooms.machines.host.listeners.add(({ name }) => this.#listeners.forEach((listener) => listener(name)));
      return rooms;
    });
    this.#opened.catch(() => (this.#opened = undefined));
    return this.#opened;
  }

  async #machine(name: string): Promise<Machine | undefined> {
    if (!this.#opened && !existsSync(machinesFolder(this.#context))) return undefined;
    const { machines } = await this.#rooms();
    return machines.all().find(({ record }) => record.name === name);
  }

  async #existing(name: string): Promise<{ rooms: VmRooms; machine: Machine }> {
    const rooms = await this.#rooms();
    return { rooms, machine: rooms.machines.find(name) };
  }

  async find(name: string): Promise<VirtualMachineFacts | undefined> {
    const machine = await this.#machine(name);
    if (!machine) return undefined;
    const { state, spec, reason, startedMs, finishedMs, addresses, attached } = machine.record;
    const lastLine = machine.live ? undefined : (await machine.lastLines(1))[0];
    return {
      name,
      state,
      cpus: spec.cpus,
      memoryBytes: spec.memoryBytes,
      ...(reason && { reason }),
      ...(startedMs !== undefined && { startedMs }),
      ...(finishedMs !== undefined && !machine.live && { finishedMs }),
      ...(addresses[0] && { ipAddress: addresses[0].ipv4Address }),
      ...(attached && { netnsPath: attached.netnsPath }),
      ...(lastLine !== undefined && { lastLine }),
    };
  }

  async create(...[request, pull, signal]: Parameters<VirtualMachineHost["create"]>): Promise<void> {
    if (request.source.startsWith("oci:")) await this.#pull(request.source.slice("oci:".length), pull, signal);
    await (await this.#rooms()).machines.create(request, signal);
  }

  async #pull(image: string, policy: "Always" | "IfNotPresent" | "Never", signal: AbortSignal): Promise<void> {
    const images = new CriImages(this.#context, this.#engine.images);
    if (policy === "Never" || (policy === "IfNotPresent" && (await images.imageStatus({ image })))) return;
    await images.pullImage({ image }, { signal });
  }

  async restore(backupId: string, name: string): Promise<void> {
    await (await this.#rooms()).backups.restore(backupId, name);
  }

  async resize(name: string, size: { cpus: number; memoryBytes: number }): Promise<void> {
    const { rooms, machine } = await this.#existing(name);
    const { resizeMachine } = await import("../../../vm/index.ts");
    await resizeMachine(rooms.machines.host, machine, size);
  }

  async start(name: string, { netnsPath, namespace }: { netnsPath: string; namespace: string }): Promise<void> {
    const { rooms, machine } = await this.#existing(name);
    const { domain, dnsIp } = this.#settings;
    const searchDomains = [`${namespace}.svc.${domain}`, `svc.${domain}`, domain];
    await machine.attach({ netnsPath, network: "pod", nameServers: [dnsIp], searchDomains });
    await rooms.machines.start(machine);
  }

  async stop(name: string, timeoutMs: number): Promise<void> {
    await (await this.#machine(name))?.stop(timeoutMs);
  }

  async remove(name: string): Promise<void> {
    const machine = await this.#machine(name);
    if (machine) await (await this.#rooms()).machines.remove(machine, true);
  }

  async snapshot(name: string, snapshot: string, description: string) {
    const { rooms, machine } = await this.#existing(name);
    const { listSnapshots, takeSnapshot } = await import("../../../vm/index.ts");
    const known = listSnapshots(machine).find((one) => one.name === snapshot);
    return known ?? takeSnapshot(rooms.machines.host, machine, snapshot, description);
  }

  async removeSnapshot(name: string, snapshot: string): Promise<void> {
    const machine = await this.#machine(name);
    if (!machine) return;
    const { deleteSnapshot } = await import("../../../vm/index.ts");
    await deleteSnapshot((await this.#rooms()).machines.host, machine, snapshot).catch(unlessNotFound);
  }

  async revert(name: string, snapshot: string): Promise<void> {
    const { rooms, machine } = await this.#existing(name);
    const { revertTo } = await import("../../../vm/index.ts");
    await revertTo(rooms.machines.host, machine, snapshot);
  }

  async backup(name: string, full: boolean) {
    const { rooms, machine } = await this.#existing(name);
    return rooms.backups.create(machine, { full });
  }

  async removeBackup(id: string): Promise<void> {
    await (await this.#rooms()).backups.remove(id).catch(unlessNotFound);
  }

  podNamespace(nodeName: string, podUid: string): string | undefined {
    const runtime = this.#nodes.runtime(nodeName);
    return runtime instanceof CriRuntime ? runtime.podNamespace(podUid) : undefined;
  }

  /** The host's own static busybox and nothing else: what a launcher does is to be there. */
  async launcherImage(): Promise<string> {
    const { images } = this.#engine;
    if (!(await images.find(LAUNCHER_IMAGE)))
      await images.import(await launcherFiles(await readFile(BUSYBOX)), { tag: LAUNCHER_IMAGE });
    return LAUNCHER_IMAGE;
  }

  onChange(listener: (name: string) => void): void {
    this.#listeners.add(listener);
  }
}

function unlessNotFound(error: unknown): void {
  if (!hasCode(error, "notFound")) throw error;
}
