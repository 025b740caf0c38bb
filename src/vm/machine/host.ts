import { chown, mkdir, readdir, rm } from "node:fs/promises";
import path from "node:path";
import type { InstanceContext } from "../../base/index.ts";
import { Core, ProcessIsolation, type Engine, type RuntimeContainer, type Sandbox } from "../../engine/index.ts";
import { Disks } from "../disk/index.ts";
import { CACHE, machineInitramfs, openKernel } from "../guest/index.ts";
import { chooseAccelerator, type Accelerator } from "../hypervisor/accelerator.ts";
import { microInitramfs } from "../micro/guest/initramfs.ts";
import { hostSpec, makeHostRoot, USR_MOUNT, VM_UID } from "../micro/root.ts";
import { MachineRecords, type MachineRecord } from "./record.ts";

/** Kernels, initramfs and what was found out about the host; shared by all instances. */
const LOG_MAX_BYTES = 4 * 1024 * 1024;

/** What the rooms of whole machines take of the engine. */
export type MachineEngine = Pick<Engine, "networks" | "images" | "snapshots">;

export interface GuestKernel {
  readonly image: string;
  readonly initramfs: string;
}

export interface HostProgram {
  readonly id: string;
  readonly args: readonly string[];
  readonly logPath: string;
  readonly netnsPath?: string;
  readonly kvm?: boolean;
  readonly uid?: number;
  readonly capabilities?: readonly string[];
  readonly confinesItself?: boolean;
  /** Folders and files that it sees under the same path, and whether it may write them. */
  readonly binds: ReadonlyArray<{ readonly source: string; readonly target?: string; readonly write?: boolean }>;
  readonly memoryLimitBytes?: number;
  readonly cpuMillis?: number;
}

/** What all machines of an instance have in common. */
export class MachineHost {
  readonly context: InstanceContext;
  readonly engine: MachineEngine;
  readonly core: Core;
  readonly process: ProcessIsolation;
  readonly disks = new Disks();
  readonly records: MachineRecords;
  /** Told of every change of a machine. */
  readonly listeners = new Set<(record: MachineRecord) => void>();
  readonly dataDir: string;
  readonly #root: string;
  #kernel: Promise<GuestKernel> | undefined;
  #accelerator: Promise<Accelerator> | undefined;

  constructor(context: InstanceContext, engine: MachineEngine) {
    // Records and control groups apart from those of the engine's own containers, which drops what it does not know.
    this.context = {
      ...context,
      instance: `${context.instance}-machines`,
      runtimeDir: path.join(context.runtimeDir, "machines"),
      dataDir: path.join(context.dataDir, "machines"),
    };
    this.engine = engine;
    this.dataDir = path.join(context.dataDir, "machines");
    this.core = new Core(this.context);
    this.process = new ProcessIsolation(this.core);
    this.records = new MachineRecords(path.join(this.dataDir, "vms"));
    this.#root = path.join(this.context.runtimeDir, "root");
  }

