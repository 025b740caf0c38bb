import type { Clock, Logger } from "../../../base/index.ts";
import type { cri } from "../pod/imports.ts";

export interface ImageGcOptions {
  readonly images: cri.ImageService;
  readonly runtime: Pick<cri.RuntimeService, "listContainers">;
  readonly clock: Clock;
  readonly log: Logger;
  /** The share of the disk that is in use, 0 to 1. */
  readonly diskUsed: () => Promise<number>;
}

/** Above the first share images are removed until the second is reached, the longest unused first. Upstream's defaults. */
const HIGH_SHARE = 0.85;
const LOW_SHARE = 0.8;
/** What was seen in use or is younger than this stays. */
const MIN_AGE_MS = 120_000;
const MAX_SEEN = 5_000;

/**
 * Removes images that no container uses when the disk fills. Only what a registry could give again: an image that was built or loaded here has no other
 * copy, and stays.
 */
export class ImageGc {
  readonly #options: ImageGcOptions;
  readonly #seen = new Map<string, { firstMs: number; lastUsedMs: number }>();

  constructor(options: ImageGcOptions) {
    this.#options = options;
  }

  /** Looks who uses what, and frees when the disk is above the high mark. Returns how many bytes of images went. */
  async round(): Promise<number> {
    const unused = await this.#unused();
    if ((await this.#options.diskUsed()) < HIGH_SHARE) return 0;
    return this.#free(unused, LOW_SHARE);
  }

  /** Under disk pressure: everything unused may go. */
  async freeAll(): Promise<number> {
    return this.#free(await this.#unused(), 0);
  }

  async #unused(): Promise<cri.CriImage[]> {
    const { images, runtime, clock } = this.#options;
    const [all, containers] = await Promise.all([images.listImages(), runtime.listContainers()]);
    const used = new Set(containers.map((container) => container.imageId));
    const nowMs = clock.monotonicMs();
    if (this.#seen.size > MAX_SEEN) this.#seen.clear();
    for (const { id } of all) {
      const seen = this.#seen.get(id);
      const lastUsedMs = used.has(id) ? nowMs : (seen?.lastUsedMs ?? Number.NEGATIVE_INFINITY);
      this.#seen.set(id, { firstMs: seen?.firstMs ?? nowMs, lastUsedMs });
    }
    return all
      .filter((image) => !used.has(image.id) && !image.pinned && !image.local)
      .toSorted((a, b) => this.#seen.get(a.id)!.lastUsedMs - this.#seen.get(b.id)!.lastUsedMs);
  }

  async #free(candidates: readonly cri.CriImage[], untilShare: number): Promise<number> {
    const { images, clock, log, diskUsed } = this.#options;
    let freed = 0;
    for (const image of candidates) {
      const { firstMs, lastUsedMs } = this.#seen.get(image.id)!;
      if (clock.monotonicMs() - Math.max(firstMs, lastUsedMs) < MIN_AGE_MS) continue;
      await images.removeImage({ image: image.id });
      log.info("removed an unused image", { image: image.repoTags[0] ?? image.id, sizeBytes: image.sizeBytes });
      freed += image.sizeBytes;
      if ((await diskUsed()) < untilShare) break;
    }
    return freed;
  }
}
