import { chown, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import type { OciResources } from "../../api/index.ts";
import { alreadyExists, deadlineExceeded, unavailable, type InstanceContext } from "../../base/index.ts";
import {
  readFacts,
  writeFacts,
  type ContainerRequest,
  type Core,
  type RuntimeContainer,
  type Sandbox,
  type SandboxRequest,
} from "../../engine/index.ts";
import { bindMount, mount, MS } from "../../host/index.ts";
import { KERNEL_COMMAND_LINE, machineArgv, type MachineSpec } from "../hypervisor/argv.ts";
import { GuestAgent } from "./agent.ts";
import { MicroContainer, relayArgs } from "./container.ts";
import { checkExecutable } from "./executable.ts";
import {
  CONTROL_MAC,
  CONTROL_TAP,
  guestResolvConf,
  guestScript,
  readNetwork,
  takeOver,
  tapOf,
  type GuestNetwork,
} from "./network.ts";
import { hostSpec, USR_MOUNT, VM_UID } from "./root.ts";
import { GUEST_NAMESPACES, guestFolder, guestSpec, machineSize } from "./spec.ts";
import { HostView, removeFolder, viewFolder } from "./view.ts";

/** What all microVMs of an instance have in common, made when the first is asked for. */
export interface MicroHost {
  readonly context: InstanceContext;
  readonly core: Core;
  /** The engine's own isolation, in which everything of a machine runs on the host. */
  readonly process: { createSandbox(request: SandboxRequest): Promise<Sandbox> };
  readonly root: string;
  guest(): Promise<Pick<MachineSpec, "accelerator"> & { readonly image: string; readonly initramfs: string }>;
}

interface MachineFacts {
  readonly request: SandboxRequest;
  readonly network?: GuestNetwork;
  /** The guest is set up and takes containers. */
  readonly ready: boolean;
}

const MACHINE = "machine";
const SHARE = "share";
/** A guest under emulation on a busy host takes its time. */
const BOOT_MS = 30_000;
const SHARE_MS = 10_000;
const POLL_MS = 20;
const SIGKILL = 9;
const CONSOLE_LINES = 20;
const LAST_WORDS = 3;
const CONSOLE_MAX_BYTES = 1024 * 1024;

/** A machine and its containers. The machine is started with the first container, whose limits say how big it must be. */
export class MicroSandbox implements Sandbox {
  readonly id: string;
  readonly isolation = "vm";
  readonly request: SandboxRequest;
  readonly namespaces: Sandbox["namespaces"];
  readonly agent: GuestAgent;
  readonly #host: MicroHost;
  readonly #inner: Sandbox;
  readonly #containers = new Map<string, MicroContainer>();
  readonly #onDestroy: (id: string) => void;
  #booting: Promise<void> | undefined;

  private constructor(host: MicroHost, inner: Sandbox, request: SandboxRequest, onDestroy: (id: string) => void) {
    this.#host = host;
    this.#inner = inner;
    this.id = request.id;
    this.request = request;
    this.#onDestroy = onDestroy;
    this.agent = new GuestAgent(request.netnsPath!);
    this.namespaces = { net: request.netnsPath, ipc: GUEST_NAMESPACES.ipc, uts: GUEST_NAMESPACES.uts };
  }

  static async create(host: MicroHost, request: SandboxRequest, onDestroy: (id: string) => void) {
    const inner = await host.process.createSandbox({ id: request.id });
    const sandbox = new MicroSandbox(host, inner, request, onDestroy);
    await mkdir(sandbox.#folder, { recursive: true, mode: 0o711 });
    await writeFacts(sandbox.#factsFile, { request, ready: false } satisfies MachineFacts);
    return sandbox;
  }

  /** Takes a running machine over; one that never got ready, or ended meanwhile, is destroyed, and undefined. */
  static async recover(host: MicroHost, inner: Sandbox, onDestroy: (id: string) => void) {
    const facts = await readFacts<MachineFacts>(path.join(machineFolder(host, inner.id), "facts.json"));
    const sandbox = new MicroSandbox(host, inner, facts?.request ?? { id: inner.id, netnsPath: "" }, onDestroy);
    const machine = inner.container(`${inner.id}-${MACHINE}`);
    if (!facts?.ready || machine?.state !== "running") {
      await sandbox.destroy();
      return undefined;
    }
    sandbox.#booting = Promise.resolve();
    sandbox.#watch(machine);
    for (const relay of inner.containers()) {
      const request = await readFacts<ContainerRequest>(path.join(sandbox.#shared(relay.id), "request.json"));
      if (request) sandbox.#adopt(request, relay);
    }
    return sandbox;
  }

  get #folder(): string {
    return machineFolder(this.#host, this.id);
  }
  get #factsFile(): string {
    return path.join(this.#folder, "facts.json");
  }
  get #share(): string {
    return path.join(this.#folder, SHARE);
  }
  #shared(containerId: string): string {
    return path.join(this.#share, containerId);
  }
  #group(name: string): string {
    return `${this.#host.core.cgroupParent}/${this.id}-${name}`;
  }

  async createContainer(request: ContainerRequest, signal?: AbortSignal): Promise<RuntimeContainer> {
    if (this.#containers.has(request.id)) throw alreadyExists(`container ${request.id} exists already`);
    const { spec, binds } = guestSpec(request.id, request.spec, this.request);
    await checkExecutable(request.spec);
    await this.#ready(this.request.resources ?? request.spec.linux.resources, signal);
    const folder = this.#shared(request.id);
    try {
      await mkdir(path.join(folder, "mounts"), { recursive: true });
      await mkdir(path.join(folder, "rootfs"), { recursive: true });
      bindMount(request.spec.root.path, path.join(folder, "rootfs"), { recursive: true });
      for (const bind of binds) await this.#bind(folder, bind.index, bind.source, bind.destination);
      const seccomp = spec.linux.seccomp && (await this.#host.core.seccomp.program(spec.linux.seccomp));
      const annotations = { ...spec.annotations, ...(seccomp ? { "run.oci.seccomp_bpf_data": seccomp } : {}) };
      await writeFile(path.join(folder, "config.json"), JSON.stringify({ ...spec, annotations }), { mode: 0o600 });
      await writeFacts(path.join(folder, "request.json"), request);
      const relay = await this.#inner.createContainer(this.#relayRequest(request), signal);
      return this.#adopt(request, relay);
    } catch (error) {
      await this.#release(request.id);
      throw error;
    }
  }

  #relayRequest(request: ContainerRequest): ContainerRequest {
    const folder = guestFolder(request.id);
    const command = ["crun", "run", "--no-pivot", "--pid-file", `${folder}/pid`, "--bundle", folder, request.id];
    const terminal = request.spec.process.terminal ?? false;
    const spec = hostSpec({
      root: this.#host.root,
      netnsPath: this.request.netnsPath,
      terminal,
      args: relayArgs(terminal, command),
      mounts: [USR_MOUNT],
      cgroupsPath: this.#group(`relay-${request.id}`),
    });
    if (request.spec.process.consoleSize) spec.process.consoleSize = request.spec.process.consoleSize;
    const { runtime: _runtime, ...rest } = request;
    return { ...rest, spec };
  }

  async #bind(folder: string, index: number, source: string, destination: string): Promise<void> {
    const target = path.join(folder, "mounts", String(index));
    if (destination === "/etc/resolv.conf") {
      await writeFile(target, guestResolvConf(await readFile(source, "utf8")));
      return;
    }
    if ((await stat(source)).isDirectory()) await mkdir(target);
    else await writeFile(target, "");
    bindMount(source, target, { recursive: true });
  }

  #adopt(request: ContainerRequest, relay: RuntimeContainer): MicroContainer {
    const view = new HostView(viewFolder(this.#folder, request.id));
    const container = new MicroContainer({
      request,
      relay,
      agent: this.agent,
      clock: this.#host.context.clock,
      folder: this.#shared(request.id),
      openView: () => view.open(request),
      release: () => this.#release(request.id),
    });
    this.#containers.set(request.id, container);
    return container;
  }

  async #release(containerId: string): Promise<void> {
    this.#containers.delete(containerId);
    await removeFolder(this.#shared(containerId));
    await removeFolder(viewFolder(this.#folder, containerId));
  }

  #ready(resources: OciResources | undefined, signal?: AbortSignal): Promise<void> {
    this.#booting ??= this.#boot(resources, signal).catch(async (error: unknown) => {
      const [machine, share] = await Promise.all([MACHINE, SHARE].map((name) => this.#lastLines(name)));
      this.#host.context.log.error("a microVM did not start", { sandbox: this.id, error, machine, share });
      throw error;
    });
    return this.#booting;
  }

  async #boot(resources: OciResources | undefined, signal?: AbortSignal): Promise<void> {
    const netnsPath = this.request.netnsPath!;
    const [guest, network] = await Promise.all([this.#host.guest(), readNetwork(netnsPath)]);
    await Promise.all([takeOver(netnsPath, network), this.#serveShare()]);
    const { memoryBytes, cpus } = machineSize(resources);
    const machine = await this.#startHost(MACHINE, {
      args: machineArgv({
        accelerator: guest.accelerator,
        memoryBytes,
        cpus,
        kernel: { image: "/machine/kernel", initramfs: "/machine/initramfs", commandLine: KERNEL_COMMAND_LINE },
        shareSocket: "/machine/run/share.sock",
        monitorSocket: "/machine/run/qmp.sock",
        networks: [
          { kind: "tap", name: CONTROL_TAP, macAddress: CONTROL_MAC },
          ...network.links.map(({ macAddress }, index) => ({ kind: "tap" as const, name: tapOf(index), macAddress })),
        ],
      }),
      files: [
        ["/machine/kernel", guest.image],
        ["/machine/initramfs", guest.initramfs],
      ],
      devices: [
        { path: "/dev/net/tun", major: 10, minor: 200 },
        ...(guest.accelerator === "kvm" ? [{ path: "/dev/kvm", major: 10, minor: 232 }] : []),
      ],
    });
    this.#watch(machine);
    await this.#answer(machine, signal);
    await this.agent.run(setupScript(this.request, network), signal);
    await writeFacts(this.#factsFile, { request: this.request, network, ready: true } satisfies MachineFacts);
  }

  /** virtiofsd over the folder in which root filesystems and volumes of the containers appear. */
  async #serveShare(): Promise<void> {
    await mkdir(path.join(this.#folder, "run"), { recursive: true, mode: 0o700 });
    await chown(path.join(this.#folder, "run"), VM_UID, VM_UID);
    await mkdir(this.#share, { recursive: true });
    // Mounts made in it later must be seen by the server, which has a mount namespace of its own.
    bindMount(this.#share, this.#share);
    mount("none", this.#share, null, MS.SHARED);
    await this.#startHost(SHARE, {
      uid: 0,
      confinesItself: true,
      args: [
        "/usr/lib/qemu/virtiofsd",
        "--socket-path=/machine/run/share.sock",
        "--rlimit-nofile=0",
        "--thread-pool-size=0",
        "-o",
        "source=/share,sandbox=chroot,cache=auto,xattr,announce_submounts,no_posix_lock",
      ],
      capabilities: SHARE_CAPABILITIES,
      mounts: [
        { destination: "/var/run", type: "tmpfs", source: "tmpfs", options: ["mode=755", "size=64k"] },
        { destination: "/share", type: "bind", source: this.#share, options: ["rbind", "rslave", "rw"] },
      ],
    });
    const socket = path.join(this.#folder, "run/share.sock");
    await this.#until(
      SHARE_MS,
      async () => "the file server of the microVM does not listen",
      () =>
        chown(socket, VM_UID, VM_UID).then(
          () => true,
          () => false,
        ),
    );
  }

  async #startHost(name: string, options: HostOptions): Promise<RuntimeContainer> {
    const container = await this.#inner.createContainer({
      id: `${this.id}-${name}`,
      logPath: path.join(this.#folder, `${name}.log`),
      logMaxBytes: CONSOLE_MAX_BYTES,
      spec: hostSpec({
        root: this.#host.root,
        args: options.args,
        cgroupsPath: this.#group(name),
        confinesItself: options.confinesItself ?? false,
        ...(options.capabilities ? { capabilities: options.capabilities } : {}),
        ...(options.devices ? { devices: options.devices, netnsPath: this.request.netnsPath } : {}),
        ...(options.uid === undefined ? {} : { uid: options.uid }),
        mounts: [
          USR_MOUNT,
          { destination: "/machine", type: "tmpfs", source: "tmpfs", options: ["mode=755", "size=64k"] },
          {
            destination: "/machine/run",
            type: "bind",
            source: path.join(this.#folder, "run"),
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
    await container.start();
    return container;
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
        return (await this.#lastLines(MACHINE)).some((line) => line.includes("berth-agent-ready"));
      },
    );
  }

  /** What a process of the machine said last. */
  async #lastLines(name: string): Promise<string[]> {
    const text = await readFile(path.join(this.#folder, `${name}.log`), "utf8").catch(() => "");
    return logText(text).split("\n").slice(-CONSOLE_LINES);
  }

  /** The end of the guest's console, for an error's message. */
  async #lastWords(): Promise<string> {
    const lines = (await this.#lastLines(MACHINE)).filter((line) => line.trim() !== "").slice(-LAST_WORDS);
    return lines.length === 0 ? "" : `; its console ends with: ${lines.join(" | ")}`;
  }

  async #until(limitMs: number, what: () => Promise<string>, done: () => Promise<boolean>): Promise<void> {
    const { clock } = this.#host.context;
    const deadline = clock.monotonicMs() + limitMs;
    while (!(await done())) {
      if (clock.monotonicMs() > deadline) throw deadlineExceeded(`${await what()} within ${limitMs / 1000} s`);
      await clock.sleep(POLL_MS);
    }
  }

  /** Without its machine nothing of a container is left: its relay ends as if killed. */
  #watch(machine: RuntimeContainer): void {
    void machine.wait().then(
      () => Promise.all(this.#inner.containers().map((container) => container.kill(SIGKILL).catch(() => {}))),
      () => {},
    );
  }

  container(id: string): RuntimeContainer | undefined {
    return this.#containers.get(id);
  }
  containers(): readonly RuntimeContainer[] {
    return [...this.#containers.values()];
  }

  async destroy(): Promise<void> {
    await this.#inner.destroy();
    this.#containers.clear();
    await removeFolder(this.#folder);
    this.#onDestroy(this.id);
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

/** What a server needs that makes files of any owner and mode, confined to the shared folder by its own chroot. */
const SHARE_CAPABILITIES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_MKNOD",
  "CAP_SETFCAP",
  "CAP_SYS_CHROOT",
  // To drop what it does not need.
  "CAP_SETPCAP",
];

function machineFolder(host: MicroHost, id: string): string {
  return path.join(host.context.runtimeDir, "machines", id);
}

/** Makes the namespaces that the containers share and brings the share and the network in. Pure. */
function setupScript({ hostname = "", sysctls = {} }: SandboxRequest, network: GuestNetwork): string {
  return [
    "set -e",
    "mount -t virtiofs berth /share",
    "mkdir -p /run/ns; for n in net ipc uts; do : >/run/ns/$n; done",
    `unshare --net=${GUEST_NAMESPACES.net} --ipc=${GUEST_NAMESPACES.ipc} --uts=${GUEST_NAMESPACES.uts} sleep 2147483647 >/dev/null 2>&1 &`,
    "holder=$!",
    `until grep -q ${GUEST_NAMESPACES.uts} /proc/mounts; do :; done`,
    ...(hostname ? [`nsenter --uts=${GUEST_NAMESPACES.uts} hostname ${hostname}`] : []),
    ...Object.entries(sysctls).map(
      ([name, value]) =>
        `nsenter --net=${GUEST_NAMESPACES.net} --ipc=${GUEST_NAMESPACES.ipc} sysctl -w ${name}='${value}'`,
    ),
    guestScript(network),
  ].join("\n");
}

/** What was written, from a log of the monitor's (`time stream P|F text`; P: the line goes on). Pure. */
export function logText(log: string): string {
  return log.replaceAll(/^\S+ \S+ ([PF]) ([^\n]*)\n/gm, (_line, kind: string, text: string) =>
    kind === "P" ? text : `${text}\n`,
  );
}
