import {
  MEDIA,
  type DockerArchiveEntry,
  type OciDescriptor,
  type OciIndex,
  type OciPlatform,
} from "../../../api/index.ts";
import { BerthError, invalidArgument, notFound } from "../../../base/index.ts";
import type { BlobInfo, Digest, FileContentStore } from "../../content/index.ts";
import { chainIdsOf, type OverlaySnapshotStore } from "../../snapshot/index.ts";
import { isIndexType, parseConfig, parseIndex, parseManifest, platformOf } from "../manifest.ts";
import { choosePlatform, platformScore, platformText } from "../platform.ts";
import { bytesMessage, shortId } from "../progress.ts";
import { parseReference, type Reference } from "../reference.ts";
import type { OnProgress } from "../types.ts";
import type { ArchiveFiles } from "./files.ts";

export interface LoadedImage {
  /** One, or those of an index that the archive has. */
  readonly images: readonly { readonly imageId: Digest; readonly manifest: OciDescriptor | undefined }[];
  readonly index: Digest | undefined;
  readonly names: readonly Reference[];
}

export interface LoadOptions {
  readonly platform?: OciPlatform;
  readonly onProgress: OnProgress;
  readonly signal?: AbortSignal;
}

/** Unpacks the images of an archive whose files are in the content store: Docker's form when it has one, else OCI's. */
export async function loadImages(
  content: FileContentStore,
  snapshots: OverlaySnapshotStore,
  files: ArchiveFiles,
  options: LoadOptions,
): Promise<LoadedImage[]> {
  const loader = new Loader(content, snapshots, files, options);
  const index = files.find("index.json") && parseIndex(await content.read(files.need("index.json").digest));
  // Docker's own form knows no platforms.
  if (index?.manifests.some((entry) => isIndexType(entry.mediaType))) return loader.oci(index);
  if (files.find("manifest.json")) return loader.docker(await files.json<unknown>("manifest.json"));
  if (index) return loader.oci(index);
  throw invalidArgument("this is no image archive: it has neither manifest.json nor index.json", {
    hint: "a root filesystem is imported with `docker import`",
  });
}

class Loader {
  readonly #content: FileContentStore;
  readonly #snapshots: OverlaySnapshotStore;
  readonly #files: ArchiveFiles;
  readonly #options: LoadOptions;

  constructor(content: FileContentStore, snapshots: OverlaySnapshotStore, files: ArchiveFiles, options: LoadOptions) {
    this.#content = content;
    this.#snapshots = snapshots;
    this.#files = files;
    this.#options = options;
  }

  async docker(entries: unknown): Promise<LoadedImage[]> {
    const loaded: LoadedImage[] = [];
    for (const entry of checkEntries(entries)) {
      const config = this.#files.need(entry.Config);
      const layers = entry.Layers.map((name) => ({ ...this.#files.need(name), mediaType: MEDIA.dockerLayer }));
      const { platform } = this.#options;
      const offered = platformOf(parseConfig(await this.#content.read(config.digest)));
      if (platform && platformScore(platform, offered) === undefined) throw absent(platform);
      await this.#unpack(config, layers);
      loaded.push({
        images: [{ imageId: config.digest, manifest: undefined }],
        index: undefined,
        names: (entry.RepoTags ?? []).map((tag) => parseReference(tag)),
      });
    }
    return loaded;
  }

  async oci(index: OciIndex): Promise<LoadedImage[]> {
    const loaded = new Map<Digest, LoadedImage>();
    const { platform } = this.#options;
    for (const entry of index.manifests) {
      const nested = isIndexType(entry.mediaType);
      const images = nested ? await this.#indexed(entry) : await this.#single(entry);
      if (images.length === 0) continue;
      const key = nested ? entry.digest : images[0]!.imageId;
      const names = [...(loaded.get(key)?.names ?? []), ...namesOf(entry)];
      loaded.set(key, { images, index: nested ? entry.digest : undefined, names });
    }
    if (loaded.size > 0) return [...loaded.values()];
    if (platform) throw absent(platform);
    throw invalidArgument("the archive has no image");
  }

  /** Those images of an index that are in the archive, or the one for the platform that was asked for. */
  async #indexed(entry: OciDescriptor): Promise<LoadedImage["images"]> {
    const { manifests } = parseIndex(await this.#content.read(this.#files.needBlob(entry.digest).digest));
    const { platform } = this.#options;
    const chosen = platform ? [choosePlatform(manifests, platform)] : manifests;
    const images = [];
    for (const descriptor of chosen) {
      if (!descriptor || descriptor.platform?.os === "unknown" || isIndexType(descriptor.mediaType)) continue;
      if (!this.#files.find(`blobs/${descriptor.digest.replace(":", "/")}`)) continue;
      const image = await this.#ociImage(descriptor);
      if (image) images.push(image);
    }
    return images;
  }

  async #single(entry: OciDescriptor): Promise<LoadedImage["images"]> {
    const { platform } = this.#options;
    if (platform && entry.platform && platformScore(platform, entry.platform) === undefined) return [];
    const image = await this.#ociImage(entry);
    return image ? [image] : [];
  }

  /** Undefined for what isn't an image, such as signatures. */
  async #ociImage(descriptor: OciDescriptor): Promise<LoadedImage["images"][number] | undefined> {
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
      const options = { diffId: rootfs.diff_ids[index]!, signal: this.#options.signal };
      await this.#snapshots.applyBlob(chainIds[index - 1], { digest, sizeBytes, mediaType }, options);
      if (!known)
        this.#options.onProgress(bytesMessage("Loading layer", shortId(options.diffId), sizeBytes, sizeBytes));
    }
  }
}

function absent(platform: OciPlatform): BerthError {
  return notFound(`requested platform (${platformText(platform)}) not found in the archive`);
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
