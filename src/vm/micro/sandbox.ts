import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import type { OciResources, OciSpec } from "../../api/index.ts";
import { alreadyExists, type InstanceContext } from "../../base/index.ts";
import {
  readFacts,
  writeFacts,
  type ContainerRequest,
  type Core,
  type RuntimeContainer,
  type Sandbox,
  type SandboxRequest,
} from "../../engine/index.ts";
import { bindMount } from "../../host/index.ts";
import type { Accelerator } from "../hypervisor/argv.ts";
import { GuestAgent } from "./agent.ts";
import { MicroContainer, relayArgs } from "./container.ts";
import { checkExecutable } from "./executable.ts";
import { Machine, MACHINE, SHARE } from "./machine.ts";
import { readNetwork, type GuestNetwork } from "../network/index.ts";
import { guestResolvConf } from "./network.ts";
import { hostSpec, USR_MOUNT } from "./root.ts";
import { GUEST_NAMESPACES, guestFolder, guestSpec, machineSize, type GuestMount } from "./spec.ts";
import type { Templates } from "./template.ts";
import { HostView, removeFolder, viewFolder } from "./view.ts";

/** What all microVMs of an instance have in common, made when the first is asked for. */
export interface MicroHost {
  readonly context: InstanceContext;
  readonly core: Core;
  /** The engine's own isolation, in which everything of a machine runs on the host. */
  readonly process: { createSandbox(request: SandboxRequest): Promise<Sandbox> };
  readonly root: string;
  guest(): Promise<MicroGuest>;
}

/** What machines boot, and what was saved of that. */
export interface MicroGuest {
  readonly accelerator: Accelerator;
  readonly image: string;
  readonly initramfs: string;
  readonly templates: Templates;
}

interface MachineFacts {
  readonly request: SandboxRequest;
  readonly network?: GuestNetwork;
  /** The guest is set up and takes containers. */
  readonly ready: boolean;
}

const SIGKILL = 9;

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
  readonly #machine: Machine;
  readonly #onDestroy: (id: string) => void;
  #booting: Promise<void> | undefined;

  private constructor(host: MicroHost, inner: Sandbox, request: SandboxRequest, onDestroy: (id: string) => void) {
    this.#host = host;
    this.#inner = inner;
    this.id = request.id;
    this.request = request;
    this.#onDestroy = onDestroy;
    const netnsPath = request.netnsPath!;
    this.agent = new GuestAgent(netnsPath);
    this.#machine = new Machine({ host, inner, folder: machineFolder(host, inner.id), netnsPath, agent: this.agent });
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
    try {
      await this.#machine.makeShare();
      // What is made on the host for the container needs no guest yet.
      const [relay, ready] = await Promise.allSettled([
        this.#prepare(request, spec, binds, signal),
        this.#ready(this.request.resources ?? request.spec.linux.resources, signal),
      ]);
      if (ready.status === "rejected") throw ready.reason;
      if (relay.status === "rejected") throw relay.reason;
      return this.#adopt(request, relay.value);
    } catch (error) {
      await this.#inner.container(request.id)?.delete();
      await this.#release(request.id);
      throw error;
    }
  }

  /** Its folder in what the guest sees, and the relay that waits to be started. */
  async #prepare(
    request: ContainerRequest,
    spec: OciSpec,
    binds: readonly GuestMount[],
    signal?: AbortSignal,
  ): Promise<RuntimeContainer> {
    const folder = this.#shared(request.id);
    await mkdir(path.join(folder, "mounts"), { recursive: true });
    await mkdir(path.join(folder, "rootfs"), { recursive: true });
    bindMount(request.spec.root.path, path.join(folder, "rootfs"), { recursive: true });
    for (const bind of binds) await this.#bind(folder, bind.index, bind.source, bind.destination);
    const seccomp = spec.linux.seccomp && (await this.#host.core.seccomp.program(spec.linux.seccomp));
    const annotations = { ...spec.annotations, ...(seccomp ? { "run.oci.seccomp_bpf_data": seccomp } : {}) };
    await writeFile(path.join(folder, "config.json"), JSON.stringify({ ...spec, annotations }), { mode: 0o600 });
    await writeFacts(path.join(folder, "request.json"), request);
    return this.#inner.createContainer(this.#relayRequest(request), signal);
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
    await rm(this.#host.core.layout.bundle(containerId), { recursive: true, force: true });
    await removeFolder(this.#shared(containerId));
    await removeFolder(viewFolder(this.#folder, containerId));
  }

  #ready(resources: OciResources | undefined, signal?: AbortSignal): Promise<void> {
    this.#booting ??= this.#boot(resources, signal).catch(async (error: unknown) => {
      const [machine, share] = await Promise.all([MACHINE, SHARE].map((name) => this.#machine.lastLines(name)));
      this.#host.context.log.error("a microVM did not start", { sandbox: this.id, error, machine, share });
      throw error;
    });
    return this.#booting;
  }

  async #boot(resources: OciResources | undefined, signal?: AbortSignal): Promise<void> {
    const netnsPath = this.request.netnsPath!;
    const guest = await this.#host.guest();
    const network = readNetwork(netnsPath);
    // Without a network it has a card all the same, of which its containers see nothing.
    const shape = { ...machineSize(resources), cards: Math.max(1, network.links.length) };
    const template = await guest.templates.find(shape);
    const running = template
      ? await this.#machine.restore(guest, template, network, this.request, signal).catch(async (error: unknown) => {
          // The next one is booted.
          if (!signal?.aborted) await guest.templates.forget(template);
          throw error;
        })
      : await this.#machine.boot(guest, shape, network, this.request, signal);
    if (!template) void guest.templates.learn(shape);
    this.#watch(running);
    await writeFacts(this.#factsFile, { request: this.request, network, ready: true } satisfies MachineFacts);
  }

  /** Without its machine nothing of a container is left: its relay ends as if killed. Without its files the machine is of no use. */
  #watch(machine: RuntimeContainer): void {
    const share = this.#inner.container(`${this.id}-${SHARE}`);
    void share
      ?.wait()
      .then(
        () => machine.kill(SIGKILL),
        () => {},
      )
      .catch(() => {});
    void machine.wait().then(
      () => {
        this.agent.end();
        return Promise.all(this.#inner.containers().map((container) => container.kill(SIGKILL).catch(() => {})));
      },
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
    const bundles = this.#inner.containers().map(({ id }) => this.#host.core.layout.bundle(id));
    await this.#inner.destroy();
    for (const bundle of bundles) await rm(bundle, { recursive: true, force: true });
    this.#containers.clear();
    await removeFolder(this.#folder);
    this.#onDestroy(this.id);
  }
}

export function machineFolder(host: MicroHost, id: string): string {
  return path.join(host.context.runtimeDir, "machines", id);
}
