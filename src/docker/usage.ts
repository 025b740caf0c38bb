import type { Engine } from "../engine/index.ts";
import type { UsageSource } from "./routes/system.ts";

/** What `docker system df` shows, from each part of the engine. */
export function createUsage(_engine: Engine): UsageSource {
  return {
    layersSizeBytes: async () => 0,
    images: async () => [],
    containers: async () => [],
    volumes: async () => [],
    buildCache: async () => [],
  };
}
