/**
 * Opens the builder cheaply: the cache's records are read at once, since the garbage collector must know them, and leftovers are cleared; parser,
 * solver and worker are loaded when somebody builds.
 */
import fs from "node:fs";
import path from "node:path";
import type { InstanceContext } from "../../base/index.ts";
import type { RunOnce } from "../container/index.ts";
import type { ImageService } from "../image/index.ts";
import type { NetworkService } from "../network/index.ts";
import { externalDecompressor, type SnapshotStore } from "../snapshot/index.ts";
import { CacheStore } from "./cache/store.ts";
import type { Builder } from "./types.ts";
import { buildPlaces, reclaimBuilds } from "./worker/places.ts";

export interface OpenBuilderOptions {
  readonly context: InstanceContext;
  readonly images: ImageService;
  readonly snapshots: SnapshotStore;
  readonly networks: NetworkService;
  readonly runOnce: RunOnce;
}

export async function openBuilder(options: OpenBuilderOptions): Promise<Builder> {
  const { context, images, snapshots } = options;
  await reclaimBuilds(context, snapshots);
  const places = buildPlaces(context);
  const cache = new CacheStore(path.join(places.state, "cache"), context.clock);
  const kept = new Set(cache.records().map((record) => record.chainId));
  images.addRoots(() => ({ layers: kept }));
  const load = async (): Promise<Builder> => {
    const [{ createBuilder }, { createEngineWorker }] = await Promise.all([
      import("./builder.ts"),
      import("./worker/engine.ts"),
    ]);
    for (const directory of [places.mounts, places.secrets, places.files])
      fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    return createBuilder({
      worker: createEngineWorker({ ...options, kept }),
      cache,
      directory: places.state,
      clock: context.clock,
      random: context.random,
      log: context.log.with({ room: "build" }),
      decompressor: externalDecompressor,
    });
  };
  let loading: Promise<Builder> | undefined;
  const builder = () => (loading ??= load());
  return {
    build: async (request, signal) => (await builder()).build(request, signal),
    cache: {
      list: async () => (await builder()).cache.list(),
      prune: async (pruning) => (await builder()).cache.prune(pruning),
    },
  };
}
