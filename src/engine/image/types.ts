import type { Readable } from "node:stream";
import type { OciDescriptor, OciHistory, OciImageConfig, OciImageRunConfig, OciPlatform } from "../../api/index.ts";
import type { Digest } from "../content/index.ts";
import type { Layer, LayerBlob } from "../snapshot/index.ts";
import type { RegistryAuth } from "../registry/index.ts";

/** An image in the store. `id` is the digest of its configuration, as Docker's classic store has it. */
export interface Image {
  readonly id: Digest;
  readonly config: OciImageConfig;
  /** The raw bytes of the configuration have this size. */
  readonly configSizeBytes: number;
  /** Chain id of the top layer; undefined for an image without layers (`FROM scratch`). */
  readonly chainId: Digest | undefined;
  readonly layers: readonly Layer[];
  /** Sum of the layers' file content. */
  readonly sizeBytes: number;
  /** The manifest it came with, or that a push made; undefined for one built here and never pushed. */
  readonly manifest: OciDescriptor | undefined;
  /** `busybox:latest`, familiar form, sorted: the names that mean it; of an image that is only another platform (`partOf`), those it is under. */
  readonly repoTags: readonly string[];
  /** `busybox@sha256:…`, familiar form, sorted. */
  readonly repoDigests: readonly string[];
  readonly platform: OciPlatform;
  /** Set for an image that is only another platform of names which mean that image: it is listed under it. */
  readonly partOf: Digest | undefined;
  /** The image it was built from here, when known (`docker history`, `docker rmi` of untagged parents). */
  readonly parent: Digest | undefined;
  /** From the configuration; 0 when it says none. */
  readonly createdMs: number;
  readonly lastTaggedMs: number | undefined;
}

/** One entry of an index, or the one manifest of an image without. */
export interface ImagePart {
  readonly descriptor: OciDescriptor;
  readonly kind: "image" | "attestation" | "unknown";
  readonly platform: OciPlatform | undefined;
  /** Undefined when it isn't here, or is no image. */
  readonly image: Image | undefined;
  /** Bytes of it in the content store. */
  readonly contentBytes: number;
  /** The containers made of it. */
  readonly containerIds: readonly string[];
  /** Of an attestation: the manifest of which it speaks. */
  readonly attests: Digest | undefined;
}

/** Docker's JSON progress message. */
export interface ProgressMessage {
  readonly status?: string;
  readonly id?: string;
  readonly progress?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
  readonly stream?: string;
  readonly aux?: unknown;
}

export type OnProgress = (message: ProgressMessage) => void;

export interface TransferOptions {
  readonly auth?: RegistryAuth;
  readonly platform?: OciPlatform;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

export interface CreateImageOptions {
  /** `rootfs.diff_ids` is filled in from `layers`. */
  readonly config: Omit<OciImageConfig, "rootfs">;
  /** Chain id of the top layer; undefined for none. */
  readonly chainId: Digest | undefined;
  readonly parent?: Digest;
  /** Names to give it, each as a user writes it. */
  readonly tags?: readonly string[];
}

export interface CommitOptions {
  /** Snapshot of the container. */
  readonly snapshotKey: string;
  /** Image the container was made from. */
  readonly parent: Digest | undefined;
  readonly config: OciImageRunConfig;
  readonly author?: string;
  readonly comment?: string;
  readonly createdBy?: string;
  readonly containerId?: string;
  readonly tag?: string;
}

export interface ImportOptions {
  readonly tag?: string;
  readonly message?: string;
  readonly platform?: OciPlatform;
  readonly config?: OciImageRunConfig;
  readonly signal?: AbortSignal;
}

export interface RemoveOptions {
  readonly force?: boolean;
  readonly noPrune?: boolean;
  /** Only the images for these. */
  readonly platforms?: readonly OciPlatform[];
}

export type RemovedItem = { readonly Untagged: string } | { readonly Deleted: string };

export interface HistoryItem {
  readonly Id: string;
  /** Seconds since the epoch. */
  readonly Created: number;
  readonly CreatedBy: string;
  readonly Tags: string[] | null;
  readonly Size: number;
  readonly Comment: string;
}

export interface PruneOptions {
  /** Only images without a name (default), or all that no container uses. */
  readonly danglingOnly?: boolean;
  /** Only images made before, milliseconds since the epoch. */
  readonly untilMs?: number;
  readonly matches?: (image: Image) => boolean;
}

/** Who uses images, told by the container room: an image in use isn't pruned, nor removed without force. */
export interface ImageUser {
  readonly containerId: string;
  readonly imageId: Digest;
  readonly running: boolean;
}

export interface LayerUse {
  readonly sizeBytes: number;
  /** Sum over layers, each counted once. */
  readonly layersSizeBytes: number;
}

export interface SearchResult {
  readonly name: string;
  readonly description: string;
  readonly star_count: number;
  readonly is_official: boolean;
  readonly is_automated: boolean;
}

/** A manifest under a name, and the blobs it speaks of: in a registry, or a folder of the same layout. */
export interface ArtifactPlace {
  /** Undefined when the name stands for nothing. */
  manifest(): Promise<{ readonly descriptor: OciDescriptor; readonly bytes: Buffer } | undefined>;
  /** Not verified: the reader does. */
  blob(digest: Digest): Promise<Readable>;
  /** Nothing is sent that is there already; `open` is called for each attempt. */
  putBlob(descriptor: OciDescriptor, open: () => Promise<Readable>): Promise<void>;
  putManifest(mediaType: string, bytes: Buffer): Promise<void>;
}

/** A layer in the form in which it travels. */
export interface PackedLayer extends LayerBlob {
  readonly diffId: Digest;
  open(): Promise<Readable>;
}

export interface ImageService {
  /**
   * By name (`busybox`, `busybox:1`, `host/repo@sha256:…`), id, or unique id prefix. `notFound` with Docker's words when there is none.
   * A name may have images for several platforms: the machine's own is meant unless `platform` says otherwise; `notFound` when there is none for it.
   */
  resolve(refOrId: string, options?: { platform?: OciPlatform }): Promise<Image>;
  /** Undefined instead of `notFound`. */
  find(refOrId: string): Promise<Image | undefined>;
  list(): Promise<Image[]>;
  /** What the index of an image has, here or not; an image without an index has one part. */
  partsOf(refOrId: string): Promise<ImagePart[]>;

