import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { assert, errnoOf, invalidArgument, resourceExhausted } from "../../base/index.ts";
import { checkDigest } from "./digest.ts";
import { syncFolder } from "./files.ts";
import type { BlobInfo, Digest, Upload } from "./types.ts";

export interface UploadPlace {
  readonly file: string;
  /** Where a blob of this digest belongs. */
  blobPath(digest: Digest): string;
  onCommit(digest: Digest): void;
  onClose(): void;
}

/** One upload on disk: a growing file and the running hash of what is in it. */
export class FileUpload implements Upload {
  readonly name: string;
  readonly #place: UploadPlace;
  readonly #handle: FileHandle;
  readonly #hash: Hash;
  #offset: number;
  #closed = false;
  /** Appends happen in order of calling. */
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(name: string, place: UploadPlace, handle: FileHandle, hash: Hash, offset: number) {
    this.name = name;
    this.#place = place;
    this.#handle = handle;
    this.#hash = hash;
    this.#offset = offset;
  }

  /** Bytes that an earlier life left in the file count: they are hashed again and the upload goes on behind them. */
  static async open(name: string, place: UploadPlace): Promise<FileUpload> {
    await mkdir(path.dirname(place.file), { recursive: true });
    const handle = await open(place.file, "a", 0o600);
    const hash = createHash("sha256");
    let offset = 0;
    for await (const chunk of createReadStream(place.file, { highWaterMark: 1 << 20 })) {
      hash.update(chunk as Buffer);
      offset += (chunk as Buffer).byteLength;
    }
    return new FileUpload(name, place, handle, hash, offset);
  }

  get offset(): number {
    return this.#offset;
  }
  get file(): string {
    return this.#place.file;
  }

  append(chunk: Uint8Array): Promise<void> {
    assert(!this.#closed, "append to a closed upload");
    this.#offset += chunk.byteLength;
    const written = this.#tail.then(async () => {
      const writing = writeAll(this.#handle, chunk);
      this.#hash.update(chunk);
      await writing;
    });
    this.#tail = written.catch(() => {});
    return written;
  }

  async commit(expected: { digest?: Digest; sizeBytes?: number } = {}): Promise<BlobInfo> {
    await this.#tail;
    const digest = `sha256:${this.#hash.digest("hex")}`;
    const problem = mismatch(digest, this.#offset, expected);
    if (problem) {
      await this.abandon();
      throw invalidArgument(problem);
    }
    await this.#handle.datasync();
    await this.#close();
    const target = this.#place.blobPath(digest);
    await mkdir(path.dirname(target), { recursive: true });
    this.#place.onCommit(digest);
    await rename(this.#place.file, target);
    await syncFolder(path.dirname(target));
    return { digest, sizeBytes: this.#offset, createdMs: (await stat(target)).mtimeMs };
  }

  async suspend(): Promise<void> {
    await this.#tail;
    await this.#close();
  }

  async abandon(): Promise<void> {
    await this.suspend();
    await rm(this.#place.file, { force: true });
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#handle.close();
    this.#place.onClose();
  }
}

function mismatch(digest: Digest, size: number, expected: { digest?: Digest; sizeBytes?: number }): string | undefined {
  if (expected.sizeBytes !== undefined && expected.sizeBytes !== size)
    return `content has ${size} bytes where ${expected.sizeBytes} were expected`;
  if (expected.digest !== undefined && checkDigest(expected.digest) !== digest)
    return `content has digest ${digest} where ${expected.digest} was expected`;
  return undefined;
}

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  try {
    for (let written = 0; written < chunk.byteLength;)
      written += (await handle.write(chunk, written, chunk.byteLength - written)).bytesWritten;
  } catch (error) {
    if (errnoOf(error) === "ENOSPC" || errnoOf(error) === "EDQUOT")
      throw resourceExhausted("no space left on device: the disk that holds the images is full", {
        cause: error,
        hint: "remove images with `docker image prune -a`, or give berth another data directory",
      });
    throw error;
  }
}

export function uploadFileName(name: string, hexOfName: string): string {
  const readable = name.replace(/[^a-zA-Z0-9]+/g, "-").slice(0, 40);
  return `${readable}-${hexOfName.slice(0, 32)}`;
}