  async open(): Promise<void> {
    await mkdir(this.context.runtimeDir, { recursive: true, mode: 0o711 });
    await mkdir(this.dataDir, { recursive: true, mode: 0o711 });
    await this.core.open();
    await makeHostRoot(this.#root);
  }

  /** berth's own kernel, for machines without one. */
  kernel(): Promise<GuestKernel> {
    this.#kernel ??= (async () => {
      const kernel = await openKernel(CACHE);
      return { image: kernel.image, initramfs: await machineInitramfs(CACHE, kernel) };
    })();
    this.#kernel.catch(() => (this.#kernel = undefined));
    return this.#kernel;
  }

  accelerator(): Promise<Accelerator> {
    this.#accelerator ??= (async () => {
      const kernel = await openKernel(CACHE);
      const guest = { image: kernel.image, initramfs: await microInitramfs(CACHE, kernel) };
      return chooseAccelerator(CACHE, guest, this.context.log);
    })();
    this.#accelerator.catch(() => (this.#accelerator = undefined));
    return this.#accelerator;
  }

  /** A machine's sockets. */
  runFolder(id: string): string {
    return path.join(this.context.runtimeDir, "run", id);
  }

  async makeRunFolder(id: string): Promise<string> {
    const folder = this.runFolder(id);
    await mkdir(folder, { recursive: true, mode: 0o711 });
    await chown(folder, VM_UID, VM_UID);
    return folder;
  }

  /** Gives a folder of disks to the user under whom monitors run. */
  async handOver(folder: string): Promise<void> {
    await chown(folder, VM_UID, VM_UID);
    for (const name of await readdir(folder)) await chown(path.join(folder, name), VM_UID, VM_UID);
  }

  /** Starts a program of a machine on the host: without root, capabilities or any file but those named, in a control group of its own. */
  async startProgram(sandbox: string, program: HostProgram): Promise<RuntimeContainer> {
    const found = (await this.#sandbox(sandbox)).container(program.id);
    await found?.delete();
    const spec = hostSpec({
      root: this.#root,
      args: program.args,
      cgroupsPath: `${this.core.cgroupParent}/${program.id}`,
      confinesItself: program.confinesItself ?? false,
      ...(program.netnsPath ? { netnsPath: program.netnsPath } : {}),
      ...(program.uid === undefined ? {} : { uid: program.uid }),
      ...(program.capabilities ? { capabilities: program.capabilities } : {}),
      devices: [
        ...(program.netnsPath ? [{ path: "/dev/net/tun", major: 10, minor: 200 }] : []),
        ...(program.kvm ? [{ path: "/dev/kvm", major: 10, minor: 232 }] : []),
      ],
      mounts: [
        USR_MOUNT,
        { destination: "/machine", type: "tmpfs", source: "tmpfs", options: ["mode=755", "size=64k"] },
        { destination: "/var/run", type: "tmpfs", source: "tmpfs", options: ["mode=755", "size=64k"] },
        ...program.binds.map(({ source, target = source, write = false }) => ({
          destination: target,
          type: "bind",
          source,
          options: ["rbind", "rslave", write ? "rw" : "ro"],
        })),
      ],
    });
    const { memoryLimitBytes: limit, cpuMillis } = program;
    spec.linux.resources = {
      ...spec.linux.resources,
      ...(limit ? { memory: { limit } } : {}),
      ...(cpuMillis ? { cpu: cpuQuota(cpuMillis) } : {}),
    };
    const request = { id: program.id, logPath: program.logPath, logMaxBytes: LOG_MAX_BYTES, stdin: true, spec };
    const container = await (await this.#sandbox(sandbox)).createContainer(request);
    await container.start();
    return container;
  }

  async #sandbox(id: string): Promise<Sandbox> {
    const known = this.#sandboxes.get(id);
    if (known) return known;
    const made = await this.process.createSandbox({ id });
    this.#sandboxes.set(id, made);
    return made;
  }
  readonly #sandboxes = new Map<string, Sandbox>();

  /** Programs of machines that a former daemon left: by machine. */
  async recover(): Promise<ReadonlyMap<string, readonly RuntimeContainer[]>> {
    for (const sandbox of await this.process.recover()) this.#sandboxes.set(sandbox.id, sandbox);
    return new Map([...this.#sandboxes].map(([id, sandbox]) => [id, sandbox.containers()]));
  }

  /** Ends whatever runs for a machine. */
  async destroy(id: string): Promise<void> {
    const sandbox = this.#sandboxes.get(id);
    if (!sandbox) return;
    const programs = sandbox.containers();
    await sandbox.destroy();
    // The engine leaves its containers' folders to who may have mounted something there; we have not.
    for (const program of programs) await rm(this.core.layout.bundle(program.id), { recursive: true, force: true });
    this.#sandboxes.delete(id);
  }
}

const CPU_PERIOD_US = 100_000;

export function cpuQuota(millis: number): { quota: number; period: number } {
  return { quota: Math.round((millis * CPU_PERIOD_US) / 1000), period: CPU_PERIOD_US };
}
