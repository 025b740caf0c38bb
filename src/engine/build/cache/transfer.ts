/** Carries a build's cache to another place and back: a manifest over the layers, with the records as its configuration. */
import { MEDIA, type OciDescriptor, type OciManifest } from "../../../api/index.ts";
import { invalidArgument, MAX_SMALL_FILE_BYTES, unavailable } from "../../../base/index.ts";
import { digestOf } from "../../content/index.ts";
import type { ArtifactPlace, PackedLayer } from "../../image/index.ts";
import type { Layer } from "../types.ts";
import type { Worker } from "../worker/worker.ts";
import {
  CACHE_CONFIG_TYPE,
  decodeCacheConfig,
  encodeCacheConfig,
  type CacheConfig,
  type CacheEntry,
} from "./config.ts";
import type { InlineRecord } from "./exchange.ts";
import { Readable } from "node:stream";

/** Sends what the records stand for and all below it, each layer once; what is there already isn't sent. */
export async function exportCache(
  place: ArtifactPlace,
  records: readonly InlineRecord[],
  worker: Worker,
  signal: AbortSignal,
): Promise<void> {
  const packed: { layer: PackedLayer; parent: number | undefined }[] = [];
  const known = new Map<string, number>();
  const entries: CacheEntry[] = [];
  for (const { key, chainId, description, createdAtMs } of records) {
    let below: number | undefined;
    for (const layer of worker.chain(chainId)) {
      const index =
        known.get(layer.chainId) ?? packed.push({ layer: await worker.pack(layer.chainId, signal), parent: below }) - 1;
      known.set(layer.chainId, index);
      below = index;
    }
    if (below !== undefined) entries.push({ key, layer: below, description, createdAtMs });
  }
  for (const { layer } of packed) await place.putBlob(descriptorOf(layer), () => layer.open());
  const config = encodeCacheConfig({ layers: packed.map(({ layer, parent }) => ({ ...layer, parent })), entries });
  const configDescriptor = { mediaType: CACHE_CONFIG_TYPE, digest: digestOf(config), size: config.byteLength };
  await place.putBlob(configDescriptor, async () => Readable.from([config]));
  const unique = new Map(packed.map(({ layer }) => [layer.digest, descriptorOf(layer)]));
  const manifest: OciManifest = {
    schemaVersion: 2,
    mediaType: MEDIA.ociManifest,
    config: configDescriptor,
    layers: [...unique.values()],
  };
  await place.putManifest(MEDIA.ociManifest, Buffer.from(JSON.stringify(manifest)));
}

/** The manifest speaks OCI, where gzip has a name of its own. */
function descriptorOf(layer: PackedLayer): OciDescriptor {
  const mediaType = layer.mediaType === MEDIA.dockerLayerGzip ? MEDIA.ociLayerGzip : layer.mediaType;
  return { mediaType, digest: layer.digest, size: layer.sizeBytes };
}

/** A cache elsewhere: its records are known, its layers fetched when one of them is wanted. */
export class RemoteCache {
  readonly #place: ArtifactPlace;
  readonly #config: CacheConfig;
  readonly #entries: ReadonlyMap<string, CacheEntry>;

  private constructor(place: ArtifactPlace, config: CacheConfig) {
    this.#place = place;
    this.#config = config;
    this.#entries = new Map(config.entries.map((entry) => [entry.key, entry]));
  }

  /** Undefined when the name stands for something else, an image mostly. `unavailable` when there is nothing. */
  static async open(place: ArtifactPlace): Promise<RemoteCache | undefined> {
    const found = await place.manifest();
    if (!found) throw unavailable("there is no cache yet");
    const { config } = JSON.parse(found.bytes.toString("utf8")) as Partial<OciManifest>;
    if (config?.mediaType !== CACHE_CONFIG_TYPE) return undefined;
    const bytes = await readAll(await place.blob(config.digest), MAX_SMALL_FILE_BYTES);
    if (digestOf(bytes) !== config.digest)
      throw invalidArgument("the cache's description has another digest than its manifest says");
    return new RemoteCache(place, decodeCacheConfig(bytes));
  }

  entry(key: string): CacheEntry | undefined {
    return this.#entries.get(key);
  }

  /** Brings the layer of an entry here, and those below. */
  async fetch(entry: CacheEntry, worker: Worker, signal: AbortSignal): Promise<Layer> {
    const indexes: number[] = [];
    for (let index: number | undefined = entry.layer; index !== undefined; index = this.#config.layers[index]!.parent)
      indexes.unshift(index);
    let layer: Layer | undefined;
    for (const index of indexes) {
      const { parent: _, ...packed } = this.#config.layers[index]!;
      layer = await worker.unpack(layer?.chainId, packed, () => this.#place.blob(packed.digest), signal);
    }
    return layer!;
  }
}

async function readAll(source: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of source) {
    size += (chunk as Buffer).byteLength;
    if (size > maxBytes) throw invalidArgument("the cache's description is too large");
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
