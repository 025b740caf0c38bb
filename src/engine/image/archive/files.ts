import path from "node:path";
import type { Readable } from "node:stream";
import { canceled, invalidArgument } from "../../../base/index.ts";
import type { BlobInfo, Digest, FileContentStore, FileUpload } from "../../content/index.ts";
import { openUnpacked } from "../../snapshot/index.ts";
import { TarParser, type TarEntry, type TarHandler } from "../../tar/index.ts";

/** An archive has as many files as its images have layers and configurations, times a few. */
const MAX_FILES = 20_000;

/** The files of an image archive, each put into the content store as it passes; nothing is ever written by the archive's own names. */
export class ArchiveFiles {
  readonly #blobs = new Map<string, BlobInfo>();
  readonly #links = new Map<string, string>();
  readonly #content: FileContentStore;

  private constructor(content: FileContentStore) {
    this.#content = content;
  }

  /** Reads the archive, packed or not. The caller holds a lease. */
  static async read(content: FileContentStore, archive: Readable, signal?: AbortSignal): Promise<ArchiveFiles> {
    const files = new ArchiveFiles(content);
    const reader = new ArchiveReader(files);
    const parser = new TarParser(reader);
    try {
      for await (const chunk of await openUnpacked(archive)) {
        if (signal?.aborted) throw canceled("canceled while reading an archive", { cause: signal.reason });
        parser.write(chunk as Buffer);
        await reader.settle();
      }
      parser.end();
      await reader.settle();
      return files;
    } catch (error) {
      await reader.abandon();
      throw error;
    }
  }

  /** Follows the links that old versions of Docker put between equal layers. */
  find(name: string): BlobInfo | undefined {
    let at = path.posix.normalize(name);
    for (let hops = 0; hops < 8; hops++) {
      const blob = this.#blobs.get(at);
      if (blob) return blob;
      const target = this.#links.get(at);
      if (target === undefined) return undefined;
      at = path.posix.join(path.posix.dirname(at), target);
    }
    return undefined;
  }

  /** `invalidArgument` when the archive lacks it. */
  need(name: string): BlobInfo {
    const found = this.find(name);
    if (!found) throw invalidArgument(`the archive has no file ${name}`);
    return found;
  }

  needBlob(digest: Digest): BlobInfo {
    const blob = this.need(`blobs/${digest.replace(":", "/")}`);
    if (blob.digest !== digest) throw invalidArgument(`blob ${digest} of the archive has digest ${blob.digest}`);
    return blob;
  }

  async json<T>(name: string): Promise<T> {
    const bytes = await this.#content.read(this.need(name).digest);
    try {
      return JSON.parse(bytes.toString("utf8")) as T;
    } catch (error) {
      throw invalidArgument(`${name} of the archive is not JSON`, { cause: error });
    }
  }

  add(name: string, blob: BlobInfo): void {
    if (this.#blobs.size >= MAX_FILES) throw invalidArgument(`the archive has more than ${MAX_FILES} files`);
    this.#blobs.set(path.posix.normalize(name), blob);
  }
  link(name: string, target: string): void {
    this.#links.set(path.posix.normalize(name), target);
  }
  openUpload(name: string): Promise<FileUpload> {
    return this.#content.openUpload(name);
  }
}

let sequence = 0;

/** Bridges the parser, which calls back at once, to the store, which takes its time: `settle` waits for what has been handed over. */
class ArchiveReader implements TarHandler {
  readonly #files: ArchiveFiles;
  #work: Promise<void> = Promise.resolve();
  #name: string | undefined;
  #upload: FileUpload | undefined;

  constructor(files: ArchiveFiles) {
    this.#files = files;
  }

  entry(entry: TarEntry): void {
    if (entry.type === "symlink" || entry.type === "hardlink") this.#files.link(entry.name, entry.linkName);
    if (entry.type !== "file") return;
    this.#name = entry.name;
    this.#then(async () => {
      this.#upload = await this.#files.openUpload(`ingest archive ${process.pid} ${sequence++}`);
    });
  }
  data(chunk: Buffer): void {
    if (this.#name !== undefined) this.#then(() => this.#upload!.append(chunk));
  }
  entryEnd(): void {
    const name = this.#name;
    if (name === undefined) return;
    this.#name = undefined;
    this.#then(async () => {
      const upload = this.#upload!;
      this.#upload = undefined;
      this.#files.add(name, await upload.commit());
    });
  }

  settle(): Promise<void> {
    return this.#work;
  }
  async abandon(): Promise<void> {
    await this.#work.catch(() => {});
    await this.#upload?.abandon();
  }

  #then(step: () => Promise<void>): void {
    this.#work = this.#work.then(step);
    // Whoever settles hears of it; until then it is not unhandled.
    this.#work.catch(() => {});
  }
}
