import type { OciDescriptor } from "../../../api/index.ts";
import { hasCode, unavailable, type Clock } from "../../../base/index.ts";
import type { FileContentStore, FileUpload } from "../../content/index.ts";
import type { RegistrySession } from "../../registry/index.ts";
import { GrowingFile, type ApplyOptions } from "../../snapshot/index.ts";

export interface Download {
  /** What lets a layer be unpacked while it arrives; undefined when the blob is there already. */
  readonly growing: ApplyOptions["growing"];
  /** Resolves when the blob is verified and in the store. */
  readonly done: Promise<void>;
}

export interface DownloadOptions {
  readonly content: FileContentStore;
  readonly session: RegistrySession;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onBytes?: (current: number) => void;
}

/** A connection may break this often in one blob, as long as it brings something each time. */
const RESUMES = 8;
/** More than this doesn't wait for a write. */
const MAX_BATCH_BYTES = 1 << 20;

/**
 * Starts to fetch a blob. What an earlier attempt left is not fetched again, also after a restart of the daemon; a connection that breaks
 * is resumed where it broke. The digest is computed while the bytes pass.
 */
export async function startDownload(descriptor: OciDescriptor, options: DownloadOptions): Promise<Download> {
  const { content } = options;
  if (content.has(descriptor.digest)) {
    content.leases.touch(descriptor.digest);
    return { growing: undefined, done: Promise.resolve() };
  }
  const upload = await content.openUpload(`pull ${descriptor.digest}`);
  const file = new GrowingFile(upload.file);
  file.reached(upload.offset);
  const done = fetchAll(descriptor, upload, options, (bytes) => file.reached(bytes)).then(
    () => file.done(descriptor.size),
    (error: unknown) => {
      file.failed();
      throw error;
    },
  );
  done.catch(() => {});
  return { growing: { ...file.growing, verified: done }, done };
}

async function fetchAll(
  descriptor: OciDescriptor,
  upload: FileUpload,
  options: DownloadOptions,
  tell: (bytes: number) => void,
): Promise<void> {
  const { session, signal, onBytes } = options;
  try {
    for (let resumed = 0; upload.offset < descriptor.size; resumed++) {
      const before = upload.offset;
      try {
        await fetchOnce(descriptor, upload, session, signal, (bytes) => {
          tell(bytes);
          onBytes?.(bytes);
        });
      } catch (error) {
        const broke = hasCode(error, "unavailable") && upload.offset > before && resumed < RESUMES;
        if (!broke || signal.aborted) throw error;
      }
    }
  } catch (error) {
    await upload.suspend();
    throw error;
  }
  await upload.commit({ digest: descriptor.digest, sizeBytes: descriptor.size });
}

async function fetchOnce(
  descriptor: OciDescriptor,
  upload: FileUpload,
  session: RegistrySession,
  signal: AbortSignal,
  tell: (bytes: number) => void,
): Promise<void> {
  const { body, from } = await session.blob(descriptor.digest, upload.offset, signal);
  const writer = new BatchWriter(upload, descriptor.size, tell);
  // A server that can't resume sends everything again: what we have is skipped.
  let skip = upload.offset - from;
  try {
    for await (const raw of body) {
      let chunk = raw as Buffer;
      if (skip > 0) {
        const dropped = Math.min(skip, chunk.byteLength);
        skip -= dropped;
        chunk = chunk.subarray(dropped);
      }
      if (chunk.byteLength > 0 && !(await writer.add(chunk))) break;
    }
    await writer.flush();
  } catch (error) {
    // What came is kept for the next attempt; when it can't be, the error that is being thrown says more.
    await writer.flush().catch(() => {});
    if (signal.aborted || hasCode(error, "resourceExhausted")) throw error;
    throw unavailable(`the connection broke while fetching ${descriptor.digest}`, { cause: error });
  } finally {
    body.destroy();
  }
  if (upload.offset < descriptor.size)
    throw unavailable(`the registry sent ${upload.offset} of ${descriptor.size} bytes of ${descriptor.digest}`);
}

/** Joins what the network brings while the last write is under way into one: each write costs a change of threads. */
class BatchWriter {
  readonly #upload: FileUpload;
  readonly #sizeBytes: number;
  readonly #tell: (bytes: number) => void;
  #batch: Buffer[] = [];
  #batchBytes = 0;
  #writing: Promise<void> | undefined;

  constructor(upload: FileUpload, sizeBytes: number, tell: (bytes: number) => void) {
    this.#upload = upload;
    this.#sizeBytes = sizeBytes;
    this.#tell = tell;
  }

  /** False when this would be more than the blob has: it isn't taken. Throws what an earlier write failed with. */
  async add(chunk: Buffer): Promise<boolean> {
    if (this.#upload.offset + this.#batchBytes + chunk.byteLength > this.#sizeBytes) return false;
    this.#batch.push(chunk);
    this.#batchBytes += chunk.byteLength;
    if (this.#writing === undefined) this.#begin();
    else if (this.#batchBytes >= MAX_BATCH_BYTES) await this.#writing;
    return true;
  }

  /** Resolves when all is written. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  #begin(): void {
    const writing = this.#writeAll();
    // Whoever adds or flushes next sees the failure.
    writing.catch(() => {});
    this.#writing = writing;
  }

  async #writeAll(): Promise<void> {
    while (this.#batchBytes > 0) {
      const batch = this.#batch;
      this.#batch = [];
      this.#batchBytes = 0;
      await this.#upload.appendAll(batch);
      this.#tell(this.#upload.offset);
    }
    this.#writing = undefined;
  }
}
