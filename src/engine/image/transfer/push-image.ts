import { MEDIA, type OciDescriptor } from "../../../api/index.ts";
import { conflict } from "../../../base/index.ts";
import type { ExportOptions } from "../../snapshot/index.ts";
import { knownManifest, writeManifest, type MadeManifest } from "../create.ts";
import type { Library } from "../library.ts";
import { parseIndex, parseManifest } from "../manifest.ts";
import { isWhole } from "../parts.ts";
import { hostPlatform, platformScore } from "../platform.ts";
import type { Image, ImagePart, TransferOptions } from "../types.ts";
import { pushLayers, pushSmall, type PushEnvironment } from "./push.ts";

/** One image: layers, configuration. What isn't packed yet is sent while it is packed, so the manifest may come last; the caller sends it. */
export async function pushParts(
  library: Library,
  environment: PushEnvironment,
  image: Image,
  options: TransferOptions,
): Promise<MadeManifest> {
  const { snapshots } = library.parts;
  const known = await knownManifest(library, image.id);
  const descriptors = known && parseManifest(known.bytes).layers;
  const layers = image.layers.map(({ chainId, diffId, tarBytes }, index) => {
    const from = descriptors?.[index];
    const ready = from
      ? { digest: from.digest, sizeBytes: from.size, mediaType: from.mediaType }
      : snapshots.readyBlob(chainId);
    const pack = (how: ExportOptions) => snapshots.exportBlob(chainId, how);
    return { id: ready?.digest ?? diffId, tarBytes, ready, pack };
  });
  const blobs = await pushLayers(environment, layers, options);
  const made = known ?? (await writeManifest(library, image.id, blobs));
  await pushSmall(environment, parseManifest(made.bytes).config, options.signal);
  return made;
}

/** All images of an index, each under its digest; the caller sends the index itself. */
export async function pushIndexParts(
  library: Library,
  environment: PushEnvironment,
  index: OciDescriptor,
  parts: readonly ImagePart[],
  options: TransferOptions,
): Promise<MadeManifest> {
  for (const { image } of parts) {
    const made = await pushParts(library, environment, image!, options);
    await environment.session.pushManifest(made.digest, made.mediaType, made.bytes, options.signal);
  }
  return { digest: index.digest, mediaType: index.mediaType, bytes: await library.parts.content.read(index.digest) };
}

/** The index as a descriptor of its own: what its bytes say. */
export async function indexDescriptor(library: Library, digest: string): Promise<OciDescriptor> {
  const bytes = await library.parts.content.read(digest);
  const { mediaType } = parseIndex(bytes);
  return { mediaType: mediaType ?? MEDIA.ociIndex, digest, size: bytes.byteLength };
}

/**
 * Which part of an index is pushed when no platform was asked for, as dockerd decides: undefined for the whole; else the only image that is
 * here, or the one for this machine. `conflict` when that doesn't decide.
 */
export function partToPush(parts: readonly ImagePart[]): ImagePart | undefined {
  if (isWhole(parts)) return undefined;
  const here = parts.filter((part) => part.image !== undefined);
  if (here.length === 1) return here[0];
  const host = here.find((part) => platformScore(hostPlatform(), part.image!.platform) !== undefined);
  if (host) return host;
  throw conflict("multiple matching manifests found but no specific platform requested", {
    hint: "say which one with --platform",
  });
}
