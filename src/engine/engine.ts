import type { InstanceContext } from "../base/index.ts";
import { Cgroup, mountsBelow, unmount } from "../host/index.ts";
import { componentVersions, type ComponentVersions } from "./component-versions.ts";
import { openBuilder, reclaimRuns, type Builder } from "./build/index.ts";
import {
  Core,
  createRunOnce,
  initBinary,
  DockerContainers,
  isRunning,
  ProcessIsolation,
  readIdMappings,
  type Isolation,
  type IsolationName,
  type Sandbox,
} from "./container/index.ts";
import { FileContentStore } from "./content/index.ts";
import { MemoryEventBus, type EventBus } from "./events/index.ts";
import { hostFacts, type HostFacts } from "./host-facts.ts";
import { Images, PackageBootstrapper, type ImageService } from "./image/index.ts";
import { openNetworks, type NetworkService } from "./network/index.ts";
import type { EngineOptions, ReloadableOptions } from "./options.ts";
import { OverlaySnapshotStore, type SnapshotStore } from "./snapshot/index.ts";
import { openVolumes, type VolumeService } from "./volume/index.ts";

export interface Counts {
  readonly containers: number;
  readonly running: number;
  readonly paused: number;
  readonly stopped: number;
  readonly images: number;
}

/** Docker's job as one object: the parts, and the few questions that concern all of them. */
export interface Engine {
  readonly content: FileContentStore;
  readonly snapshots: SnapshotStore;
  readonly images: Images;
  readonly builder: Builder;
  readonly containers: DockerContainers;
  readonly networks: NetworkService;
  readonly volumes: VolumeService;
  readonly events: EventBus;
  /** The runtime core and the isolations, for the CRI. */
  readonly core: Core;
  readonly isolations: ReadonlyMap<IsolationName, Isolation>;
  /** What the isolations found still there at start, whoever owns it. */
  readonly recovered: readonly Sandbox[];
  readonly host: HostFacts;
  readonly options: EngineOptions;
  /** Takes over what may change while it runs: registries, runtimes and labels. Tells it as an event. */
  reconfigure(options: ReloadableOptions): void;
  counts(): Promise<Counts>;
  componentVersions(): Promise<ComponentVersions>;
  /** Stops watching; containers keep running. */
  close(): Promise<void>;
  /** Removes everything of this instance from the kernel: what `close` leaves running. */
  destroyAll(): Promise<void>;
}

/**
 * Puts the rooms together and finds again what a former daemon left. The order matters: runtimes' mount namespace before any mount below
 * the runtime directory, sandboxes before who owns them, owners before networks and volumes, which drop what nobody owns.
 */
export async function openEngine(context: InstanceContext, options: EngineOptions): Promise<Engine> {
  const idMappings = options.usernsRemap === undefined ? undefined : readIdMappings(options.usernsRemap);
  const events = new MemoryEventBus(context.clock);
  const core = new Core(context, runtimesOf(options));
  const registry = registryConfig(options);
  let current = options;
  const [content] = await Promise.all([FileContentStore.open(context), core.open()]);
  const snapshots = await OverlaySnapshotStore.open(context, content);
  const [images, networks, volumes] = await Promise.all([
    Images.open({
      context,
      content,
      snapshots,
      events,
      registry,
      bootstrapper: new PackageBootstrapper(context),
    }),
    openNetworks(context, {
      events,
      dns: options.dns,
      dnsSearch: options.dnsSearch,
      dnsOptions: options.dnsOptions,
      addressPools: options.addressPools,
      bridge: options.bridge,
    }),
    openVolumes(context, { events }),
  ]);
  const process = new ProcessIsolation(core);
  const isolations = new Map([process, ...(options.isolations ?? [])].map((isolation) => [isolation.name, isolation]));
  const containers = new DockerContainers({
    ctx: context,
    core,
    isolations,
    images,
    snapshots,
    networks,
    volumes,
    events,
    defaults: { ...options.containerDefaults, idMappings },
  });
  const builder = await openBuilder({ context, images, snapshots, networks, runOnce: createRunOnce(process) });

  await containers.load();
  const sandboxes = (await Promise.all([...isolations.values()].map((isolation) => isolation.recover()))).flat();
  await Promise.all([
    networks.recover(
      new Set([...containers.runningIds(), ...sandboxes.map(({ id }) => id), ...(options.claimedSandboxes?.() ?? [])]),
    ),
    volumes.recover(containers.ids()),
  ]);
  await containers.recover(sandboxes);
  await reclaimRuns(sandboxes);
  // What a crash left unfinished is garbage now; nobody waits for it to go.
  images.collectGarbage().catch((error: unknown) => context.log.warn("collecting garbage failed", { error }));

  return {
    content,
    snapshots,
    images,
    builder,
    containers,
    networks,
    volumes,
    events,
    core,
    isolations,
    recovered: sandboxes,
    get options() {
      return current;
    },
    get host() {
      return hostFacts(context, current);
    },
    reconfigure(changes) {
      current = { ...current, ...changes };
      Object.assign(registry, registryConfig(current));
      core.reconfigure(runtimesOf(current));
      events.publish("daemon", "reload", context.instance, { name: context.instance });
    },
    counts: () => count(containers, images),
    componentVersions: componentVersions({
      monitor: core.conmon,
      runtime: core.runtimeBinary(),
      init: initBinary(options.containerDefaults?.initPath),
    }),
    async close() {
      await containers.close();
      await Promise.all([...isolations.values()].map((isolation) => isolation.close()));
      await Promise.all([networks.close(), volumes.close()]);
      images.close();
      events.close();
      await snapshots.close();
    },
    async destroyAll() {
      for (const { id } of containers.store.list()) await containers.remove(id, { force: true, volumes: false });
      for (const isolation of isolations.values()) {
        for (const sandbox of await isolation.recover()) await sandbox.destroy();
      }
      await networks.destroyAll();
      unmountAll([context.runtimeDir, context.dataDir]);
      await new Cgroup(core.cgroups, core.cgroupParent).remove();
    },
  };
}

async function count(containers: DockerContainers, images: ImageService): Promise<Counts> {
  const records = containers.store.list();
  const running = records.filter((record) => isRunning(record));
  const paused = running.filter(({ state }) => state.status === "paused").length;
  return {
    containers: records.length,
    running: running.length - paused,
    paused,
    stopped: records.length - running.length,
    images: (await images.list()).length,
  };
}

function runtimesOf({ defaultRuntime, runtimes }: EngineOptions) {
  const paths = Object.entries(runtimes).map(([name, runtime]) => [name, runtime.path] as const);
  return { defaultRuntime, runtimes: Object.fromEntries(paths) };
}

function registryConfig(options: EngineOptions) {
  const { registryMirrors, insecureRegistries, certsDir = "/etc/docker/certs.d", transfers } = options;
  return {
    mirrors: { "docker.io": registryMirrors },
    insecureRegistries,
    certsDir,
    transfers,
    env: globalThis.process.env,
  };
}

function unmountAll(folders: readonly string[]): void {
  for (const target of folders.flatMap((folder) => mountsBelow(folder))) unmount(target, { lazy: true });
}
