import { randomBytes } from "node:crypto";
import { chown, mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { deadlineExceeded, unavailable } from "../../base/index.ts";
import type { RuntimeContainer, Sandbox, SandboxRequest } from "../../engine/index.ts";
import { bindMount, mount, mountsBelow, MS } from "../../host/index.ts";
import { KERNEL_COMMAND_LINE, machineArgv, slotOf, type MachineSpec } from "../hypervisor/argv.ts";
import { VIRTIOFSD_CAPABILITIES, virtiofsdArgv } from "../hypervisor/virtiofsd.ts";
import { QmpClient } from "../qmp/index.ts";
import type { GuestAgent } from "./agent.ts";
import { placeMemory, stopAndSave, takeState, withShortPath } from "./memory.ts";
import type { GuestNetwork } from "../network/index.ts";
import { CONTROL_MAC, CONTROL_TAP, takeOver, tapOf, templateMac } from "./network.ts";
import { hostSpec, USR_MOUNT, VM_UID } from "./root.ts";
import type { MicroHost } from "./sandbox.ts";
import { EMPTY_MEMORY_SCRIPT, identityTasks } from "./setup.ts";
import type { MachineSize } from "./spec.ts";
import type { MachineShape, Template } from "./template.ts";

export const MACHINE = "machine";
export const SHARE = "share";
/** A guest under emulation on a busy host takes its time. */
const BOOT_MS = 60_000;
const SHARE_MS = 10_000;
const POLL_MS = 5;
const CONSOLE_LINES = 20;
const LAST_WORDS = 3;
const CONSOLE_MAX_BYTES = 1024 * 1024;
const SEED_BYTES = 64;

export interface MachineParts {
  readonly host: MicroHost;
  /** Where its processes run on the host. */
  readonly inner: Sandbox;
  readonly folder: string;
  readonly netnsPath: string;
  readonly agent: GuestAgent;
}

export type GuestFilesOfHost = Awaited<ReturnType<MicroHost["guest"]>>;

/** The processes of one machine: QEMU and the server of its files, each confined, and how they come up. */
export class Machine {
  readonly #parts: MachineParts;
  #sharing: Promise<void> | undefined;

  constructor(parts: MachineParts) {
    this.#parts = parts;
  }

  get #run(): string {
    return path.join(this.#parts.folder, "run");
  }

  /** Boots the guest. Resolves when it takes containers. */
  async boot(
    guest: GuestFilesOfHost,
    size: MachineSize,
    network: GuestNetwork,
    request: SandboxRequest,
    signal?: AbortSignal,
  ): Promise<RuntimeContainer> {
    await this.#makeRun();
    takeOver(this.#parts.netnsPath, network);
    const share = this.#serveShare();
    share.catch(() => {});
    const machine = await this.#createMachine(guest, {
      ...this.#spec(guest, size),
      shareSocket: "/machine/run/share.sock",
      networks: [
        { kind: "tap", name: CONTROL_TAP, macAddress: CONTROL_MAC },
        ...network.links.map(({ macAddress }, index) => ({ kind: "tap" as const, name: tapOf(index), macAddress })),
      ],
    });
    // QEMU expects the server of its files to listen.
    await share;
    await machine.start();
    await this.#answer(machine, signal);
    await this.#identify(request, network, network.links.length, signal);
    return machine;
  }

  /** Goes on from a saved machine, with an identity, time and entropy of its own. */
  async restore(
    guest: GuestFilesOfHost,
    template: Template,
    network: GuestNetwork,
    request: SandboxRequest,
    signal?: AbortSignal,
  ): Promise<RuntimeContainer> {
    await this.#makeRun();
    const share = this.#serveShare();
    share.catch(() => {});
    takeOver(this.#parts.netnsPath, network);
    await placeMemory(template, this.#memoryFolder);
    const machine = await this.#startMachine(guest, {
      ...this.#savedSpec(guest, template.shape),
      incoming: true,
    });
    await using monitor = await this.#connect(machine);
    await takeState(monitor, template, this.#run);
    await this.#until(
      BOOT_MS,
      () => "the saved microVM was not restored",
      async () => {
        const { status } = await monitor.execute<{ status: string }>("query-status");
        return status !== "inmigrate";
      },
    );
    await share;
    const address = { type: "unix", data: { path: "/machine/run/share.sock" } };
    await monitor.execute("chardev-add", {
      id: "share",
      backend: { type: "socket", data: { addr: address, server: false } },
    });
    await monitor.execute("device_add", {
      driver: "vhost-user-fs-pci",
      chardev: "share",
      tag: "berth",
      bus: slotOf(0),
      id: "share",
    });
    await monitor.execute("cont");
    await this.#identify(request, network, template.shape.cards, signal);
    return machine;
  }

  #identify(request: SandboxRequest, network: GuestNetwork, cards: number, signal?: AbortSignal): Promise<void> {
    const { agent, host } = this.#parts;
    const tasks = identityTasks(request, network, cards);
    return agent.identify(host.context.clock.nowMs(), randomBytes(SEED_BYTES), tasks, signal);
  }

  /** Boots a guest that belongs to nobody yet and saves it into a folder. */
  async save(guest: GuestFilesOfHost, shape: MachineShape, target: string): Promise<void> {
    await this.#makeRun();
    takeOver(this.#parts.netnsPath, { links: [], routes: [] }, shape.cards);
    await placeMemory({ shape }, this.#memoryFolder);
    const machine = await this.#startMachine(guest, this.#savedSpec(guest, shape));
    await this.#answer(machine);
    await this.#parts.agent.run(EMPTY_MEMORY_SCRIPT);
    await using monitor = await this.#connect(machine);
    await stopAndSave(monitor, { runFolder: this.#run, memoryFolder: this.#memoryFolder, target });
  }

  get #memoryFolder(): string {
    return path.join(this.#parts.folder, "memory");
  }

  #spec(guest: GuestFilesOfHost, size: MachineSize): MachineSpec {
    return {
      ...size,
      accelerator: guest.accelerator,
      kernel: { image: "/machine/kernel", initramfs: "/machine/initramfs", commandLine: KERNEL_COMMAND_LINE },
      monitorSocket: "/machine/run/qmp.sock",
    };
  }

  /** What a machine is made of that is saved, and so of whatever goes on from it: no file server, which cannot be saved, but a slot for it. */
  #savedSpec(guest: GuestFilesOfHost, shape: MachineShape): MachineSpec {
    return {
      ...this.#spec(guest, shape),
      memoryFile: "/machine/memory/memory",
      slots: 1,
      networks: [
        { kind: "tap", name: CONTROL_TAP, macAddress: CONTROL_MAC },
        ...Array.from({ length: shape.cards }, (_none, number) => ({
          kind: "tap" as const,
          name: tapOf(number),
          macAddress: templateMac(number),
        })),
      ],
    };
  }

  async #startMachine(guest: GuestFilesOfHost, spec: MachineSpec): Promise<RuntimeContainer> {
    const machine = await this.#createMachine(guest, spec);
    await machine.start();
    return machine;
  }

  #createMachine(guest: GuestFilesOfHost, spec: MachineSpec): Promise<RuntimeContainer> {
    return this.#createHost(MACHINE, {
      args: machineArgv(spec),
      files: [
        ["/machine/kernel", guest.image],
        ["/machine/initramfs", guest.initramfs],
      ],
      mounts: spec.memoryFile
        ? [{ destination: "/machine/memory", type: "bind", source: this.#memoryFolder, options: ["bind", "rw"] }]
        : [],
      devices: [
        { path: "/dev/net/tun", major: 10, minor: 200 },
        ...(guest.accelerator === "kvm" ? [{ path: "/dev/kvm", major: 10, minor: 232 }] : []),
      ],
    });
  }

  async #makeRun(): Promise<void> {
    await mkdir(this.#run, { recursive: true, mode: 0o700 });
    await chown(this.#run, VM_UID, VM_UID);
  }

  get #share(): string {
    return path.join(this.#parts.folder, SHARE);
  }

  /** The folder in which root filesystems and volumes of the containers appear. Mounts made in it later are seen by its server, which has a mount namespace of its own. */
  makeShare(): Promise<void> {
    return (this.#sharing ??= this.#bindShare());
  }

  async #bindShare(): Promise<void> {
    if (mountsBelow(this.#share).length > 0) return;
    await mkdir(this.#share, { recursive: true });
    bindMount(this.#share, this.#share);
    mount("none", this.#share, null, MS.SHARED);
  }

  /** virtiofsd over the folder in which root filesystems and volumes of the containers appear. */
  async #serveShare(): Promise<void> {
    await this.makeShare();
    const server = await this.#createHost(SHARE, {
      uid: 0,
      confinesItself: true,
      args: virtiofsdArgv("/machine/run/share.sock"),
      capabilities: VIRTIOFSD_CAPABILITIES,
      mounts: [
        { destination: "/var/run", type: "tmpfs", source: "tmpfs", options: ["mode=755", "size=64k"] },
        { destination: "/share", type: "bind", source: this.#share, options: ["rbind", "rslave", "rw"] },
      ],
    });
    await server.start();
    const socket = path.join(this.#run, "share.sock");
    await this.#until(
      SHARE_MS,
      () => "the file server of the microVM does not listen",
      () =>
        chown(socket, VM_UID, VM_UID).then(
          () => true,
          () => false,
        ),
    );
  }

  #createHost(name: string, options: HostOptions): Promise<RuntimeContainer> {
    return this.#parts.inner.createContainer({
      id: `${this.#parts.inner.id}-${name}`,
      logPath: path.join(this.#parts.folder, `${name}.log`),
      logMaxBytes: CONSOLE_MAX_BYTES,
      spec: hostSpec({
        root: this.#parts.host.root,
        args: options.args,
        cgroupsPath: `${this.#parts.host.core.cgroupParent}/${this.#parts.inner.id}-${name}`,
        confinesItself: options.confinesItself ?? false,
        ...(options.capabilities ? { capabilities: options.capabilities } : {}),
        ...(options.devices ? { devices: options.devices, netnsPath: this.#parts.netnsPath } : {}),
        ...(options.uid === undefined ? {} : { uid: options.uid }),
        mounts: [
          USR_MOUNT,
          { destination: "/machine", type: "tmpfs", source: "tmpfs", options: ["mode=755", "size=64k"] },
          {
            destination: "/machine/run",
            type: "bind",
            source: this.#run,
            options: ["rbind", "rw"],
          },
          ...(options.files ?? []).map(([destination, source]) => ({
            destination,
            type: "bind",
            source,
            options: ["bind", "ro"],
          })),
          ...(options.mounts ?? []),
        ],
      }),
    });
  }

  /** Waits for the agent. */
  async #answer(machine: RuntimeContainer, signal?: AbortSignal): Promise<void> {
    await this.#until(
      BOOT_MS,
      async () => `the microVM's guest never came up${await this.#lastWords()}`,
      async () => {
        signal?.throwIfAborted();
        if (machine.state === "exited")
          throw unavailable(`the microVM ended while it started${await this.#lastWords()}`);
        return (await this.lastLines(MACHINE)).some((line) => line.includes("berth-agent-ready"));
      },
    );
  }

  /** QEMU's monitor, as soon as it listens. */
  async #connect(machine: RuntimeContainer): Promise<QmpClient> {
    let monitor: QmpClient | undefined;
    await this.#until(
      BOOT_MS,
      () => "QEMU does not answer",
      async () => {
        if (machine.state === "exited")
          throw unavailable(`the microVM ended while it started${await this.#lastWords()}`);
        monitor = await withShortPath(this.#run, (folder) =>
          QmpClient.connect(path.join(folder, "qmp.sock"), this.#parts.host.context.clock),
        ).catch(() => undefined);
        return monitor !== undefined;
      },
    );
    return monitor!;
  }

  /** What a process of the machine said last. */
  async lastLines(name: string): Promise<string[]> {
    const text = await readFile(path.join(this.#parts.folder, `${name}.log`), "utf8").catch(() => "");
    return logText(text).split("\n").slice(-CONSOLE_LINES);
  }

  /** The end of the guest's console, for an error's message. */
  async #lastWords(): Promise<string> {
    const lines = (await this.lastLines(MACHINE)).filter((line) => line.trim() !== "").slice(-LAST_WORDS);
    return lines.length === 0 ? "" : `; its console ends with: ${lines.join(" | ")}`;
  }

  async #until(limitMs: number, what: () => string | Promise<string>, done: () => Promise<boolean>): Promise<void> {
    const { clock } = this.#parts.host.context;
    const deadline = clock.monotonicMs() + limitMs;
    while (!(await done())) {
      if (clock.monotonicMs() > deadline) throw deadlineExceeded(`${await what()} within ${limitMs / 1000} s`);
      await clock.sleep(POLL_MS);
    }
  }
}

interface HostOptions {
  readonly args: readonly string[];
  readonly uid?: number;
  readonly confinesItself?: boolean;
  readonly capabilities?: readonly string[];
  readonly devices?: ReadonlyArray<{ readonly path: string; readonly major: number; readonly minor: number }>;
  readonly files?: ReadonlyArray<readonly [destination: string, source: string]>;
  readonly mounts?: ReadonlyArray<{ destination: string; type: string; source: string; options: string[] }>;
}

/** What was written, from a log of the monitor's (`time stream P|F text`; P: the line goes on). Pure. */
export function logText(log: string): string {
  return log.replaceAll(/^\S+ \S+ ([PF]) ([^\n]*)\n/gm, (_line, kind: string, text: string) =>
    kind === "P" ? text : `${text}\n`,
  );
}
