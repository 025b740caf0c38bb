import { chmodSync, existsSync, lchownSync, mkdirSync, statSync } from "node:fs";
import { rename } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { MEDIA } from "../../api/index.ts";
import {
  alreadyExists,
  assert,
  hasCode,
  internal,
  invalidArgument,
  KeyedMutex,
  notFound,
  SingleFlight,
  type InstanceContext,
} from "../../base/index.ts";
import { ensureDirectory, listMounts, mountOverlay, mountsBelow, unmount } from "../../host/index.ts";
import { removeTree, syncFolder, type FileContentStore, type Digest } from "../content/index.ts";
import { chainIdOf } from "./chain.ts";
import type { Applied } from "./layer/tasks.ts";
import { LayerWorkers } from "./layer/workers.ts";
import { Shelf, type LayerRecord, type SnapshotRecord } from "./records.ts";
import type {
  ApplyOptions,
  Change,
  DiffOptions,
  Layer,
  LayerBlob,
  MountOptions,
  PrepareOptions,
  SnapshotInfo,
  SnapshotStore,
  Usage,
} from "./types.ts";

/** An image may have this many layers; Docker's own limit is 127. */
const MAX_CHAIN = 256;

/**
 * Snapshots on overlayfs. Layout below `snapshots/`: `l/NAME` (layer directories) and `s/NAME/{fs,work}` (snapshots), facts beside them.
 */
export class OverlaySnapshotStore implements SnapshotStore {
  readonly #context: InstanceContext;
  readonly #content: FileContentStore;
  readonly #workers: LayerWorkers;
  readonly #layers: Shelf<LayerRecord>;
  readonly #snapshots: Shelf<SnapshotRecord>;
  readonly #layerNames = new Map<Digest, string>();
  readonly #snapshotNames = new Map<string, string>();
  readonly #applying = new SingleFlight<Layer>();
  readonly #exporting = new SingleFlight<LayerBlob>();
  readonly #keys = new KeyedMutex();

  private constructor(context: InstanceContext, content: FileContentStore) {
    this.#context = context;
    this.#content = content;
    this.#workers = new LayerWorkers(context.clock);
    const folder = path.join(context.dataDir, "snapshots");
    this.#layers = new Shelf(path.join(folder, "l"));
    this.#snapshots = new Shelf(path.join(folder, "s"));
  }

