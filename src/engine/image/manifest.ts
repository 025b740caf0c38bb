import {
  INDEX_TYPES,
  MANIFEST_TYPES,
  type OciDescriptor,
  type OciImageConfig,
  type OciIndex,
  type OciManifest,
  type OciPlatform,
} from "../../api/index.ts";
import { invalidArgument } from "../../base/index.ts";
import { isDigest } from "../content/index.ts";

/** More layers than any runtime mounts; more entries than any index has. */
const MAX_LAYERS = 256;
const MAX_ENTRIES = 4096;

/** What came from outside is checked field by field before anybody relies on its shape. Throws `invalidArgument` naming the fault. */
export function parseManifest(bytes: Buffer): OciManifest {
  const value = parseObject(bytes, "manifest");
  if (value["schemaVersion"] !== 2) throw invalidArgument("the manifest has an unknown schema version");
  const layers = value["layers"];
  if (!Array.isArray(layers) || layers.length > MAX_LAYERS)
    throw invalidArgument(`the manifest has no list of at most ${MAX_LAYERS} layers`);
  checkDescriptor(value["config"], "config");
  layers.forEach((layer, index) => checkDescriptor(layer, `layer ${index}`));
  return value as unknown as OciManifest;
}

export function parseIndex(bytes: Buffer): OciIndex {
  const value = parseObject(bytes, "index");
  const manifests = value["manifests"];
  if (value["schemaVersion"] !== 2 || !Array.isArray(manifests) || manifests.length > MAX_ENTRIES)
    throw invalidArgument("the image index is broken");
  manifests.forEach((entry, index) => checkDescriptor(entry, `entry ${index}`));
  return value as unknown as OciIndex;
}

/** An image configuration whose layers are as many as the manifest's. */
export function parseConfig(bytes: Buffer, layerCount?: number): OciImageConfig {
  const value = parseObject(bytes, "image configuration");
  const rootfs = value["rootfs"] as { diff_ids?: unknown } | undefined;
  const diffIds = rootfs?.diff_ids ?? [];
  if (!Array.isArray(diffIds) || !diffIds.every((digest) => typeof digest === "string" && isDigest(digest)))
    throw invalidArgument("the image configuration has broken layer digests");
  if (layerCount !== undefined && diffIds.length !== layerCount)
    throw invalidArgument(`the image configuration has ${diffIds.length} layers where the manifest has ${layerCount}`);
  if (typeof value["os"] !== "string" || typeof value["architecture"] !== "string")
    throw invalidArgument("the image configuration doesn't say for which platform it is");
  return { ...value, rootfs: { type: "layers", diff_ids: diffIds as string[] } } as unknown as OciImageConfig;
}

export function platformOf(config: OciImageConfig): OciPlatform {
  return { os: config.os, architecture: config.architecture, ...(config.variant && { variant: config.variant }) };
}

export function isIndexType(mediaType: string): boolean {
  return INDEX_TYPES.includes(mediaType);
}

export function isManifestType(mediaType: string): boolean {
  return MANIFEST_TYPES.includes(mediaType);
}

function parseObject(bytes: Buffer, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw invalidArgument(`the ${what} is not JSON`, { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidArgument(`the ${what} is not a JSON object`);
  return value as Record<string, unknown>;
}

function checkDescriptor(value: unknown, what: string): asserts value is OciDescriptor {
  const descriptor = value as Partial<OciDescriptor> | null | undefined;
  const good =
    typeof descriptor === "object" &&
    descriptor !== null &&
    typeof descriptor.mediaType === "string" &&
    typeof descriptor.digest === "string" &&
    isDigest(descriptor.digest) &&
    Number.isSafeInteger(descriptor.size) &&
    descriptor.size! >= 0;
  if (!good) throw invalidArgument(`the manifest's ${what} is no valid descriptor`);
}
