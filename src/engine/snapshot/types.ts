import type { Readable } from "node:stream";
import type { Digest } from "../content/index.ts";
import type { Growing } from "./layer/growing.ts";

/**
 * Words: a *layer* is a read-only directory tree (one overlay lower directory) known by its *chain id* (the OCI image specification's
 * identity of a layer together with all below it). A *snapshot* is a writable directory on top of a layer, known by a *key* that its owner
 * chooses (a container id, a build step). Whiteouts have overlayfs' form in both (character device 0/0, `trusted.overlay.opaque`).
 *
 * Life of a snapshot: prepare → mount ⇄ unmount → (commit | remove). Snapshots outlive the daemon; mounts outlive it too and are found
 * again. `remove` unmounts by itself.
 */
export interface Layer {
  readonly chainId: Digest;
  readonly diffId: Digest;
  readonly parent: Digest | undefined;
  /** The overlay lower directory. Never write here. */
  readonly path: string;
  /** Bytes of file content in this layer alone. */
  readonly sizeBytes: number;
  /** Bytes of the uncompressed tar whose digest is the diff id. */
  readonly tarBytes: number;
  readonly createdMs: number;
  /** Compressed or original forms in the content store, best for a push first. */
  readonly blobs: readonly LayerBlob[];
}

export interface LayerBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly mediaType: string;
}

export interface SnapshotInfo {
  readonly key: string;
  /** Chain id of the layer below; undefined for an empty root. */
  readonly parent: Digest | undefined;
  /** What the snapshot changed (overlay upper directory). */
  readonly upperPath: string;
  readonly createdMs: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface PrepareOptions {
  readonly labels?: Readonly<Record<string, string>>;
}

export interface MountOptions {
  readonly readonly?: boolean;
  /** Don't sync the disk on unmount: for build steps and `--rm` containers, whose data nobody needs after a power failure. */
  readonly volatile?: boolean;
  /**
   * Owners appear as the user namespace pinned at `userns` maps them, whose root is `uid` and `gid` on the host. What is written there is kept
   * unmapped: diffs, layers and unmapped mounts of the same snapshot know nothing of it.
   */
  readonly idmap?: { readonly userns: string; readonly uid: number; readonly gid: number };
}

export type ChangeKind = "modified" | "added" | "deleted";

export interface Change {
  readonly kind: ChangeKind;
  /** Absolute path inside the root. */
  readonly path: string;
}

export interface Usage {
  /** Bytes of file content in the upper directory, hard links counted once. */
  readonly sizeBytes: number;
  readonly inodes: number;
}

export interface DiffOptions {
  /** Later modification times become this one (SOURCE_DATE_EPOCH), milliseconds since the epoch. */
  readonly clampMtimeMs?: number;
}

export interface ApplyOptions {
  /** What the unpacked layer must have as digest. */
  readonly diffId?: Digest;
  readonly signal?: AbortSignal;
  /** The blob is still arriving: it is unpacked as it grows, and the layer appears only when `verified` resolves. */
  readonly growing?: Growing & { readonly verified: Promise<unknown> };
}

export interface ExportOptions {
  readonly signal?: AbortSignal;
  /** Called when the blob is made by this call: it can be read while it grows. Not called when it is there, or another call makes it. */
  readonly onGrowing?: (growing: Growing) => void;
}

export interface SnapshotStore {
  /** Undefined when there is no such layer. */
  layer(chainId: Digest): Layer | undefined;
  /** The layer and those below it, base first. `notFound` when one is missing. */
  chain(chainId: Digest): Layer[];
  layers(): Layer[];

  /** `alreadyExists` when the key is taken, `notFound` when the parent is missing. No mount is made. */
  prepare(key: string, parent: Digest | undefined, options?: PrepareOptions): Promise<SnapshotInfo>;
  get(key: string): SnapshotInfo | undefined;
  list(): SnapshotInfo[];
  /** Mounts the snapshot's root at `target` (created when missing). Idempotent for the same target. */
  mount(key: string, target: string, options?: MountOptions): Promise<void>;
  /** A read-only root of a layer chain at `target`, without a snapshot: for `COPY --from`, scans, VMs. */
  mountLayer(chainId: Digest, target: string): Promise<void>;
  /** Unmounts what `mount` or `mountLayer` put at `target`. Idempotent. */
  unmount(target: string): Promise<void>;

  /** For `docker ps -s`. */
  usage(key: string): Promise<Usage>;
  /** For `docker diff`, sorted by path. Parents of changed entries count as modified, as Docker has it. */
  changes(key: string): Promise<Change[]>;
  /** The OCI layer tar of what changed, deterministic: sorted, whiteouts in AUFS form. */
  diffTar(key: string, options?: DiffOptions): Readable;
  /** Turns the snapshot into a layer without copying; the key is gone afterwards. Idempotent layer: equal content gives the same one. */
  commit(key: string, options?: DiffOptions): Promise<Layer>;
  /** A layer from a copy of what changed; the snapshot lives on (`docker commit` of a container). */
  commitCopy(key: string, options?: DiffOptions): Promise<Layer>;
  /** A layer from a layer tar (plain, gzip or zstd) in the content store; `diffId` is verified. */
  applyBlob(parent: Digest | undefined, blob: LayerBlob, options?: ApplyOptions): Promise<Layer>;
  /**
   * A layer from any tar in the content store whose identity nobody knows yet (`docker import`): the layer's tar is then our own form of
   * it, so that the original isn't needed any more.
   */
  importBlob(parent: Digest | undefined, blob: Digest, options?: { signal?: AbortSignal }): Promise<Layer>;
  /** The same directory under another parent (`COPY --link`, rebase): content is shared by hard links where the disk allows. */
  restack(layer: Digest, newParent: Digest | undefined): Promise<Layer>;
  /** A blob of the layer that a registry takes (gzip), made and remembered when there is none yet. */
  exportBlob(chainId: Digest, options?: ExportOptions): Promise<LayerBlob>;
  /** What `exportBlob` would answer without making anything; undefined when it would have to. */
  readyBlob(chainId: Digest): LayerBlob | undefined;
  /** The layer's uncompressed tar, byte for byte what its diff id was computed from. */
  layerTar(chainId: Digest): Promise<Readable>;

  /** Idempotent. Unmounts first. */
  remove(key: string): Promise<void>;
  /** Deletes layers not in `roots`, not below one that is, below no snapshot, and under no lease. */
  collect(roots: ReadonlySet<Digest>): Promise<{ deleted: Digest[]; freedBytes: number }>;
}
