import { mkdir, readdir, rm } from "node:fs/promises";
import path from "node:path";
import {
  failedPrecondition,
  invalidArgument,
  KeyedMutex,
  messageOf,
  parseQuantity,
  type Clock,
  type Logger,
} from "../../../base/index.ts";
import { PLUGIN_PROTOS } from "../../../api/index.ts";
import type { KubeletHost } from "../kubelet-api.ts";
import { restartableInit } from "../pod/containers.ts";
import type { Container, Pod } from "../pod/imports.ts";
import type { PluginHandler, PluginInfo } from "../plugins/registry.ts";
import type { Verdict } from "../pod/verdict.ts";
import { Allocations, type Allocation } from "./allocations.ts";
import { Inventory } from "./inventory.ts";
import { DevicePlugin } from "./plugin.ts";

export interface DeviceManagerOptions {
  readonly host: Pick<KubeletHost, "listen">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Plugins put their sockets here, beside `kubelet.sock`. */
  readonly folder: string;
  /** Which container has what. Survives a reboot. */
  readonly checkpoint: string;
  /** The node's status has changed. */
  readonly report: () => Promise<void>;
}

/** What a container gets for its devices, from all their plugins. */
export interface DeviceEdits {
  readonly envs: ReadonlyArray<readonly [string, string]>;
  readonly mounts: ReadonlyArray<{ containerPath: string; hostPath: string; readOnly: boolean }>;
  readonly devices: ReadonlyArray<{ containerPath: string; hostPath: string; permissions: string }>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly cdiDevices: readonly string[];
}

const VERSION = "v1beta1";
const SOCKET = "kubelet.sock";
const SERVICE = { proto: PLUGIN_PROTOS.deviceplugin, name: `${VERSION}.Registration` };
/** `vendor.com/device`: neither Kubernetes' own nor a quota's. */
const RESOURCE_NAME =
  /^(?!requests\.)(?!([a-z0-9-]+\.)*kubernetes\.io\/)[a-z0-9]([a-z0-9.-]*[a-z0-9])?\/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const MAX_NAME = 253 + 1 + 63;

/**
 * Devices that plugins bring to the node: who registers says which resource it has, its devices are counted in the node's status, and a Pod that asks for some
 * gets them when it is admitted, for as long as it runs.
 */
export class DeviceManager implements PluginHandler {
  readonly #options: DeviceManagerOptions;
  readonly #inventory: Inventory;
  readonly #allocations: Allocations;
  /** By resource: one container at a time chooses. */
  readonly #choosing = new KeyedMutex();
  readonly #stop = new AbortController();
  #listening: { close(): Promise<void> } | undefined;

  constructor(options: DeviceManagerOptions) {
    this.#options = options;
    this.#inventory = new Inventory(options.clock);
    this.#allocations = new Allocations(options.checkpoint);
  }

