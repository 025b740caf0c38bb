import { chmodSync, lchownSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { rename } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { MEDIA } from "../../api/index.ts";
import {
  assert,
  hasCode,
  internal,
  invalidArgument,
  notFound,
  SingleFlight,
  type InstanceContext,
} from "../../base/index.ts";
import { removeTree, syncFolder, type Digest, type FileContentStore } from "../content/index.ts";
import { chainIdOf } from "./chain.ts";
import { GrowingFile } from "./layer/growing.ts";
import type { Applied } from "./layer/tasks.ts";
import type { LayerWorkers } from "./layer/workers.ts";
import { Shelf, type LayerRecord } from "./records.ts";
import type { ApplyOptions, ExportOptions, Layer, LayerBlob } from "./types.ts";

/** An image may have this many layers; Docker's own limit is 127. */
const MAX_CHAIN = 256;

/** What a new layer's directory turned out to be. */
interface Filled extends Applied {
  readonly blobs: readonly LayerBlob[];
  /** The tar can be made again from the directory, byte for byte. */
  readonly ownTar: boolean;
  readonly clampMtimeMs?: number;
}

/** The read-only layers of a snapshot store: directories below `snapshots/l`, each with its facts beside it. */
export class LayerShelf {
  readonly #context: InstanceContext;
  readonly #content: FileContentStore;
  readonly #workers: LayerWorkers;
  readonly #layers: Shelf<LayerRecord>;
  readonly #layerNames = new Map<Digest, string>();
  readonly #applying = new SingleFlight<Layer>();
  readonly #exporting = new SingleFlight<LayerBlob>();

  constructor(context: InstanceContext, content: FileContentStore, workers: LayerWorkers) {
    this.#context = context;
    this.#content = content;
    this.#workers = workers;
    this.#layers = new Shelf(path.join(context.dataDir, "snapshots/l"));
  }

  /** Opening recovers: directories that a crash left without facts go. */
  async open(): Promise<void> {
    await this.#layers.open();
    for (const [name, facts] of this.#layers.entries()) this.#layerNames.set(facts.chainId, name);
  }

  get folder(): string {
    return this.#layers.folder;
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

  /** A layer that is there, under all leases from now on. */
  held(chainId: Digest): Layer | undefined {
    const layer = this.layer(chainId);
    if (layer) this.#content.leases.touch(chainId);
    return layer;
  }

  /** The directories of a chain as an overlay mount wants them: the uppermost first. */
  lowerOf(chainId: Digest | undefined): string[] {
    return chainId === undefined
      ? []
      : this.chain(chainId)
          .map((layer) => layer.path)
          .reverse();
  }

  /** Takes over a directory of changes as a layer, by renaming it. */
  async adopt(
    parent: Digest | undefined,
    upperPath: string,
    made: Applied,
    clampMtimeMs: number | undefined,
  ): Promise<Layer> {
    const chainId = chainIdOf(parent, made.diffId);
    this.#content.leases.touch(chainId);
    if (!this.layer(chainId)) {
      const name = this.#layers.newName();
      await rename(upperPath, this.#layers.directory(name));
      await this.#publish(name, parent, { ...made, blobs: [], ownTar: true, clampMtimeMs });
    }
    return this.layer(chainId)!;
  }

  applyBlob(parent: Digest | undefined, blob: LayerBlob, options: ApplyOptions = {}): Promise<Layer> {
    const known = options.diffId && this.held(chainIdOf(parent, options.diffId));
    if (known) return Promise.resolve(known);
    return this.#applying.run(`${parent ?? ""} ${blob.digest}`, async () => {
      const lower = this.lowerOf(parent);
      return this.fill(parent, async (root) => {
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
    const lower = this.lowerOf(parent);
    return this.fill(parent, async (root) => {
      await this.#workers.run("apply", { blob: this.#content.path(blob), root, lower }, options);
      return { ...(await this.#workers.run("digest", { root }, options)), blobs: [], ownTar: true };
    });
  }

  async restack(layer: Digest, newParent: Digest | undefined): Promise<Layer> {
    const { name, facts } = this.#mustGet(layer);
    const known = this.held(chainIdOf(newParent, facts.diffId));
    if (known) return known;
    return this.fill(newParent, async (target) => {
      await this.#workers.run("link", { root: this.#layers.directory(name), target });
      return { ...facts, ownTar: facts.ownTar, blobs: facts.blobs };
    });
  }

  /** What `exportBlob` answers without making anything; under all leases from now on. */
  readyBlob(chainId: Digest): LayerBlob | undefined {
    const { facts } = this.#mustGet(chainId);
    const there = facts.blobs.find((blob) => isCompressed(blob) && this.#content.has(blob.digest));
    if (there) this.#content.leases.touch(there.digest);
    return there;
  }

  exportBlob(chainId: Digest, options: ExportOptions = {}): Promise<LayerBlob> {
    return this.#exporting.run(chainId, async () => this.readyBlob(chainId) ?? this.#pack(chainId, options));
  }

  async #pack(chainId: Digest, { signal, onGrowing }: ExportOptions): Promise<LayerBlob> {
    const { name, facts } = this.#mustGet(chainId);
    const upload = await this.#content.openUpload(`export ${chainId}`);
    await upload.abandon();
    const file = new GrowingFile(upload.file);
    try {
      writeFileSync(upload.file, "", { mode: 0o600 });
      onGrowing?.(file.growing);
      const source = this.#sourceOf(name, facts);
      const made = await this.#workers.run("compress", { ...source, growing: file.growing }, { signal });
      if (made.rawDigest !== facts.diffId)
        throw internal(
          `layer ${chainId} on disk is no longer what it was: its tar has digest ${made.rawDigest}, not ${facts.diffId}`,
          { hint: "something wrote into berth's data directory; remove the image and pull or build it again" },
        );
      this.#content.leases.touch(made.digest);
      await rename(upload.file, this.#content.path(made.digest));
      await syncFolder(path.dirname(this.#content.path(made.digest)));
      const blob = { digest: made.digest, sizeBytes: made.sizeBytes, mediaType: MEDIA.dockerLayerGzip };
      await this.#layers.put(name, { ...facts, blobs: [blob, ...facts.blobs] });
      return blob;
    } catch (error) {
      // A worker that was ended can't tell those who read what it wrote.
      file.failed();
      await removeTree(upload.file);
      throw error;
    }
  }

  /** What to pack: the directory where it makes the same tar again, else the tar that came. */
  #sourceOf(name: string, facts: LayerRecord): { root: string; clampMtimeMs: number | undefined } | { blob: string } {
    const plain = facts.blobs.find((blob) => this.#content.has(blob.digest));
    return facts.ownTar || !plain
      ? { root: this.#layers.directory(name), clampMtimeMs: facts.clampMtimeMs }
      : { blob: this.#content.path(plain.digest) };
  }

  async layerTar(chainId: Digest): Promise<Readable> {
    const { name, facts } = this.#mustGet(chainId);
    if (facts.ownTar) return this.streamTar(this.#layers.directory(name), facts.clampMtimeMs);
    const { openUnpacked } = await import("./layer/unpacked.ts");
    const blob = facts.blobs.find((candidate) => this.#content.has(candidate.digest));
    if (!blob) throw internal(`the original of layer ${chainId} is gone from the content store`);
    return openUnpacked(await this.#content.open(blob.digest));
  }

  /** `parents` are what snapshots stand on, asked anew before each deletion. */
  async collect(
    roots: ReadonlySet<Digest>,
    parents: () => Iterable<Digest | undefined>,
  ): Promise<{ deleted: Digest[]; freedBytes: number }> {
    const needed = new Set<Digest>();
    const need = (chainId: Digest | undefined) => {
      for (let next = chainId; next !== undefined && !needed.has(next); next = this.layer(next)?.parent)
        needed.add(next);
    };
    for (const root of roots) need(root);
    for (const parent of parents()) need(parent);
    for (const chainId of this.#layerNames.keys()) if (this.#content.leases.holds(chainId)) need(chainId);
    const deleted: Digest[] = [];
    let freedBytes = 0;
    // Children before parents, so that a crash in between leaves no layer without its parent.
    for (const [chainId, name] of [...this.#layerNames].reverse()) {
      if (needed.has(chainId) || this.#content.leases.holds(chainId)) continue;
      const usedAgain = [...parents()].includes(chainId);
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
  async fill(parent: Digest | undefined, work: (directory: string) => Promise<Filled>): Promise<Layer> {
    if (parent !== undefined) this.#content.leases.touch(parent);
    const name = this.#layers.newName();
    const directory = this.#layers.directory(name);
    mkdirSync(directory, { mode: 0o755 });
    copyRootFacts(this.lowerOf(parent)[0], directory);
    try {
      const made = await work(directory);
      const chainId = chainIdOf(parent, made.diffId);
      this.#content.leases.touch(chainId);
      const known = this.layer(chainId);
      if (known) {
        await removeTree(directory);
        return known;
      }
      await this.#publish(name, parent, made);
      return this.layer(chainId)!;
    } catch (error) {
      await removeTree(directory);
      throw error;
    }
  }

  async #publish(name: string, parent: Digest | undefined, made: Filled): Promise<void> {
    const { blobs, clampMtimeMs, ownTar } = made;
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

  /** The layer tar of a directory of changes. */
  streamTar(root: string, clampMtimeMs: number | undefined): Readable {
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

  #mustGet(chainId: Digest): { name: string; facts: LayerRecord } {
    const name = this.#layerNames.get(chainId);
    if (name === undefined) throw notFound(`no layer ${chainId} in the store`);
    return { name, facts: this.#factsOf(name) };
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
}

/** The merged root shows the uppermost directory's own mode and owner: hand them up. */
export function copyRootFacts(from: string | undefined, to: string): void {
  const facts = from === undefined ? undefined : statSync(from);
  if (facts) lchownSync(to, facts.uid, facts.gid);
  chmodSync(to, facts ? facts.mode & 0o7777 : 0o755);
}

function isCompressed(blob: LayerBlob): boolean {
  return /[.+](gzip|zstd)$/.test(blob.mediaType);
}
