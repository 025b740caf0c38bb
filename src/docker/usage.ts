import type { Engine } from "../engine/index.ts";
import { imageSummary } from "./routes/image-shapes.ts";
import { sharedSizes } from "./routes/images.ts";
import type { UsageSource } from "./routes/system.ts";

/** Since v1.44 summaries have no fields that repeat each other. */
const OLDEST_PLAIN_MINOR = 44;

/** What `docker system df` shows, from each part of the engine. */
export function createUsage(engine: Engine): UsageSource {
  return {
    layersSizeBytes: () => engine.images.layersSizeBytes(),
    images: async () => {
      const images = await engine.images.list();
      const shared = sharedSizes(images);
      return images.map((image) => imageSummary(image, shared.get(image.id) ?? 0, 0, OLDEST_PLAIN_MINOR));
    },
    containers: async () => [],
    volumes: async () => [],
    buildCache: async () => [],
  };
}