  /** Opening recovers: directories that a crash left without facts go. */
  static async open(context: InstanceContext, content: FileContentStore): Promise<OverlaySnapshotStore> {
    const store = new OverlaySnapshotStore(context, content);
    await store.#layers.open();
    await store.#snapshots.open();
    for (const [name, facts] of store.#layers.entries()) store.#layerNames.set(facts.chainId, name);
    for (const [name, facts] of store.#snapshots.entries()) store.#snapshotNames.set(facts.key, name);
    return store;
  }

  async close(): Promise<void> {
    await this.#workers[Symbol.asyncDispose]();
  }

  layer(chainId: Digest): Layer | undefined {
    const name = this.#layerNames.get(chainId);
    return name === undefined ? undefined : this.#toLayer(name);
  }

  chain(chainId: Digest): Layer[] {
    const chain: Layer[] = [];
    for (let next: Digest | undefined = chainId; next !== undefined;) {
      const layer = this.layer(next);
      if (!layer) throw notFound(`no layer ${next} in the store`);
      if (chain.push(layer) > MAX_CHAIN) throw invalidArgument(`an image has more than ${MAX_CHAIN} layers`);
      next = layer.parent;
    }
    return chain.reverse();
  }

  layers(): Layer[] {
    return [...this.#layerNames.values()].map((name) => this.#toLayer(name));
  }

  async prepare(key: string, parent: Digest | undefined, options: PrepareOptions = {}): Promise<SnapshotInfo> {
    return this.#keys.run(key, async () => {
      if (this.#snapshotNames.has(key)) throw alreadyExists(`snapshot ${key} exists already`);
      const lower = this.#lowerOf(parent);
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
      const lower = this.#lowerOf(info.parent);
      mountOverlay(target, {
        lower: lower.length > 0 ? lower : [this.#emptyDirectory()],
        upper: { directory: info.upperPath, work },
        readonly: options.readonly,
        volatile: options.volatile,
        source: this.#source(directory),
      });
    });
  }

  async mountLayer(chainId: Digest, target: string): Promise<void> {
    ensureDirectory(target);
    mountOverlay(target, { lower: this.#lowerOf(chainId), readonly: true, source: this.#source(this.#layers.folder) });
  }

  async unmount(target: string): Promise<void> {
    for (const point of mountsBelow(target)) if (!tryUnmount(point)) unmount(point, { lazy: true });
  }

  usage(key: string): Promise<Usage> {
    return this.#workers.run("usage", { root: this.#mustGet(key).upperPath });
  }

  changes(key: string): Promise<Change[]> {
    const info = this.#mustGet(key);
    return this.#workers.run("changes", { upper: info.upperPath, lower: this.#lowerOf(info.parent) });
  }

  diffTar(key: string, options: DiffOptions = {}): Readable {
    return this.#streamTar(this.#mustGet(key).upperPath, options.clampMtimeMs);
  }

  async commit(key: string, options: DiffOptions = {}): Promise<Layer> {
    return this.#keys.run(key, async () => {
      const info = this.#mustGet(key);
      unmountAll(mountsOf(this.#source(path.dirname(info.upperPath))));
      const made = await this.#workers.run("digest", { root: info.upperPath, clampMtimeMs: options.clampMtimeMs });
      const chainId = chainIdOf(info.parent, made.diffId);
      this.#content.leases.touch(chainId);
      if (!this.layer(chainId)) {
        const name = this.#layers.newName();
        await rename(info.upperPath, this.#layers.directory(name));
        await this.#publish(name, info.parent, made, [], options.clampMtimeMs, true);
      }
      await this.#drop(key);
      return this.layer(chainId)!;
    });
  }

  async commitCopy(key: string, options: DiffOptions = {}): Promise<Layer> {
    const info = this.#mustGet(key);
    const lower = this.#lowerOf(info.parent);
    return this.#fill(info.parent, async (target) => {
      const args = { root: info.upperPath, target, lower, clampMtimeMs: options.clampMtimeMs };
      return { ...(await this.#workers.run("copy", args)), blobs: [], ownTar: true };
    });
  }

  applyBlob(parent: Digest | undefined, blob: LayerBlob, options: ApplyOptions = {}): Promise<Layer> {
    const known = options.diffId && this.#held(chainIdOf(parent, options.diffId));
    if (known) return Promise.resolve(known);
    return this.#applying.run(`${parent ?? ""} ${blob.digest}`, async () => {
      const lower = this.#lowerOf(parent);
      return this.#fill(parent, async (root) => {
        const growing = options.growing && { file: options.growing.file, progress: options.growing.progress };
        const args = { blob: this.#content.path(blob.digest), root, lower, growing };
        const made = await this.#workers
          .run("apply", args, { signal: options.signal })
          .catch(async (error: unknown) => {
            // The worker only knows that no more will come; the download knows why.
            if (hasCode(error, "unavailable")) await options.growing?.verified;
            throw error;
          });
        if (options.diffId !== undefined && made.diffId !== options.diffId)
          throw invalidArgument(
            `layer ${blob.digest} unpacks to ${made.diffId} where the image says ${options.diffId}`,
          );
        await options.growing?.verified;
        return { ...made, blobs: [blob], ownTar: false };
      });
    });
  }

  async importBlob(parent: Digest | undefined, blob: Digest, options: { signal?: AbortSignal } = {}): Promise<Layer> {
    const lower = this.#lowerOf(parent);
    return this.#fill(parent, async (root) => {
      await this.#workers.run("apply", { blob: this.#content.path(blob), root, lower }, options);
      return { ...(await this.#workers.run("digest", { root }, options)), blobs: [], ownTar: true };
    });
  }

  async restack(layer: Digest, newParent: Digest | undefined): Promise<Layer> {
    const name = this.#layerNames.get(layer);
    if (name === undefined) throw notFound(`no layer ${layer} in the store`);
    const facts = this.#factsOf(name);
    const known = this.#held(chainIdOf(newParent, facts.diffId));
    if (known) return known;
    return this.#fill(newParent, async (target) => {
      await this.#workers.run("link", { root: this.#layers.directory(name), target });
      return { ...facts, ownTar: facts.ownTar, blobs: facts.blobs };
    });
  }

  exportBlob(chainId: Digest, options: { signal?: AbortSignal } = {}): Promise<LayerBlob> {
    return this.#exporting.run(chainId, async () => {
      const name = this.#layerNames.get(chainId);
      if (name === undefined) throw notFound(`no layer ${chainId} in the store`);
      const facts = this.#factsOf(name);
      const there = facts.blobs.find((blob) => isCompressed(blob) && this.#content.has(blob.digest));
      if (there) {
        this.#content.leases.touch(there.digest);
        return there;
      }
      const plain = facts.blobs.find((blob) => this.#content.has(blob.digest));
      const upload = await this.#content.openUpload(`export ${chainId}`);
      await upload.abandon();
      const source =
        facts.ownTar || !plain
          ? { root: this.#layers.directory(name), clampMtimeMs: facts.clampMtimeMs }
          : { blob: this.#content.path(plain.digest) };
      const made = await this.#workers.run("compress", { ...source, file: upload.file }, options);
      if (made.rawDigest !== facts.diffId) {
        await removeTree(upload.file);
        throw internal(
          `layer ${chainId} on disk is no longer what it was: its tar has digest ${made.rawDigest}, not ${facts.diffId}`,
          {
            hint: "something wrote into berth's data directory; remove the image and pull or build it again",
          },
        );
      }
      this.#content.leases.touch(made.digest);
      await rename(upload.file, this.#content.path(made.digest));
      await syncFolder(path.dirname(this.#content.path(made.digest)));
      const blob = { digest: made.digest, sizeBytes: made.sizeBytes, mediaType: MEDIA.dockerLayerGzip };
      await this.#layers.put(name, { ...facts, blobs: [blob, ...facts.blobs] });
      return blob;
    });
  }

  async layerTar(chainId: Digest): Promise<Readable> {
    const name = this.#layerNames.get(chainId);
    if (name === undefined) throw notFound(`no layer ${chainId} in the store`);
    const facts = this.#factsOf(name);
    if (facts.ownTar) return this.#streamTar(this.#layers.directory(name), facts.clampMtimeMs);
    const { openUnpacked } = await import("./layer/unpacked.ts");
    const blob = facts.blobs.find((candidate) => this.#content.has(candidate.digest));
    if (!blob) throw internal(`the original of layer ${chainId} is gone from the content store`);
    return openUnpacked(await this.#content.open(blob.digest));
  }

  async remove(key: string): Promise<void> {
    await this.#keys.run(key, () => this.#drop(key));
  }

  async collect(roots: ReadonlySet<Digest>): Promise<{ deleted: Digest[]; freedBytes: number }> {
    const needed = new Set<Digest>();
    const need = (chainId: Digest | undefined) => {
      for (let next = chainId; next !== undefined && !needed.has(next); next = this.layer(next)?.parent)
        needed.add(next);
    };
    for (const root of roots) need(root);
    for (const [, facts] of this.#snapshots.entries()) need(facts.parent);
    for (const chainId of this.#layerNames.keys()) if (this.#content.leases.holds(chainId)) need(chainId);
    const deleted: Digest[] = [];
    let freedBytes = 0;
    // Children before parents, so that a crash in between leaves no layer without its parent.
    for (const [chainId, name] of [...this.#layerNames].reverse()) {
      if (needed.has(chainId) || this.#content.leases.holds(chainId)) continue;
      const usedAgain = [...this.#snapshots.entries()].some(([, facts]) => facts.parent === chainId);
      if (usedAgain || this.layers().some((layer) => layer.parent === chainId)) continue;
      freedBytes += this.#factsOf(name).sizeBytes;
      this.#layerNames.delete(chainId);
      await this.#layers.delete(name);
      deleted.push(chainId);
    }
    return { deleted, freedBytes };
  }

  /** Blobs that layers remember: they stay as long as the layer does. */
  *rememberedBlobs(): Iterable<Digest> {
    for (const [, facts] of this.#layers.entries()) for (const blob of facts.blobs) yield blob.digest;
  }

  /** Makes a layer directory with `work` and publishes it, unless the same layer is there by then. */
  async #fill(
    parent: Digest | undefined,
    work: (
      directory: string,
    ) => Promise<Applied & { blobs: readonly LayerBlob[]; ownTar: boolean; clampMtimeMs?: number }>,
  ): Promise<Layer> {
    if (parent !== undefined) this.#content.leases.touch(parent);
    const name = this.#layers.newName();
    const directory = this.#layers.directory(name);
    mkdirSync(directory, { mode: 0o755 });
    copyRootFacts(this.#lowerOf(parent)[0], directory);
    try {
      const made = await work(directory);
      const chainId = chainIdOf(parent, made.diffId);
      this.#content.leases.touch(chainId);
      const known = this.layer(chainId);
      if (known) {
        await removeTree(directory);
        return known;
      }
      await this.#publish(name, parent, made, made.blobs, made.clampMtimeMs, made.ownTar);
      return this.layer(chainId)!;
    } catch (error) {
      await removeTree(directory);
      throw error;
    }
  }

  async #publish(
    name: string,
    parent: Digest | undefined,
    made: Applied,
    blobs: readonly LayerBlob[],
    clampMtimeMs: number | undefined,
    ownTar: boolean,
  ): Promise<void> {
    const chainId = chainIdOf(parent, made.diffId);
    await this.#layers.put(name, {
      chainId,
      diffId: made.diffId,
      ...(parent && { parent }),
      sizeBytes: made.sizeBytes,
      tarBytes: made.tarBytes,
      createdMs: this.#context.clock.nowMs(),
      blobs,
      ...(clampMtimeMs !== undefined && { clampMtimeMs }),
      ownTar,
    });
    this.#layerNames.set(chainId, name);
  }

  async #drop(key: string): Promise<void> {
    const name = this.#snapshotNames.get(key);
    if (name === undefined) return;
    unmountAll(mountsOf(this.#source(this.#snapshots.directory(name))));
    this.#snapshotNames.delete(key);
    await this.#snapshots.delete(name);
  }

  #held(chainId: Digest): Layer | undefined {
    const layer = this.layer(chainId);
    if (layer) this.#content.leases.touch(chainId);
    return layer;
  }

  #lowerOf(chainId: Digest | undefined): string[] {
    return chainId === undefined
      ? []
      : this.chain(chainId)
          .map((layer) => layer.path)
          .reverse();
  }

  #streamTar(root: string, clampMtimeMs: number | undefined): Readable {
    const abort = new AbortController();
    let wanted: (() => void) | undefined;
    const tar = new Readable({
      read: () => wanted?.(),
      destroy: (error, done) => {
        abort.abort();
        done(error);
      },
    });
    const onChunk = (chunk: Uint8Array) => {
      if (tar.push(chunk)) return;
      return new Promise<void>((resolve) => (wanted = resolve));
    };
    this.#workers.run("tar", { root, clampMtimeMs }, { signal: abort.signal, onChunk }).then(
      () => tar.push(null),
      (error: unknown) => tar.destroy(error as Error),
    );
    return tar;
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

  #factsOf(name: string): LayerRecord {
    const facts = this.#layers.get(name);
    assert(facts, `layer ${name} has facts`);
    return facts;
  }

  #toLayer(name: string): Layer {
    const { chainId, diffId, parent, sizeBytes, tarBytes, createdMs, blobs } = this.#factsOf(name);
    return { chainId, diffId, parent, path: this.#layers.directory(name), sizeBytes, tarBytes, createdMs, blobs };
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

/** The merged root shows the uppermost directory's own mode and owner: hand them up. */
function copyRootFacts(from: string | undefined, to: string): void {
  const facts = from === undefined ? undefined : statSync(from);
  if (facts) lchownSync(to, facts.uid, facts.gid);
  chmodSync(to, facts ? facts.mode & 0o7777 : 0o755);
}

function isCompressed(blob: LayerBlob): boolean {
  return /[.+](gzip|zstd)$/.test(blob.mediaType);
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
