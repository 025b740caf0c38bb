/**
 * The form in which cache records travel: BuildKit's cache configuration v0 (moby/buildkit, cache/remotecache/v1/spec), a JSON document beside
 * the layers it speaks of. The form is BuildKit's, the keys are our own: a builder finds only what a builder of its kind has left.
 */
import { invalidArgument } from "../../../base/index.ts";

export const CACHE_CONFIG_TYPE = "application/vnd.buildkit.cacheconfig.v0";
const MAX_LAYERS = 10_000;
const MAX_RECORDS = 10_000;

export interface CacheLayer {
  readonly digest: string;
  readonly diffId: string;
  readonly sizeBytes: number;
  readonly mediaType: string;
  /** Index of the layer below; undefined for the lowest. */
  readonly parent: number | undefined;
}

export interface CacheEntry {
  readonly key: string;
  /** Index of the layer that it gave. */
  readonly layer: number;
  readonly description: string;
  readonly createdAtMs: number;
}

export interface CacheConfig {
  readonly layers: readonly CacheLayer[];
  readonly entries: readonly CacheEntry[];
}

export function encodeCacheConfig({ layers, entries }: CacheConfig): Buffer {
  const document = {
    layers: layers.map(({ digest, diffId, sizeBytes, mediaType, parent }) => ({
      blob: digest,
      parent: parent ?? -1,
      annotations: { mediaType, diffID: diffId, size: sizeBytes },
    })),
    records: entries.map(({ key, layer, description, createdAtMs }) => ({
      layers: [{ layer, createdAt: new Date(createdAtMs).toISOString() }],
      digest: `sha256:${key}`,
      description,
    })),
  };
  return Buffer.from(JSON.stringify(document));
}

/** Checked field by field, since it comes from outside. A layer's parent always stands before it, so that there are no circles. */
export function decodeCacheConfig(bytes: Buffer): CacheConfig {
  let document: { layers?: unknown; records?: unknown };
  try {
    document = (JSON.parse(bytes.toString("utf8")) ?? {}) as typeof document;
  } catch (error) {
    throw invalidArgument("the cache's description is not JSON", { cause: error });
  }
  const layers = listOf(document.layers, MAX_LAYERS).map(toLayer);
  const entries = listOf(document.records, MAX_RECORDS).flatMap((value) => toEntry(value, layers.length));
  return { layers, entries };
}

function listOf(value: unknown, max: number): Record<string, unknown>[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > max) throw invalidArgument("the cache's description is broken");
  return value.map((each) => (typeof each === "object" && each !== null ? (each as Record<string, unknown>) : {}));
}

function toLayer(value: Record<string, unknown>, index: number): CacheLayer {
  const { mediaType, diffID, size } = (value["annotations"] ?? {}) as Record<string, unknown>;
  const { blob, parent = 0 } = value;
  const good =
    isDigest(blob) &&
    isDigest(diffID) &&
    typeof mediaType === "string" &&
    Number.isSafeInteger(size) &&
    (size as number) >= 0 &&
    Number.isInteger(parent) &&
    (parent as number) >= -1 &&
    (parent as number) < index;
  if (!good) throw invalidArgument(`layer ${index} of the cache's description is broken`);
  const below = parent as number;
  return {
    digest: blob,
    diffId: diffID,
    mediaType,
    sizeBytes: size as number,
    parent: below === -1 ? undefined : below,
  };
}

/** Records without a result of their own are BuildKit's links between others: nothing for us. */
function toEntry(value: Record<string, unknown>, layerCount: number): CacheEntry[] {
  const [result] = listOf(value["layers"], MAX_LAYERS);
  const { digest, description } = value;
  const layer = result?.["layer"];
  if (!isDigest(digest) || !Number.isInteger(layer) || (layer as number) < 0 || (layer as number) >= layerCount)
    return [];
  const created = result?.["createdAt"];
  const createdAtMs = typeof created === "string" ? Date.parse(created) : 0;
  return [
    {
      key: digest.slice("sha256:".length),
      layer: layer as number,
      description: typeof description === "string" ? description.slice(0, 1024) : "",
      createdAtMs: Number.isNaN(createdAtMs) ? 0 : createdAtMs,
    },
  ];
}

function isDigest(value: unknown): value is string {
  return typeof value === "string" && /^sha256:[0-9a-f]{64}$/.test(value);
}
