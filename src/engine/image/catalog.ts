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
  /** Images for other platforms that the name stands for, too: parts of `index`. */
  readonly others?: readonly Digest[];
  /** The index of which the images are parts; its bytes are in the content store. */
  readonly index?: Digest;
  /** The manifest or index that the name stands for in its registry, when it came from there or went there. */
  readonly target?: Digest;
  readonly taggedMs: number;
}

/** All images of a name, the one that it means without a platform first. */
export function imagesOf(record: NameRecord): readonly Digest[] {
  return record.others ? [record.image, ...record.others] : [record.image];
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

  /** Names of an image, in order; also those that stand for another platform first. */
  namesOf(id: Digest): string[] {
    return [...this.names]
      .filter(([, record]) => imagesOf(record).includes(id))
      .map(([name]) => name)
      .sort();
  }

  /** The images for other platforms under the names whose first image is `id`, `id` itself first. */
  platformsOf(id: Digest): Digest[] {
    const found = new Set([id]);
    for (const record of this.names.values())
      if (record.image === id) for (const other of record.others ?? []) found.add(other);
    return [...found];
  }

  /** Takes images off a name: those left keep it, and with none left it goes. True when it went. */
  takeFrom(name: string, ids: ReadonlySet<Digest>): boolean {
    const record = this.names.get(name)!;
    const [image, ...others] = imagesOf(record).filter((id) => !ids.has(id));
    if (image === undefined) return this.names.delete(name);
    const { others: _, ...facts } = record;
    this.names.set(name, { ...facts, image, ...(others.length > 0 && { others }) });
    return false;
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
