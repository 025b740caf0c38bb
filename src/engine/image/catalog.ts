import path from "node:path";
import type { OciDescriptor } from "../../api/index.ts";
import { readJson, writeFileAtomic, type Digest } from "../content/index.ts";

export interface ImageRecord {
  /** The manifest of exactly this image, when there is one. */
  readonly manifest?: OciDescriptor;
  readonly parent?: Digest;
  readonly addedMs: number;
}

export interface NameRecord {
  readonly image: Digest;
  /** The manifest or index that the name stands for in its registry, when it came from there or went there. */
  readonly target?: Digest;
  readonly taggedMs: number;
}

interface CatalogFile {
  readonly images: Record<Digest, ImageRecord>;
  readonly names: Record<string, NameRecord>;
}

/**
 * Which images there are, and what they are called. One small file, replaced whole, so that any change of several names and images happens
 * entirely or not at all. Names are full: `docker.io/library/busybox:latest`, `docker.io/library/busybox@sha256:…`.
 */
export class Catalog {
  readonly #file: string;
  readonly images = new Map<Digest, ImageRecord>();
  readonly names = new Map<string, NameRecord>();
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  private constructor(file: string) {
    this.#file = file;
  }

  static async open(dataDir: string): Promise<Catalog> {
    const catalog = new Catalog(path.join(dataDir, "images.json"));
    const stored = await readJson<CatalogFile>(catalog.#file);
    for (const [id, record] of Object.entries(stored?.images ?? {})) catalog.images.set(id, record);
    for (const [name, record] of Object.entries(stored?.names ?? {})) catalog.names.set(name, record);
    return catalog;
  }

  /** Names of an image, in order. */
  namesOf(id: Digest): string[] {
    return [...this.names]
      .filter(([, record]) => record.image === id)
      .map(([name]) => name)
      .sort();
  }

  /** Resolves when everything changed so far is on disk. Callers at the same time share one write. */
  save(): Promise<void> {
    this.#next ??= (this.#writing ?? Promise.resolve())
      .catch(() => {})
      .then(() => {
        this.#writing = this.#next;
        this.#next = undefined;
        return this.#write();
      });
    return this.#next;
  }

  #write(): Promise<void> {
    const file: CatalogFile = { images: Object.fromEntries(this.images), names: Object.fromEntries(this.names) };
    return writeFileAtomic(this.#file, JSON.stringify(file));
  }
}
