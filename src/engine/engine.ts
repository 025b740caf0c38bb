import type { InstanceContext } from "../base/index.ts";
import { FileContentStore, type ContentStore } from "./content/index.ts";
import { mountsBelow, unmount } from "../host/index.ts";
import { hostFacts, type HostFacts } from "./host-facts.ts";
import { MemoryEventBus, type EventBus } from "./events/index.ts";
import type { RegistryConfig } from "./registry/index.ts";
import { Images, type ImageService } from "./image/index.ts";
import { OverlaySnapshotStore, type SnapshotStore } from "./snapshot/index.ts";

/** What the engine is told by the daemon's configuration. */
export interface EngineOptions {
  readonly registryMirrors: readonly string[];
  readonly insecureRegistries: readonly string[];
  readonly dns: readonly string[];
  readonly addressPools: ReadonlyArray<{ readonly base: string; readonly size: number }>;
  readonly defaultRuntime: string;
  readonly runtimes: Readonly<Record<string, { readonly path: string }>>;
}

export interface Counts {
  readonly containers: number;
  readonly running: number;
  readonly paused: number;
  readonly stopped: number;
  readonly images: number;
}

/** Docker's job as one object: the parts, and the few questions that concern all of them. */
export interface Engine {
  readonly content: ContentStore;
  readonly snapshots: SnapshotStore;
  readonly images: ImageService;
  readonly events: EventBus;
  readonly host: HostFacts;
  readonly options: EngineOptions;
  counts(): Promise<Counts>;
  /** Stops watching; containers keep running. */
  close(): Promise<void>;
  /** Removes everything of this instance from the kernel: what `close` leaves running. */
  destroyAll(): Promise<void>;
}

export async function openEngine(context: InstanceContext, options: EngineOptions): Promise<Engine> {
  const events = new MemoryEventBus(context.clock);
  const content = await FileContentStore.open(context);
  const snapshots = await OverlaySnapshotStore.open(context, content);
  const images = await Images.open({ context, content, snapshots, events, registry: registryConfig(options) });
  return {
    content,
    snapshots,
    images,
    events,
    options,
    host: hostFacts(context, options),
    counts: async () => ({ containers: 0, running: 0, paused: 0, stopped: 0, images: (await images.list()).length }),
    async close() {
      events.close();
      images.close();
      await snapshots.close();
    },
    async destroyAll() {
      for (const target of [context.dataDir, context.runtimeDir].flatMap((folder) => mountsBelow(folder))) {
        unmount(target, { lazy: true });
      }
    },
  };
}

/** As in Docker, mirrors are for Docker Hub. */
function registryConfig(options: EngineOptions): RegistryConfig {
  return {
    mirrors: { "docker.io": options.registryMirrors },
    insecureRegistries: options.insecureRegistries,
    certsDir: "/etc/docker/certs.d",
    env: process.env,
  };
}
