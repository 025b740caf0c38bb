import { MEDIA, type DockerArchiveEntry, type OciDescriptor, type OciIndex } from "../../../api/index.ts";
import { BerthError, invalidArgument } from "../../../base/index.ts";
import type { BlobInfo, Digest, FileContentStore } from "../../content/index.ts";
import { chainIdsOf, type OverlaySnapshotStore } from "../../snapshot/index.ts";
import { isIndexType, parseConfig, parseIndex, parseManifest } from "../manifest.ts";
import { choosePlatform, hostPlatform } from "../platform.ts";
import { bytesMessage, shortId } from "../progress.ts";
import { parseReference, type Reference } from "../reference.ts";
import type { OnProgress } from "../types.ts";
import type { ArchiveFiles } from "./files.ts";

export interface LoadedImage {
  readonly imageId: Digest;
  readonly manifest: OciDescriptor | undefined;
  readonly names: readonly Reference[];
}

/** Unpacks the images of an archive whose files are in the content store: Docker's form when it has one, else OCI's. */
export async function loadImages(
  content: FileContentStore,
  snapshots: OverlaySnapshotStore,
  files: ArchiveFiles,
  onProgress: OnProgress,
  signal?: AbortSignal,
): Promise<LoadedImage[]> {
  const loader = new Loader(content, snapshots, files, onProgress, signal);
  if (files.find("manifest.json")) return loader.docker(await files.json<unknown>("manifest.json"));
  if (files.find("index.json")) return loader.oci(parseIndex(await content.read(files.need("index.json").digest)));
  throw invalidArgument("this is no image archive: it has neither manifest.json nor index.json", {
    hint: "a root filesystem is imported with `docker import`",
  });
}

class Loader {
  readonly #content: FileContentStore;
  readonly #snapshots: OverlaySnapshotStore;
  readonly #files: ArchiveFiles;
  readonly #emit: OnProgress;
  readonly #signal: AbortSignal | undefined;

  constructor(
    content: FileContentStore,
    snapshots: OverlaySnapshotStore,
    files: ArchiveFiles,
    emit: OnProgress,
    signal: AbortSignal | undefined,
  ) {
    this.#content = content;
    this.#snapshots = snapshots;
    this.#files = files;
    this.#emit = emit;
    this.#signal = signal;
  }

  async docker(entries: unknown): Promise<LoadedImage[]> {
    const loaded: LoadedImage[] = [];
    for (const entry of checkEntries(entries)) {
      const config = this.#files.need(entry.Config);
      const layers = entry.Layers.map((name) => ({ ...this.#files.need(name), mediaType: MEDIA.dockerLayer }));
      await this.#unpack(config, layers);
      loaded.push({
        imageId: config.digest,
        manifest: undefined,
        names: (entry.RepoTags ?? []).map((tag) => parseReference(tag)),
      });
    }
    return loaded;
  }

  async oci(index: OciIndex): Promise<LoadedImage[]> {
    const loaded = new Map<Digest, LoadedImage>();
    for (const entry of index.manifests) {
      const image = await this.#ociImage(entry);
      if (!image) continue;
      const names = [...(loaded.get(image.imageId)?.names ?? []), ...namesOf(entry)];
      loaded.set(image.imageId, { ...image, names });
    }
    if (loaded.size === 0) throw invalidArgument("the archive has no image for this machine's platform");
    return [...loaded.values()];
  }

  /** Undefined for what isn't an image, such as signatures. */
  async #ociImage(entry: OciDescriptor): Promise<Omit<LoadedImage, "names"> | undefined> {
    let descriptor = entry;
    if (isIndexType(entry.mediaType)) {
      const nested = parseIndex(await this.#content.read(this.#files.needBlob(entry.digest).digest));
      const chosen = choosePlatform(nested.manifests, hostPlatform());
      if (!chosen) return undefined;
      descriptor = chosen;
    }
    const manifest = parseManifest(await this.#content.read(this.#files.needBlob(descriptor.digest).digest));
    if (manifest.config.mediaType !== MEDIA.ociConfig && manifest.config.mediaType !== MEDIA.dockerConfig)
      return undefined;
    const layers = manifest.layers.map((layer) => ({
      ...this.#files.needBlob(layer.digest),
      mediaType: layer.mediaType,
    }));
    const config = this.#files.needBlob(manifest.config.digest);
    await this.#unpack(config, layers);
    return {
      imageId: config.digest,
      manifest: { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size },
    };
  }

  async #unpack(config: BlobInfo, layers: readonly (BlobInfo & { mediaType: string })[]): Promise<void> {
    const { rootfs } = parseConfig(await this.#content.read(config.digest), layers.length);
    const chainIds = chainIdsOf(rootfs.diff_ids);
    for (const [index, layer] of layers.entries()) {
      const known = this.#snapshots.layer(chainIds[index]!) !== undefined;
      const { digest, sizeBytes, mediaType } = layer;
      const options = { diffId: rootfs.diff_ids[index]!, signal: this.#signal };
      await this.#snapshots.applyBlob(chainIds[index - 1], { digest, sizeBytes, mediaType }, options);
      if (!known) this.#emit(bytesMessage("Loading layer", shortId(options.diffId), sizeBytes, sizeBytes));
    }
  }
}

function checkEntries(value: unknown): DockerArchiveEntry[] {
  const good =
    Array.isArray(value) &&
    value.every((entry: Partial<DockerArchiveEntry> | null) => {
      if (typeof entry !== "object" || entry === null || typeof entry.Config !== "string") return false;
      const tags = entry.RepoTags ?? [];
      return isTexts(entry.Layers) && isTexts(tags);
    });
  if (!good) throw invalidArgument("manifest.json of the archive is broken");
  return value as DockerArchiveEntry[];
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** Full names stand in containerd's annotation, or in OCI's where a tool wrote more than a tag there. */
function namesOf(entry: OciDescriptor): Reference[] {
  const annotations = entry.annotations ?? {};
  const ref = annotations["org.opencontainers.image.ref.name"];
  const name = annotations["io.containerd.image.name"] ?? (ref?.match(/[:/]/) ? ref : undefined);
  if (name === undefined) return [];
  try {
    return [parseReference(name)];
  } catch (error) {
    if (error instanceof BerthError) return [];
    throw error;
  }
}
