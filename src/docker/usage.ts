import { listContainers, type Engine } from "../engine/index.ts";
import { buildCacheRecord } from "./routes/build.ts";
import { imageSummary } from "./routes/image-shapes.ts";
import { sharedSizes } from "./routes/images.ts";
import type { UsageSource } from "./routes/system.ts";
import { volumeUsageView } from "./routes/volumes.ts";
import { MAX_API_MINOR } from "./version.ts";

/** What `docker system df` shows, from each part of the engine. */
export function createUsage({ images, containers, volumes, builder }: Engine): UsageSource {
  return {
    layersSizeBytes: () => images.layersSizeBytes(),
    async images() {
      const all = (await images.list()).filter((image) => image.partOf === undefined);
      const shared = sharedSizes(all);
      const users = new Map<string, number>();
      for (const { imageId } of containers.store.list()) users.set(imageId, (users.get(imageId) ?? 0) + 1);
      return all.map((image) =>
        imageSummary(image, shared.get(image.id) ?? 0, users.get(image.id) ?? 0, MAX_API_MINOR),
      );
    },
    containers: () => listContainers(containers, { all: true, size: true }),
    volumes: async () => (await volumes.usage()).map(volumeUsageView),
    buildCache: async () => (await builder.cache.list()).map(buildCacheRecord),
  };
}
