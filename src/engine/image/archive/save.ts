import {
  MEDIA,
  type DockerArchiveEntry,
  type OciDescriptor,
  type OciIndex,
  type OciManifest,
} from "../../../api/index.ts";
import { digestOf, hexOf, type FileContentStore } from "../../content/index.ts";
import type { Layer, OverlaySnapshotStore } from "../../snapshot/index.ts";
import { plainFile, tarEnd, tarHeader, tarPadding } from "../../tar/index.ts";
import { parseManifest } from "../manifest.ts";
import { parseReference } from "../reference.ts";
import type { Image } from "../types.ts";

export interface SavedImage {
  readonly image: Image;
  /** Names it is saved under, familiar form; none when it was asked for by id. */
  readonly tags: readonly string[];
  /** The index that is saved as it came, with the images of it that are here; only `image` in a form of our own without. */
  readonly index?: { readonly descriptor: OciDescriptor; readonly images: readonly Image[] };
}

/**
 * One archive in both forms, as dockerd writes it since v25: an OCI layout (`oci-layout`, `index.json`, `blobs/`) with Docker's
 * `manifest.json` beside it. Layers are uncompressed, so that the same blob serves both; their size is known before they are made.
 */
export async function* saveArchive(
  content: FileContentStore,
  snapshots: OverlaySnapshotStore,
  saved: readonly SavedImage[],
): AsyncGenerator<Buffer> {
  const written = new Set<string>();
  yield* [directory("blobs/"), directory("blobs/sha256/")];
  const entries: DockerArchiveEntry[] = [];
  const manifests: OciDescriptor[] = [];
  for (const { image, tags, index } of saved) {
    if (index) {
      yield* indexFiles(content, written, index);
      manifests.push(...named(index.descriptor, tags));
      entries.push(await originalEntry(content, image, tags));
      continue;
    }
    const config = await content.read(image.id);
    yield* once(written, image.id, () => file(blobName(image.id), config));
    for (const layer of image.layers) {
      if (written.has(layer.diffId)) continue;
      written.add(layer.diffId);
      yield* layerFile(snapshots, layer);
    }
    const manifest = Buffer.from(JSON.stringify(plainManifest(image)));
    const digest = digestOf(manifest);
    yield* once(written, digest, () => file(blobName(digest), manifest));
    manifests.push(...indexEntries(digest, manifest.byteLength, image, tags));
    entries.push({
      Config: blobName(image.id),
      RepoTags: tags.length > 0 ? tags : null,
      Layers: image.layers.map((layer) => blobName(layer.diffId)),
    });
  }
  const index: OciIndex = { schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests };
  yield* file("index.json", Buffer.from(JSON.stringify(index)));
  yield* file("manifest.json", Buffer.from(JSON.stringify(entries)));
  yield* file("oci-layout", Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" })));
  yield tarEnd();
}

/** An index, and of its images that are here manifests, configurations and layers: all byte for byte. */
async function* indexFiles(
  content: FileContentStore,
  written: Set<string>,
  { descriptor, images }: NonNullable<SavedImage["index"]>,
): AsyncGenerator<Buffer> {
  const blobs = [descriptor];
  for (const { manifest } of images) {
    const { config, layers } = parseManifest(await content.read(manifest!.digest));
    blobs.push(manifest!, config, ...layers);
  }
  for (const { digest, size } of blobs) {
    if (written.has(digest)) continue;
    written.add(digest);
    yield tarHeader(plainFile(blobName(digest), size));
    for await (const chunk of await content.open(digest)) yield chunk as Buffer;
    yield tarPadding(size);
  }
}

async function originalEntry(
  content: FileContentStore,
  image: Image,
  tags: readonly string[],
): Promise<DockerArchiveEntry> {
  const { layers } = parseManifest(await content.read(image.manifest!.digest));
  return {
    Config: blobName(image.id),
    RepoTags: tags.length > 0 ? [...tags] : null,
    Layers: layers.map((layer) => blobName(layer.digest)),
  };
}

/** The manifest of an image over its unpacked layers. */
export function plainManifest(image: Image): OciManifest {
  return {
    schemaVersion: 2,
    mediaType: MEDIA.ociManifest,
    config: { mediaType: MEDIA.ociConfig, digest: image.id, size: image.configSizeBytes },
    layers: image.layers.map((layer) => ({ mediaType: MEDIA.ociLayer, digest: layer.diffId, size: layer.tarBytes })),
  };
}

/** One entry a name, so that OCI tools find each. */
function indexEntries(digest: string, size: number, image: Image, tags: readonly string[]): OciDescriptor[] {
  return named({ mediaType: MEDIA.ociManifest, digest, size, platform: image.platform }, tags);
}

function named(entry: OciDescriptor, tags: readonly string[]): OciDescriptor[] {
  if (tags.length === 0) return [entry];
  return tags.map((tag) => {
    const reference = parseReference(tag);
    const annotations = {
      "io.containerd.image.name": `${reference.domain}/${reference.path}:${reference.tag}`,
      "org.opencontainers.image.ref.name": reference.tag ?? "",
    };
    return { ...entry, annotations };
  });
}

function blobName(digest: string): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

function* once(written: Set<string>, digest: string, make: () => Iterable<Buffer>): Generator<Buffer> {
  if (written.has(digest)) return;
  written.add(digest);
  yield* make();
}

async function* layerFile(snapshots: OverlaySnapshotStore, layer: Layer): AsyncGenerator<Buffer> {
  yield tarHeader(plainFile(blobName(layer.diffId), layer.tarBytes));
  for await (const chunk of await snapshots.layerTar(layer.chainId)) yield chunk as Buffer;
  yield tarPadding(layer.tarBytes);
}

function* file(name: string, bytes: Buffer): Generator<Buffer> {
  yield tarHeader(plainFile(name, bytes.byteLength));
  yield bytes;
  yield tarPadding(bytes.byteLength);
}

function directory(name: string): Buffer {
  return tarHeader({ ...plainFile(name, 0), type: "directory", mode: 0o755 });
}
