import { chmodSync, existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { alreadyExists, KeyedMutex, notFound, type InstanceContext } from "../../base/index.ts";
import {
  ensureDirectory,
  listMounts,
  mountOverlay,
  mountOverlayIdmapped,
  mountsBelow,
  unmount,
  type OverlaySpec,
} from "../../host/index.ts";
import { removeTree, type FileContentStore, type Digest } from "../content/index.ts";
import { LayerWorkers } from "./layer/workers.ts";
import { copyRootFacts, LayerShelf } from "./layers.ts";
import { Shelf, type SnapshotRecord } from "./records.ts";
import type {
  ApplyOptions,
  Change,
  DiffOptions,
  ExportOptions,
  Layer,
  LayerBlob,
  MountOptions,
  PrepareOptions,
  SnapshotInfo,
  SnapshotStore,
  Usage,
} from "./types.ts";

/**
 * Snapshots on overlayfs. Layout below `snapshots/`: `l/NAME` (layer directories) and `s/NAME/{fs,work}` (snapshots), facts beside them.
 */
export class OverlaySnapshotStore implements SnapshotStore {
  readonly #context: InstanceContext;
  readonly #workers: LayerWorkers;
  readonly #layers: LayerShelf;
  readonly #snapshots: Shelf<SnapshotRecord>;
  readonly #snapshotNames = new Map<string, string>();
  readonly #keys = new KeyedMutex();

  private constructor(context: InstanceContext, content: FileContentStore) {
    this.#context = context;
    this.#workers = new LayerWorkers(context.clock);
    this.#layers = new LayerShelf(context, content, this.#workers);
    this.#snapshots = new Shelf(path.join(context.dataDir, "snapshots/s"));
  }

  /** Opening recovers: directories that a crash left without facts go. */
  static async open(context: InstanceContext, content: FileContentStore): Promise<OverlaySnapshotStore> {
    const store = new OverlaySnapshotStore(context, content);
    await store.#layers.open();
    await store.#snapshots.open();
    for (const [name, facts] of store.#snapshots.entries()) store.#snapshotNames.set(facts.key, name);
    return store;
  }

  async close(): Promise<void> {
    await this.#workers[Symbol.asyncDispose]();
  }

  layer(chainId: Digest): Layer | undefined {
    return this.#layers.layer(chainId);
  }
  chain(chainId: Digest): Layer[] {
    return this.#layers.chain(chainId);
  }
  layers(): Layer[] {
    return this.#layers.layers();
  }

  async prepare(key: string, parent: Digest | undefined, options: PrepareOptions = {}): Promise<SnapshotInfo> {
    return this.#keys.run(key, async () => {
      if (this.#snapshotNames.has(key)) throw alreadyExists(`snapshot ${key} exists already`);
      const lower = this.#layers.lowerOf(parent);
      const name = this.#snapshots.newName();
      const directory = this.#snapshots.directory(name);
      mkdirSync(path.join(directory, "fs"), { recursive: true });
      mkdirSync(path.join(directory, "work"));
      chmodSync(directory, 0o711);
      copyRootFacts(lower[0], path.join(directory, "fs"));
      const facts = {
        key,
        ...(parent && { parent }),
        createdMs: this.#context.clock.nowMs(),
        labels: options.labels ?? {},
      };
      await this.#snapshots.put(name, facts);
      this.#snapshotNames.set(key, name);
      return this.#toInfo(name, facts);
    });
  }

  get(key: string): SnapshotInfo | undefined {
    const name = this.#snapshotNames.get(key);
    if (name === undefined) return undefined;
    const facts = this.#snapshots.get(name);
    return facts && this.#toInfo(name, facts);
  }

  list(): SnapshotInfo[] {
    return [...this.#snapshots.entries()].map(([name, facts]) => this.#toInfo(name, facts));
  }

  async mount(key: string, target: string, options: MountOptions = {}): Promise<void> {
    await this.#keys.run(key, async () => {
      const info = this.#mustGet(key);
      const directory = path.dirname(info.upperPath);
      ensureDirectory(target);
      if (listMounts().some((entry) => entry.mountPoint === target && entry.source === this.#source(directory))) return;
      // overlayfs refuses a work directory on which a volatile mount wasn't ended properly; for the data of a crashed process that is
      // too careful, since only a crashed machine loses what was written.
      const work = path.join(directory, "work");
      if (existsSync(path.join(work, "work/incompat"))) {
        unmountAll(mountsOf(this.#source(directory)));
        await removeTree(work);
        mkdirSync(work);
      }
      const lower = this.#layers.lowerOf(info.parent);
      const overlay: OverlaySpec = {
        lower: lower.length > 0 ? lower : [this.#emptyDirectory()],
        upper: { directory: info.upperPath, work },
        readonly: options.readonly,
        volatile: options.volatile,
        source: this.#source(directory),
      };
      if (options.idmap) mountOverlayIdmapped(target, overlay, options.idmap, path.join(directory, "idmap"));
      else mountOverlay(target, overlay);
    });
  }

  async mountLayer(chainId: Digest, target: string): Promise<void> {
    ensureDirectory(target);
    mountOverlay(target, {
      lower: this.#layers.lowerOf(chainId),
      readonly: true,
      source: this.#source(this.#layers.folder),
    });
  }

  async unmount(target: string): Promise<void> {
    for (const point of mountsBelow(target)) if (!tryUnmount(point)) unmount(point, { lazy: true });
  }

  usage(key: string): Promise<Usage> {
    return this.#workers.run("usage", { root: this.#mustGet(key).upperPath });
  }

  changes(key: string): Promise<Change[]> {
    const info = this.#mustGet(key);
    return this.#workers.run("changes", { upper: info.upperPath, lower: this.#layers.lowerOf(info.parent) });
  }

  diffTar(key: string, options: DiffOptions = {}): Readable {
    return this.#layers.streamTar(this.#mustGet(key).upperPath, options.clampMtimeMs);
  }

  async commit(key: string, options: DiffOptions = {}): Promise<Layer> {
    return this.#keys.run(key, async () => {
      const info = this.#mustGet(key);
      unmountAll(mountsOf(this.#source(path.dirname(info.upperPath))));
      const made = await this.#workers.run("digest", { root: info.upperPath, clampMtimeMs: options.clampMtimeMs });
      const layer = await this.#layers.adopt(info.parent, info.upperPath, made, options.clampMtimeMs);
      await this.#drop(key);
      return layer;
    });
  }

  async commitCopy(key: string, options: DiffOptions = {}): Promise<Layer> {
    const info = this.#mustGet(key);
    const lower = this.#layers.lowerOf(info.parent);
    return this.#layers.fill(info.parent, async (target) => {
      const args = { root: info.upperPath, target, lower, clampMtimeMs: options.clampMtimeMs };
      return { ...(await this.#workers.run("copy", args)), blobs: [], ownTar: true };
    });
  }

  applyBlob(parent: Digest | undefined, blob: LayerBlob, options: ApplyOptions = {}): Promise<Layer> {
    return this.#layers.applyBlob(parent, blob, options);
  }
  importBlob(parent: Digest | undefined, blob: Digest, options: { signal?: AbortSignal } = {}): Promise<Layer> {
    return this.#layers.importBlob(parent, blob, options);
  }
  restack(layer: Digest, newParent: Digest | undefined): Promise<Layer> {
    return this.#layers.restack(layer, newParent);
  }
  exportBlob(chainId: Digest, options: ExportOptions = {}): Promise<LayerBlob> {
    return this.#layers.exportBlob(chainId, options);
  }
  readyBlob(chainId: Digest): LayerBlob | undefined {
    return this.#layers.readyBlob(chainId);
  }
  layerTar(chainId: Digest): Promise<Readable> {
    return this.#layers.layerTar(chainId);
  }

  async remove(key: string): Promise<void> {
    await this.#keys.run(key, () => this.#drop(key));
  }

  collect(roots: ReadonlySet<Digest>): Promise<{ deleted: Digest[]; freedBytes: number }> {
    return this.#layers.collect(roots, () => [...this.#snapshots.entries()].map(([, facts]) => facts.parent));
  }

  /** Blobs that layers remember: they stay as long as the layer does. */
  rememberedBlobs(): Iterable<Digest> {
    return this.#layers.rememberedBlobs();
  }

  async #drop(key: string): Promise<void> {
    const name = this.#snapshotNames.get(key);
    if (name === undefined) return;
    unmountAll(mountsOf(this.#source(this.#snapshots.directory(name))));
    this.#snapshotNames.delete(key);
    await this.#snapshots.delete(name);
  }

  /** How our mounts are told from others in the mount table: their source names the directory they show. */
  #source(directory: string): string {
    return `berth:${directory}`;
  }

  #emptyDirectory(): string {
    const empty = path.join(this.#context.dataDir, "snapshots/empty");
    mkdirSync(empty, { recursive: true });
    return empty;
  }

  #toInfo(name: string, facts: SnapshotRecord): SnapshotInfo {
    const upperPath = path.join(this.#snapshots.directory(name), "fs");
    return { key: facts.key, parent: facts.parent, upperPath, createdMs: facts.createdMs, labels: facts.labels };
  }

  #mustGet(key: string): SnapshotInfo {
    const info = this.get(key);
    if (!info) throw notFound(`no snapshot ${key}`);
    return info;
  }
}

function mountsOf(source: string): string[] {
  return listMounts()
    .filter((entry) => entry.source === source)
    .map((entry) => entry.mountPoint)
    .reverse();
}

function unmountAll(points: readonly string[]): void {
  for (const point of points.flatMap((root) => mountsBelow(root)))
    if (!tryUnmount(point)) unmount(point, { lazy: true });
}

/** False when something still uses the mount. */
function tryUnmount(point: string): boolean {
  try {
    unmount(point);
    return true;
  } catch {
    return false;
  }
}