  /** Plugins notice that the folder was emptied, and register again. */
  async start(): Promise<void> {
    const { folder, host } = this.#options;
    for (const resource of await this.#allocations.load()) this.#inventory.expect(resource);
    await mkdir(folder, { recursive: true, mode: 0o755 });
    for (const name of await readdir(folder)) await rm(path.join(folder, name), { recursive: true, force: true });
    this.#listening = await host.listen(path.join(folder, SOCKET), async () => {
      const { grpcServer } = await import("../../grpc/index.ts");
      return grpcServer(SERVICE, { Register: async (request) => this.#registered(request) });
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    for (const name of this.#inventory.names()) this.#inventory.plugin(name)?.close();
    await this.#listening?.close();
  }

  async #registered(request: Readonly<Record<string, string>>): Promise<object> {
    const { version, endpoint = "", resourceName = "" } = request;
    if (version !== VERSION)
      throw invalidArgument(
        `requested API version "${version}" is not supported by kubelet. Supported version is ["${VERSION}"]`,
      );
    if (!isResourceName(resourceName)) throw invalidArgument(`the ResourceName "${resourceName}" is invalid`);
    if (path.basename(endpoint) !== endpoint || endpoint === "" || endpoint === SOCKET)
      throw invalidArgument(`the endpoint "${endpoint}" is not the name of a socket in the kubelet's folder`);
    // Answered first: many a plugin serves only then.
    void this.#connect(resourceName, path.join(this.#options.folder, endpoint)).catch((error: unknown) =>
      this.#options.log.warn("a device plugin can't be reached", { resource: resourceName, error: messageOf(error) }),
    );
    return {};
  }

  /** By way of the folder that all kinds of plugins share. */
  async register({ name, endpoint, supportedVersions }: PluginInfo): Promise<void> {
    if (!supportedVersions.includes(VERSION))
      throw invalidArgument(
        `manager version, ${VERSION}, is not among plugin supported versions ${supportedVersions.join(" ")}`,
      );
    if (!isResourceName(name)) throw invalidArgument(`invalid name of device plugin resource: ${name}`);
    await this.#connect(name, endpoint);
  }

  /** Its stream ends when it goes; that is enough. */
  unregister(): void {}

  async #connect(resource: string, socket: string): Promise<void> {
    const plugin = await DevicePlugin.connect(socket, this.#options.clock);
    if (this.#stop.signal.aborted) return plugin.close();
    const first = !this.#inventory.has(resource);
    this.#inventory.register(resource, plugin)?.close();
    if (first) await this.#save();
    void this.#follow(resource, plugin);
  }

  async #follow(resource: string, plugin: DevicePlugin): Promise<void> {
    const { log, report } = this.#options;
    try {
      for await (const devices of plugin.devices(this.#stop.signal)) {
        if (!this.#inventory.update(resource, plugin, devices)) break;
        // One that fails comes again by itself.
        await report().catch(() => {});
      }
    } catch (error) {
      log.debug("a device plugin's stream ended", { resource, error: messageOf(error) });
    } finally {
      plugin.close();
    }
    if (!this.#stop.signal.aborted && this.#inventory.lost(resource, plugin)) await report().catch(() => {});
  }

  /** For the node's status. */
  quantities(): { capacity: Record<string, string>; allocatable: Record<string, string> } {
    return this.#inventory.quantities();
  }

  /**
   * Chooses devices for every container of the Pod that asks for some. Undefined when all have theirs; else why the Pod can't run here. Idempotent. What init
   * containers had goes to those after them.
   */
  async admit(pod: Pod): Promise<Verdict | undefined> {
    const uid = pod.metadata.uid!;
    const reusable = new Map<string, Set<string>>();
    try {
      for (const { container, passesOn } of inOrder(pod))
        for (const [resource, size] of this.#wanted(uid, container)) {
          const spare = reusable.get(resource) ?? new Set();
          const ids = await this.#allocate(uid, container, resource, size, spare);
          for (const id of ids)
            if (passesOn) spare.add(id);
            else spare.delete(id);
          reusable.set(resource, spare);
        }
      return undefined;
    } catch (error) {
      this.release(uid);
      return {
        reason: "UnexpectedAdmissionError",
        message: `Pod was rejected: Allocate failed due to ${messageOf(error)}, which is unexpected`,
      };
    }
  }

  /** How many of which of this manager's resources. Limits, since nobody may ask for more than he is given. */
  #wanted(uid: string, { name, resources }: Container): Array<[resource: string, size: number]> {
    const had = this.#allocations.of(uid, name);
    return Object.entries(resources?.limits ?? {})
      .filter(([resource]) => this.#inventory.has(resource) || had.has(resource))
      .map(([resource, quantity]): [string, number] => [resource, parseQuantity(quantity)])
      .filter(([, size]) => size > 0);
  }

  async #allocate(
    uid: string,
    { name }: Container,
    resource: string,
    size: number,
    spare: ReadonlySet<string>,
  ): Promise<readonly string[]> {
    const had = this.#allocations.of(uid, name).get(resource);
    if (had && had.ids.length !== size)
      throw failedPrecondition(
        `pod "${uid}" container "${name}" changed request for resource "${resource}" from ${had.ids.length} to ${size}`,
      );
    if (had?.edits) return had.ids;
    const plugin = this.#inventory.plugin(resource);
    const ids = await this.#choosing.run(resource, async () => {
      const chosen = await this.#choose(resource, size, spare);
      this.#allocations.set(uid, name, resource, { ids: chosen, edits: undefined });
      return chosen;
    });
    if (!plugin) throw failedPrecondition(`unknown Device Plugin ${resource}`);
    this.#allocations.set(uid, name, resource, { ids, edits: await plugin.allocate(ids) });
    await this.#save();
    return ids;
  }

  async #choose(resource: string, size: number, spare: ReadonlySet<string>): Promise<string[]> {
    const healthy = this.#inventory.healthy(resource).map(({ id }) => id);
    const chosen = healthy.filter((id) => spare.has(id)).slice(0, size);
    if (chosen.length === size) return chosen;
    const inUse = this.#allocations.inUse(resource);
    const available = healthy.filter((id) => !inUse.has(id)).toSorted();
    const needed = size - chosen.length;
    if (available.length < needed)
      throw failedPrecondition(
        `requested number of devices unavailable for ${resource}. Requested: ${needed}, Available: ${available.length}`,
      );
    const plugin = this.#inventory.plugin(resource);
    const preferred = plugin?.options.prefersDevices
      ? await plugin.preferred([...chosen, ...available], chosen, size)
      : [];
    // Its wish is taken as far as it is possible.
    const wished = preferred.filter((id) => available.includes(id));
    return [...new Set([...chosen, ...wished, ...available])].slice(0, size);
  }

  /** What the container gets, when it is about to be made. Throws what a plugin has against it. */
  async edits(pod: Pod, { name }: Container): Promise<DeviceEdits> {
    const allocations = [...this.#allocations.of(pod.metadata.uid!, name)];
    for (const [resource, { ids }] of allocations) await this.#preStart(resource, ids);
    const edits = allocations.flatMap(([, allocation]) => allocation.edits ?? []);
    return {
      envs: edits.flatMap(({ envs }) => Object.entries(envs)),
      mounts: edits.flatMap(({ mounts }) => mounts),
      devices: edits.flatMap(({ devices }) => devices),
      annotations: Object.assign({}, ...edits.map(({ annotations }) => annotations)) as Record<string, string>,
      cdiDevices: edits.flatMap(({ cdiDevices }) => cdiDevices),
    };
  }

  async #preStart(resource: string, ids: readonly string[]): Promise<void> {
    const plugin = this.#inventory.plugin(resource);
    if (!plugin?.options.preStartRequired) return;
    try {
      await plugin.preStart(ids);
    } catch (error) {
      throw failedPrecondition(`device plugin PreStartContainer rpc failed with err: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** The Pod's containers have ended for good. */
  release(uid: string): void {
    if (!this.#allocations.release(uid)) return;
    this.#save().catch((error: unknown) =>
      this.#options.log.warn("who has which devices could not be written", { error: messageOf(error) }),
    );
  }

  /** Pods that went while nobody looked. */
  keepOnly(uids: (uid: string) => boolean): void {
    for (const uid of this.#allocations.pods()) if (!uids(uid)) this.release(uid);
  }

  /** By resource, with the NUMA nodes of the devices. For exporters. */
  allocated(uid: string, container: string): ReportedDevices[] {
    return [...this.#allocations.of(uid, container)].map(([resource, { ids }]: [string, Allocation]) => ({
      resource,
      devices: ids.map((id) => ({ id, nodes: this.#inventory.device(resource, id)?.nodes ?? [] })),
    }));
  }

  /** All that can be had, whoever has it. */
  allocatable(): ReportedDevices[] {
    return this.#inventory.names().map((resource) => ({ resource, devices: this.#inventory.healthy(resource) }));
  }

  #save(): Promise<void> {
    return this.#allocations.save(this.#inventory.names());
  }
}

export interface ReportedDevices {
  readonly resource: string;
  readonly devices: ReadonlyArray<{ readonly id: string; readonly nodes: readonly number[] }>;
}

function isResourceName(name: string): boolean {
  return name.length <= MAX_NAME && RESOURCE_NAME.test(name);
}

/** Init containers as they run, then the others. What an init container had is free for those after it, unless it goes on running. */
function inOrder(pod: Pod): Array<{ container: Container; passesOn: boolean }> {
  return [
    ...(pod.spec?.initContainers ?? []).map((container) => ({ container, passesOn: !restartableInit(container) })),
    ...(pod.spec?.containers ?? []).map((container) => ({ container, passesOn: false })),
  ];
}
