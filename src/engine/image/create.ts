import { MEDIA, type OciHistory, type OciImageConfig, type OciManifest } from "../../api/index.ts";
import { notFound, rfc3339Nano } from "../../base/index.ts";
import type { Digest } from "../content/index.ts";
import type { LayerBlob } from "../snapshot/index.ts";
import type { Library } from "./library.ts";
import { hostPlatform } from "./platform.ts";
import { parseReference } from "./reference.ts";
import type { CommitOptions, CreateImageOptions, Image } from "./types.ts";

/** Makes an image of a configuration and layers that are there. The same input gives the same image. */
export async function createImage(library: Library, options: CreateImageOptions): Promise<Image> {
  const { content, snapshots } = library.parts;
  const tags = (options.tags ?? []).map((tag) => parseReference(tag));
  const layers = options.chainId === undefined ? [] : snapshots.chain(options.chainId);
  const config: OciImageConfig = {
    ...options.config,
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
  };
  await using lease = content.lease();
  for (const layer of layers) lease.protect(layer.chainId);
  const { digest } = await content.write(Buffer.from(JSON.stringify(config)));
  library.record(digest, { parent: options.parent });
  for (const tag of tags) library.setName(tag, digest);
  await library.save();
  return library.image(digest);
}

/** `docker commit`: a container's changes as one more layer on its image. */
export async function commitContainer(library: Library, options: CommitOptions): Promise<Image> {
  const { snapshots, clock, content, events } = library.parts;
  if (!snapshots.get(options.snapshotKey)) throw notFound("the container's filesystem is gone");
  const base = options.parent === undefined ? undefined : await library.image(options.parent);
  await using _lease = content.lease();
  const layer = await snapshots.commitCopy(options.snapshotKey);
  const created = rfc3339Nano(clock.nowMs());
  const step: OciHistory = {
    created,
    ...(options.author && { author: options.author }),
    created_by: options.createdBy ?? options.config.Cmd?.join(" ") ?? "",
    ...(options.comment && { comment: options.comment }),
  };
  const image = await createImage(library, {
    config: {
      ...(base
        ? { architecture: base.config.architecture, os: base.config.os, variant: base.config.variant }
        : hostPlatform()),
      created,
      ...(options.author && { author: options.author }),
      config: options.config,
      ...(options.containerId && { container: options.containerId }),
      history: [...(base?.config.history ?? []), step],
    },
    chainId: layer.chainId,
    parent: options.parent,
    tags: options.tag === undefined ? [] : [options.tag],
  });
  events.publish("image", "create", image.id, { name: image.id });
  return image;
}

/** How an image goes to a registry. */
export interface MadeManifest {
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly mediaType: string;
}

/**
 * The manifest under which an image goes to a registry: the one it came with while all its layers' blobs are there, else a new one over
 * blobs that are made where they are missing. The caller holds a lease.
 */
export async function ensureManifest(library: Library, id: Digest, signal?: AbortSignal): Promise<MadeManifest> {
  const known = await knownManifest(library, id);
  if (known) return known;
  const blobs = [];
  for (const { chainId } of (await library.image(id)).layers)
    blobs.push(await library.parts.snapshots.exportBlob(chainId, { signal }));
  return writeManifest(library, id, blobs);
}

/** The manifest that an image came with, or that was made before, when a registry takes it and all it names is here. */
export async function knownManifest(library: Library, id: Digest): Promise<MadeManifest | undefined> {
  const { content, catalog } = library.parts;
  const known = catalog.images.get(id)?.manifest;
  if (!known || !content.has(known.digest)) return undefined;
  const bytes = await content.read(known.digest);
  const manifest = JSON.parse(bytes.toString("utf8")) as OciManifest;
  const blobs = [manifest.config, ...manifest.layers].map((part) => part.digest);
  for (const blob of blobs) content.leases.touch(blob);
  content.leases.touch(known.digest);
  if (!blobs.every((blob) => content.has(blob)) || !isCompressed(manifest)) return undefined;
  return { digest: known.digest, bytes, mediaType: known.mediaType };
}

/** Makes and remembers the manifest of an image over its layers' blobs: Docker v2 schema 2, or OCI where a layer has no Docker type. */
export async function writeManifest(library: Library, id: Digest, blobs: readonly LayerBlob[]): Promise<MadeManifest> {
  const layers = blobs.map((blob) => ({
    mediaType: dockerType(blob.mediaType),
    size: blob.sizeBytes,
    digest: blob.digest,
  }));
  const oci = layers.some((layer) => layer.mediaType.startsWith("application/vnd.oci."));
  const mediaType = oci ? MEDIA.ociManifest : MEDIA.dockerManifest;
  const size = (await library.image(id)).configSizeBytes;
  const config = { mediaType: oci ? MEDIA.ociConfig : MEDIA.dockerConfig, size, digest: id };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
  const { digest, sizeBytes } = await library.parts.content.write(bytes);
  library.record(id, { manifest: { mediaType, digest, size: sizeBytes } });
  await library.save();
  return { digest, bytes, mediaType };
}

/** `docker load` brings manifests over plain tars; a registry gets packed ones. */
function isCompressed(manifest: OciManifest): boolean {
  return manifest.layers.every((layer) => /[.+](gzip|zstd)$/.test(layer.mediaType));
}

/** gzip has a Docker name, zstd only an OCI one. */
function dockerType(mediaType: string): string {
  if (mediaType.endsWith("gzip")) return MEDIA.dockerLayerGzip;
  return mediaType.endsWith("zstd") ? MEDIA.ociLayerZstd : mediaType;
}
