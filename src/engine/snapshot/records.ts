import { mkdirSync } from "node:fs";
import { readdir, rename } from "node:fs/promises";
import path from "node:path";
import { readJson, removeTree, syncFolder, writeFileAtomic } from "../content/index.ts";
import type { Digest } from "../content/index.ts";
import type { LayerBlob } from "./types.ts";

/** The facts of a layer, as they stand in its file. */
export interface LayerRecord {
  readonly chainId: Digest;
  readonly diffId: Digest;
  readonly parent?: Digest;
  readonly sizeBytes: number;
  readonly tarBytes: number;
  readonly createdMs: number;
  readonly blobs: readonly LayerBlob[];
  /** The diff id was computed with times clamped to this. */
  readonly clampMtimeMs?: number;
  /** The tar can be made again from the directory, byte for byte: it was we who made the first one. */
  readonly ownTar: boolean;
}

export interface SnapshotRecord {
  readonly key: string;
  readonly parent?: Digest;
  readonly createdMs: number;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Directories with a file of facts beside each. Something exists exactly when its facts file does: the directory is complete before the
 * facts appear, and the facts go before the directory does. What opening finds without facts is the leftover of a crash.
 *
 * Names are short numbers in base 36, because the options of an overlay mount must fit in one page.
 */
export class Shelf<Facts> {
  readonly folder: string;
  readonly #byName = new Map<string, Facts>();
  #next = 1;

  constructor(folder: string) {
    this.folder = folder;
  }

  async open(): Promise<void> {
    mkdirSync(this.folder, { recursive: true, mode: 0o711 });
    const entries = await readdir(this.folder);
    for (const entry of entries.filter((name) => name.endsWith(".json"))) {
      const facts = await readJson<Facts>(path.join(this.folder, entry));
      if (facts) this.#byName.set(entry.slice(0, -".json".length), facts);
    }
    for (const entry of entries) {
      const name = entry.split(".")[0]!;
      const kept = this.#byName.has(name) && (entry === name || entry === `${name}.json`);
      if (!kept) await removeTree(path.join(this.folder, entry));
      this.#next = Math.max(this.#next, parseInt(name, 36) + 1 || 0);
    }
  }

  get(name: string): Facts | undefined {
    return this.#byName.get(name);
  }
  entries(): Iterable<[string, Facts]> {
    return this.#byName.entries();
  }
  /** A name that nothing has had since the store was opened. */
  newName(): string {
    return (this.#next++).toString(36);
  }
  directory(name: string): string {
    return path.join(this.folder, name);
  }
  /** Makes the thing exist, or changes its facts. */
  async put(name: string, facts: Facts): Promise<void> {
    await writeFileAtomic(path.join(this.folder, `${name}.json`), JSON.stringify(facts));
    this.#byName.set(name, facts);
  }
  /** Out of sight first, then off the disk. */
  async delete(name: string): Promise<void> {
    this.#byName.delete(name);
    const facts = path.join(this.folder, `${name}.json`);
    await rename(facts, `${facts}.tmp`);
    await syncFolder(this.folder);
    await removeTree(this.directory(name));
    await removeTree(`${facts}.tmp`);
  }
}
