import { createReadStream, existsSync, mkdirSync, unlinkSync } from "node:fs";
import { opendir, readFile, readdir, stat } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import {
  canceled,
  conflict,
  errnoOf,
  invalidArgument,
  MAX_SMALL_FILE_BYTES,
  notFound,
  resourceExhausted,
  type InstanceContext,
} from "../../base/index.ts";
import { checkDigest, digestOf, hexOf, isDigest } from "./digest.ts";
import { removeTree, writeFileAtomic } from "./files.ts";
import { LeaseTable } from "./leases.ts";
import type { BlobInfo, ContentStore, Digest, IngestOptions, Lease } from "./types.ts";
import { FileUpload, uploadFileName } from "./upload.ts";

/** Unfinished uploads that nobody went on with are dropped at start after this long. */
const UPLOAD_KEPT_MS = 24 * 3600 * 1000;
/** A blob without an expected size may have at most this. */
const MAX_BLOB_BYTES = 64 * 2 ** 30;

/**
 * Layout: `content/blobs/sha256/HEX`, `content/uploads/NAME`. Publishing is a rename within one filesystem. Opening the store drops
 * uploads that were abandoned a day ago and temporary files of a crash.
 */
export class FileContentStore implements ContentStore {
  readonly leases = new LeaseTable();
  readonly #blobs: string;
  readonly #uploads: string;
  readonly #openUploads = new Set<string>();
  readonly #context: InstanceContext;
  #sequence = 0;

  private constructor(context: InstanceContext) {
    this.#context = context;
    this.#blobs = path.join(context.dataDir, "content/blobs/sha256");
    this.#uploads = path.join(context.dataDir, "content/uploads");
  }

  static async open(context: InstanceContext): Promise<FileContentStore> {
    const store = new FileContentStore(context);
    mkdirSync(store.#blobs, { recursive: true, mode: 0o700 });
    mkdirSync(store.#uploads, { recursive: true, mode: 0o700 });
    await store.#dropLeftovers();
    return store;
  }

  path(digest: Digest): string {
    return path.join(this.#blobs, hexOf(digest));
  }

  has(digest: Digest): boolean {
    return existsSync(this.path(digest));
  }

  async info(digest: Digest): Promise<BlobInfo | undefined> {
    try {
      const facts = await stat(this.path(digest));
      return { digest, sizeBytes: facts.size, createdMs: facts.mtimeMs };
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  async open(digest: Digest, range: { start?: number; end?: number } = {}): Promise<Readable> {
    if (!this.has(digest)) throw notFound(`no content with digest ${digest}`);
    return createReadStream(this.path(digest), { ...range, highWaterMark: 1 << 18 });
  }

  async read(digest: Digest, maxBytes = MAX_SMALL_FILE_BYTES): Promise<Buffer> {
    const info = await this.info(digest);
    if (!info) throw notFound(`no content with digest ${digest}`);
    if (info.sizeBytes > maxBytes)
      throw invalidArgument(`content ${digest} has ${info.sizeBytes} bytes, more than ${maxBytes}`);
    return readFile(this.path(digest));
  }

  async write(bytes: Uint8Array): Promise<BlobInfo> {
    const digest = digestOf(bytes);
    this.leases.touch(digest);
    if (!this.has(digest)) await writeFileAtomic(this.path(digest), bytes);
    return { digest, sizeBytes: bytes.byteLength, createdMs: this.#context.clock.nowMs() };
  }

  async ingest(source: AsyncIterable<Uint8Array>, options: IngestOptions = {}): Promise<BlobInfo> {
    const { expectedDigest, expectedSizeBytes, signal, maxBytes = expectedSizeBytes ?? MAX_BLOB_BYTES } = options;
    const upload = await this.openUpload(`ingest ${process.pid} ${this.#sequence++} ${this.#context.clock.nowMs()}`);
    try {
      for await (const chunk of source) {
        if (signal?.aborted) throw canceled("canceled while storing content", { cause: signal.reason });
        if (upload.offset + chunk.byteLength > maxBytes)
          throw resourceExhausted(`content is larger than ${maxBytes} bytes`);
        await upload.append(chunk);
      }
      return await upload.commit({ digest: expectedDigest, sizeBytes: expectedSizeBytes });
    } catch (error) {
      await upload.abandon();
      throw error;
    }
  }

  async openUpload(name: string): Promise<FileUpload> {
    const file = this.#uploadFile(name);
    if (this.#openUploads.has(file)) throw conflict(`upload ${name} is already being written`);
    this.#openUploads.add(file);
    try {
      return await FileUpload.open(name, {
        file,
        blobPath: (digest) => this.path(digest),
        onCommit: (digest) => this.leases.touch(digest),
        onClose: () => void this.#openUploads.delete(file),
      });
    } catch (error) {
      this.#openUploads.delete(file);
      throw error;
    }
  }

  hasUpload(name: string): boolean {
    return existsSync(this.#uploadFile(name));
  }

  async *list(): AsyncIterable<BlobInfo> {
    for await (const entry of await opendir(this.#blobs)) {
      const digest = `sha256:${entry.name}`;
      const info = isDigest(digest) ? await this.info(digest) : undefined;
      if (info) yield info;
    }
  }

  async delete(digest: Digest): Promise<boolean> {
    try {
      unlinkSync(this.path(checkDigest(digest)));
      return true;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return false;
      throw error;
    }
  }

  lease(): Lease {
    return this.leases.lease();
  }

  async collect(roots: ReadonlySet<Digest>): Promise<{ deleted: Digest[]; freedBytes: number }> {
    const deleted: Digest[] = [];
    let freedBytes = 0;
    for await (const { digest, sizeBytes } of this.list()) {
      // Asked and deleted in one turn of the event loop, so that nobody can take a lease in between.
      if (roots.has(digest) || this.leases.holds(digest)) continue;
      if (await this.delete(digest)) {
        deleted.push(digest);
        freedBytes += sizeBytes;
      }
    }
    return { deleted, freedBytes };
  }

  #uploadFile(name: string): string {
    return path.join(this.#uploads, uploadFileName(name, hexOf(digestOf(name))));
  }

  async #dropLeftovers(): Promise<void> {
    for (const name of await readdir(this.#blobs)) {
      if (name.endsWith(".tmp")) await removeTree(path.join(this.#blobs, name));
    }
    const now = this.#context.clock.nowMs();
    for (const name of await readdir(this.#uploads)) {
      const file = path.join(this.#uploads, name);
      const abandoned = now - (await stat(file)).mtimeMs > UPLOAD_KEPT_MS;
      if (abandoned || name.startsWith("ingest-")) await removeTree(file);
    }
  }
}
