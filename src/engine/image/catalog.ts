import { existsSync } from "node:fs";
import { rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { errnoOf } from "../../base/index.ts";
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

  /** What stands in the file. */
  #stored: CatalogFile = { images: {}, names: {} };

  private constructor(file: string) {
    this.#file = file;
  }

  static async open(dataDir: string): Promise<Catalog> {
    const catalog = new Catalog(path.join(dataDir, "images.json"));
    catalog.#stored = (await readJson<CatalogFile>(catalog.#file)) ?? catalog.#stored;
    catalog.#restore();
    return catalog;
  }

  #restore(): void {
    this.images.clear();
    this.names.clear();
    for (const [id, record] of Object.entries(this.#stored.images ?? {})) this.images.set(id, record);
    for (const [name, record] of Object.entries(this.#stored.names ?? {})) this.names.set(name, record);
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

  /** A change that could not be written has not happened: what was told as refused must not be listed. */
  async #write(): Promise<void> {
    const file: CatalogFile = { images: Object.fromEntries(this.images), names: Object.fromEntries(this.names) };
    try {
      await this.#replace(JSON.stringify(file));
      this.#stored = file;
    } catch (error) {
      // Whoever has changed something meanwhile writes everything again in a moment.
      if (this.#next === undefined) this.#restore();
      throw error;
    }
  }

  /** On a full disk, images could not be removed for lack of room to write that they are gone: some room is kept for that. */
  async #replace(text: string): Promise<void> {
    const reserve = `${this.#file}.reserve`;
    try {
      await writeFileAtomic(this.#file, text);
    } catch (error) {
      if (errnoOf(error) !== "ENOSPC" || !existsSync(reserve)) throw error;
      await rm(reserve, { force: true });
      await writeFileAtomic(this.#file, text);
    }
    const wanted = Math.ceil((text.length * 2) / RESERVE_STEP_BYTES) * RESERVE_STEP_BYTES;
    const kept = await stat(reserve).catch(() => undefined);
    if ((kept?.size ?? 0) >= wanted) return;
    await writeFile(reserve, Buffer.alloc(wanted, 1)).catch(() => rm(reserve, { force: true }));
  }
}

const RESERVE_STEP_BYTES = 64 * 1024;