  tag(refOrId: string, name: string): Promise<void>;
  /** Docker's `rmi`: untags a name, deletes an image whose last name went. `conflict` while a container uses it. */
  remove(refOrId: string, options?: RemoveOptions): Promise<RemovedItem[]>;
  /** From a registry; concurrent pulls of one name share the work. */
  pull(name: string, options?: TransferOptions): Promise<Image>;
  /** Every tag of a repository (`docker pull -a`), one after the other. */
  pullAll(repository: string, options?: TransferOptions): Promise<Image[]>;
  /** Resolves locally, else pulls: what `FROM`, `docker run` and the kubelet's IfNotPresent want. */
  ensure(name: string, options?: TransferOptions): Promise<Image>;
  /** The whole index when all of it is here, else the image for one platform. */
  push(name: string, options?: TransferOptions): Promise<{ digest: Digest; sizeBytes: number; tag: string }>;
  /** An archive that both `docker load` and OCI tools read. Without a platform, with all platforms that are here. */
  save(names: readonly string[], options?: { platform?: OciPlatform; signal?: AbortSignal }): Readable;
  /** Docker and OCI archives, also compressed. Of an index, all platforms that are in the archive, or one. */
  load(
    archive: Readable,
    options?: { platform?: OciPlatform; onProgress?: OnProgress; signal?: AbortSignal },
  ): Promise<Image[]>;
  /** A root filesystem tar as a one-layer image. */
  import(tar: Readable, options?: ImportOptions): Promise<Image>;
  create(options: CreateImageOptions): Promise<Image>;
  commit(options: CommitOptions): Promise<Image>;
  history(refOrId: string, platform?: OciPlatform): Promise<HistoryItem[]>;
  prune(options?: PruneOptions): Promise<{ removed: RemovedItem[]; freedBytes: number }>;
  layersSizeBytes(): Promise<number>;
  /** A base image from the operating system's packages: `busybox`, `debian`, `python:3.9-slim`. */
  bootstrap(name: string, options?: { onProgress?: OnProgress; signal?: AbortSignal }): Promise<Image>;
  /** What a registry has under a name, without fetching it. */
  inspectRemote(
    name: string,
    options?: TransferOptions,
  ): Promise<{ descriptor: OciDescriptor; platforms: OciPlatform[] }>;
  /** A place in a registry for something that is no image (a build's cache). */
  artifacts(name: string, options: TransferOptions & { readonly write: boolean }): ArtifactPlace;
  exportLayer(chainId: Digest, signal?: AbortSignal): Promise<PackedLayer>;
  /** A layer on `parent` from its packed form; `source` is opened unless the blob is here. The layer is kept if `keep` says so before it returns. */
  importLayer(
    parent: Digest | undefined,
    packed: LayerBlob & { readonly diffId: Digest },
    source: () => Promise<Readable>,
    options: { readonly signal?: AbortSignal; readonly keep: (layer: Layer) => void },
  ): Promise<Layer>;
  /** Docker Hub's search. */
  search(term: string, options?: { limit?: number; signal?: AbortSignal }): Promise<SearchResult[]>;
  /** The bytes behind an http(s) address, through the configured proxies and authorities. */
  fetchUrl(url: string, signal?: AbortSignal): Promise<Readable>;
  /** Whether a registry takes these credentials; `unauthenticated` when not. */
  login(serverAddress: string, auth: RegistryAuth): Promise<void>;
  /** The container room says who uses images. */
  setUsers(users: () => Iterable<ImageUser>): void;
  /** Further things that garbage collection keeps: what a build cache or the registry server holds. Asked at each collection. */
  addRoots(roots: () => { layers?: Iterable<Digest>; blobs?: Iterable<Digest> }): void;
  /** Deletes blobs and layers that no image, snapshot or lease needs. */
  collectGarbage(): Promise<{ freedBytes: number }>;
}

export type { OciHistory };
