import type { Readable } from "node:stream";

/** `sha256:` + 64 hex digits. */
export type Digest = string;

export interface BlobInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** When it came, milliseconds since the epoch. */
  readonly createdMs: number;
}

export interface IngestOptions {
  /** When given, the content must have this digest; else `invalidArgument` and nothing is kept. */
  readonly expectedDigest?: Digest;
  /** When given, the content must have this size. */
  readonly expectedSizeBytes?: number;
  /** Upper bound when no size is expected. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * One upload in progress, append-only, kept on disk under its name so that it can be resumed, also after a crash. Life: `openUpload` →
 * `append` any number of times → `commit` or `abandon`.
 */
export interface Upload {
  readonly name: string;
  /** Bytes written so far. */
  readonly offset: number;
  /** The chunk's memory is the caller's again when the promise resolves. */
  append(chunk: Uint8Array): Promise<void>;
  /** Verifies, makes durable, and publishes the blob. Publishing content that is already there is fine. */
  commit(expected?: { digest?: Digest; sizeBytes?: number }): Promise<BlobInfo>;
  /** Closes without publishing; the bytes stay and `openUpload` with the same name goes on from there. */
  suspend(): Promise<void>;
  /** Closes and deletes. */
  abandon(): Promise<void>;
}

/** While a lease is held, the garbage collector leaves alone whatever was added or touched under it. */
export interface Lease extends AsyncDisposable {
  readonly id: string;
  /** Protects a blob or a layer (chain id) until the lease ends. */
  protect(digest: Digest): void;
  release(): Promise<void>;
}

/**
 * Immutable blobs by digest. A blob is either wholly there and verified, or not there at all: it is written beside, synced and renamed.
 * Reading never locks. Deletion is the garbage collector's business: nobody else calls `delete`.
 */
export interface ContentStore {
  /** Where the bytes of `digest` are (or would be). */
  path(digest: Digest): string;
  has(digest: Digest): boolean;
  info(digest: Digest): Promise<BlobInfo | undefined>;
  /** `notFound` when absent. `start` and `end` are inclusive byte offsets. */
  open(digest: Digest, range?: { start?: number; end?: number }): Promise<Readable>;
  /** The whole blob, at most `maxBytes` (default 8 MiB). */
  read(digest: Digest, maxBytes?: number): Promise<Buffer>;
  /** A small blob from memory. */
  write(bytes: Uint8Array): Promise<BlobInfo>;
  ingest(source: AsyncIterable<Uint8Array>, options?: IngestOptions): Promise<BlobInfo>;
  /** `name` is any string that identifies the upload; the same name cannot be open twice (`conflict`). */
  openUpload(name: string): Promise<Upload>;
  hasUpload(name: string): boolean;
  list(): AsyncIterable<BlobInfo>;
  delete(digest: Digest): Promise<boolean>;
  /** Every new blob is under all leases that are open when it arrives. */
  lease(): Lease;
  /** Deletes blobs that are neither in `roots` nor under a lease. */
  collect(roots: ReadonlySet<Digest>): Promise<{ deleted: Digest[]; freedBytes: number }>;
}
