import { Readable } from "node:stream";
import type { OciDescriptor, OciPlatform } from "../../api/index.ts";
import {
  hasCode,
  invalidArgument,
  KeyedMutex,
  messageOf,
  notFound,
  notImplemented,
  rfc3339Nano,
  unavailable,
  type InstanceContext,
} from "../../base/index.ts";
import type { Digest, FileContentStore } from "../content/index.ts";
import type { EventBus } from "../events/index.ts";
import {
  checkLogin,
  readJsonBody,
  RegistrySession,
  Transport,
  type ClientEnvironment,
  type RegistryAuth,
  type RegistryConfig,
} from "../registry/index.ts";
import { withoutRarePacking, type Layer, type LayerBlob, type OverlaySnapshotStore } from "../snapshot/index.ts";
import { ArchiveFiles } from "./archive/files.ts";
import { loadImages, type LoadedImage } from "./archive/load.ts";
import { saveArchive, type SavedImage } from "./archive/save.ts";
import { exportLayer, importLayer, RegistryArtifacts } from "./artifact.ts";
import { Catalog } from "./catalog.ts";
import { commitContainer, createImage, ensureManifest, knownManifest, type MadeManifest } from "./create.ts";
import { historyOf } from "./history.ts";
import { Library } from "./library.ts";
import { isWhole, partsOf } from "./parts.ts";
import { hostPlatform, platformText } from "./platform.ts";
import { familiarName, familiarRepository, parseReference, type Reference } from "./reference.ts";
import { Removal, type Roots } from "./removal.ts";
import { pullImage, type Pulled } from "./transfer/pull.ts";
import type { PushEnvironment } from "./transfer/push.ts";
import { indexDescriptor, partToPush, pushIndexParts, pushParts } from "./transfer/push-image.ts";
import { inspectRemote } from "./transfer/remote.ts";
import { SharedRuns } from "./transfer/shared.ts";
import type {
  ArtifactPlace,
  CommitOptions,
  CreateImageOptions,
  HistoryItem,
  Image,
  ImagePart,
  ImageService,
  ImageUser,
  ImportOptions,
  OnProgress,
  PackedLayer,
  PruneOptions,
  RemovedItem,
  RemoveOptions,
  SearchResult,
  TransferOptions,
} from "./types.ts";

export interface ImagesOptions {
  readonly context: InstanceContext;
  readonly content: FileContentStore;
  readonly snapshots: OverlaySnapshotStore;
  readonly events: EventBus;
  readonly registry?: RegistryConfig;
  /** Makes a base image where no registry has it; injected, since it starts programs. */
  readonly bootstrapper?: Bootstrapper;
}

/** Gives the root filesystem of a base image as a tar, and what the image runs. */
export interface Bootstrapper {
  readonly names: readonly string[];
  make(name: string, options: { onProgress?: OnProgress; signal?: AbortSignal }): Promise<BootstrapResult>;
}

export interface BootstrapResult {
  readonly tar: Readable;
  readonly config: NonNullable<ImportOptions["config"]>;
  readonly message: string;
}

/** The image service over the stores of one instance. */
export class Images implements ImageService {
  readonly #options: ImagesOptions;
  readonly #library: Library;
  readonly #removal: Removal;
  readonly #client: ClientEnvironment;
  readonly #blobs = new KeyedMutex();
  readonly #pulls = new SharedRuns<Image>();

  private constructor(options: ImagesOptions, catalog: Catalog) {
    const { context, content, snapshots, events } = options;
    const config = options.registry ?? {};
    this.#options = options;
    this.#library = new Library({ catalog, content, snapshots, events, clock: context.clock });
    this.#removal = new Removal(this.#library);
    this.#client = { transport: new Transport(config), config, clock: context.clock, random: context.random };
  }

  static async open(options: ImagesOptions): Promise<Images> {
    const images = new Images(options, await Catalog.open(options.context.dataDir));
    await images.#library.repair(options.context.log);
    return images;
  }

  close(): void {
    this.#client.transport.close();
  }

  resolve(refOrId: string, options: { platform?: OciPlatform } = {}): Promise<Image> {
    return this.#library.resolve(refOrId, options.platform);
  }
  find(refOrId: string): Promise<Image | undefined> {
    return this.#library.find(refOrId);
  }
  list(): Promise<Image[]> {
    return this.#library.list();
  }
  tag(refOrId: string, name: string): Promise<void> {
    return this.#library.tag(refOrId, name);
  }
  async partsOf(refOrId: string): Promise<ImagePart[]> {
    const record = this.#library.recordOf(refOrId) ?? this.#library.indexedUnder(this.#library.findId(refOrId));
    return partsOf(this.#library, await this.resolve(refOrId), record, this.#removal.users());
  }
  remove(refOrId: string, options: RemoveOptions = {}): Promise<RemovedItem[]> {
    return this.#removal.remove(refOrId, options);
  }
  prune(options: PruneOptions = {}): Promise<{ removed: RemovedItem[]; freedBytes: number }> {
    return this.#removal.prune(options);
  }
  setUsers(users: () => Iterable<ImageUser>): void {
    this.#removal.users = users;
  }
  addRoots(roots: () => Roots): void {
    this.#removal.addRoots(roots);
  }
  collectGarbage(): Promise<{ freedBytes: number }> {
    return this.#removal.collect();
  }
  create(options: CreateImageOptions): Promise<Image> {
    return createImage(this.#library, options);
  }
  commit(options: CommitOptions): Promise<Image> {
    return commitContainer(this.#library, options);
  }
  async history(refOrId: string, platform?: OciPlatform): Promise<HistoryItem[]> {
    return historyOf(this.#library, await this.resolve(refOrId, { platform }));
  }
  async layersSizeBytes(): Promise<number> {
    return this.#options.snapshots.layers().reduce((sum, layer) => sum + layer.sizeBytes, 0);
  }

  pull(name: string, options: TransferOptions = {}): Promise<Image> {
    const reference = parseReference(name);
    const key = `${familiarName(reference)} ${options.platform ? platformText(options.platform) : ""} ${JSON.stringify(options.auth ?? null)}`;
    return this.#pulls.run(key, options, (shared) => this.#pull(reference, { ...options, ...shared }));
  }

  async pullAll(repository: string, options: TransferOptions = {}): Promise<Image[]> {
    const reference = parseReference(repository);
    const session = new RegistrySession(this.#client, reference, options.auth, "pull");
    const images = [];
    for (const tag of await session.tags(options.signal))
      images.push(await this.pull(`${familiarRepository(reference)}:${tag}`, options));
    return images;
  }

  async ensure(name: string, options: TransferOptions = {}): Promise<Image> {
    const there = await this.find(name);
    if (!there) return this.pull(name, options);
    try {
      return await this.resolve(name, options);
    } catch (mismatch) {
      if (!hasCode(mismatch, "notFound")) throw mismatch;
      return this.#pullOther(name, options, mismatch);
    }
  }

  /** The name is here for other platforms only: the registry may have more. */
  async #pullOther(name: string, options: TransferOptions, mismatch: unknown): Promise<Image> {
    try {
      return await this.pull(name, options);
    } catch (error) {
      if (!hasCode(error, "notFound", "unavailable", "unauthenticated", "permissionDenied")) throw error;
      throw notFound(`${messageOf(mismatch)}, and pulling it failed: ${messageOf(error)}`, { cause: error });
    }
  }

  async push(name: string, options: TransferOptions = {}): Promise<{ digest: Digest; sizeBytes: number; tag: string }> {
    const reference = parseReference(name);
    if (reference.digest !== undefined) throw invalidArgument("cannot push a digest reference");
    const { content, context, events } = this.#options;
    const emit: OnProgress = options.onProgress ?? (() => {});
    const image = await this.resolve(familiarName(reference), options);
    emit({ status: `The push refers to repository [${reference.domain}/${reference.path}]` });
    await using _lease = content.lease();
    const tag = reference.tag!;
    const session = new RegistrySession(this.#client, reference, options.auth, "pull,push");
    const mountFrom = mountSources(image, reference);
    const environment = { content, clock: context.clock, session, mountFrom };
    const made = await this.#pushChosen(environment, reference, image, options);
    await session.pushManifest(tag, made.mediaType, made.bytes, options.signal);
    await this.#library.setTarget(reference, image.id, made.digest);
    await this.#library.save();
    const sizeBytes = made.bytes.byteLength;
    emit({ status: `${tag}: digest: ${made.digest} size: ${sizeBytes}` });
    emit({ aux: { Tag: tag, Digest: made.digest, Size: sizeBytes } });
    events.publish("image", "push", familiarName(reference), { name: familiarRepository(reference) });
    return { digest: made.digest, sizeBytes, tag };
  }

  /** The index of a name when all of it is here, else one image. */
  async #pushChosen(
    environment: PushEnvironment,
    reference: Reference,
    image: Image,
    options: TransferOptions,
  ): Promise<MadeManifest> {
    const index = this.#library.recordOf(familiarName(reference))?.index;
    if (index === undefined || options.platform) return pushParts(this.#library, environment, image, options);
    const parts = await this.partsOf(familiarName(reference));
    const originalIndex = await indexDescriptor(this.#library, index);
    const chosen = partToPush(parts);
    if (!chosen) return pushIndexParts(this.#library, environment, originalIndex, parts, options);
    const made = await pushParts(this.#library, environment, chosen.image!, options);
    options.onProgress?.({
      aux: { manifestPushedInsteadOfIndex: true, originalIndex, selectedManifest: chosen.descriptor },
    });
    return made;
  }

  save(names: readonly string[], options: { platform?: OciPlatform } = {}): Readable {
    const { content, snapshots } = this.#options;
    const collect = async (): Promise<SavedImage[]> => {
      const saved = new Map<Digest, SavedImage>();
      for (const name of names) {
        const image = await this.resolve(name, options);
        const full = this.#library.nameOf(name);
        const isRepository = full !== undefined && !full.includes("@");
        const tags = [
          ...(saved.get(image.id)?.tags ?? []),
          ...(isRepository ? [familiarName(parseReference(full))] : []),
        ];
        const index = options.platform ? undefined : await this.#indexToSave(name);
        saved.set(image.id, { image, tags: [...new Set(tags)], ...(index && { index }) });
      }
      return [...saved.values()];
    };
    const archive = async function* () {
      await using lease = content.lease();
      const saved = await collect();
      for (const { image, index } of saved)
        for (const one of [image, ...(index?.images ?? [])])
          for (const layer of one.layers) lease.protect(layer.chainId);
      yield* saveArchive(content, snapshots, saved);
    };
    return Readable.from(archive(), { objectMode: false, highWaterMark: 1 << 18 });
  }

  /** An index of which more than one platform is here, with everything that travels. */
  async #indexToSave(name: string): Promise<SavedImage["index"]> {
    const index = this.#library.recordOf(name)?.index;
    if (index === undefined) return undefined;
    const images = (await this.partsOf(name)).flatMap(({ image }) => image ?? []);
    if (images.length < 2) return undefined;
    for (const { id } of images) if (!(await knownManifest(this.#library, id))) return undefined;
    return { descriptor: await indexDescriptor(this.#library, index), images };
  }

  async load(
    archive: Readable,
    options: { platform?: OciPlatform; onProgress?: OnProgress; signal?: AbortSignal } = {},
  ): Promise<Image[]> {
    const { content, snapshots, events } = this.#options;
    const emit: OnProgress = options.onProgress ?? (() => {});
    await using _lease = content.lease();
    const files = await ArchiveFiles.read(content, archive, options.signal);
    const loaded = await loadImages(content, snapshots, files, { ...options, onProgress: emit });
    for (const one of loaded) await this.#recordLoaded(one, emit);
    await this.#library.save();
    const ids = loaded.flatMap((one) => one.images.map(({ imageId }) => imageId));
    const images = await Promise.all(ids.map((id) => this.#library.image(id)));
    for (const image of images) events.publish("image", "load", image.id, { name: image.id });
    return images;
  }

  async import(tar: Readable, options: ImportOptions = {}): Promise<Image> {
    const image = await this.#import(tar, options);
    // The tar itself isn't needed any more: the layer is its own source.
    await this.collectGarbage();
    this.#options.events.publish("image", "import", image.id, { name: options.tag ?? image.id });
    return image;
  }

  async #import(tar: Readable, options: ImportOptions): Promise<Image> {
    const { content, snapshots, context } = this.#options;
    const created = rfc3339Nano(context.clock.nowMs());
    await using _lease = content.lease();
    const blob = await content.ingest(await withoutRarePacking(tar), { signal: options.signal });
    const layer = await snapshots.importBlob(undefined, blob.digest, { signal: options.signal });
    return this.create({
      config: {
        ...(options.platform ?? hostPlatform()),
        created,
        config: options.config ?? {},
        history: [{ created, comment: options.message ?? "Imported from -" }],
      },
      chainId: layer.chainId,
      tags: options.tag === undefined ? [] : [options.tag],
    });
  }

  async bootstrap(name: string, options: { onProgress?: OnProgress; signal?: AbortSignal } = {}): Promise<Image> {
    const reference = parseReference(name);
    const { bootstrapper } = this.#options;
    const familiar = familiarName(reference);
    if (!bootstrapper) throw notImplemented(`base images can't be made here, so there is no ${familiar}`);
    const made = await bootstrapper.make(familiar, options);
    return this.import(made.tar, { tag: familiar, message: made.message, config: made.config, signal: options.signal });
  }

  async inspectRemote(
    name: string,
    options: TransferOptions = {},
  ): Promise<{ descriptor: OciDescriptor; platforms: OciPlatform[] }> {
    const reference = parseReference(name);
    const session = new RegistrySession(this.#client, reference, options.auth, "pull");
    return inspectRemote(session, reference, options.signal);
  }

  artifacts(name: string, options: TransferOptions & { readonly write: boolean }): ArtifactPlace {
    const reference = parseReference(name);
    const actions = options.write ? "pull,push" : "pull";
    const session = new RegistrySession(this.#client, reference, options.auth, actions);
    return new RegistryArtifacts(session, reference.digest ?? reference.tag!, options.signal);
  }

  exportLayer(chainId: Digest, signal?: AbortSignal): Promise<PackedLayer> {
    return exportLayer(this.#options.content, this.#options.snapshots, chainId, signal);
  }

  async importLayer(
    parent: Digest | undefined,
    packed: LayerBlob & { readonly diffId: Digest },
    source: () => Promise<Readable>,
    options: { readonly signal?: AbortSignal; readonly keep: (layer: Layer) => void },
  ): Promise<Layer> {
    const { content, snapshots } = this.#options;
    await using _lease = content.lease();
    const layer = await importLayer(content, snapshots, parent, packed, source, options.signal);
    options.keep(layer);
    return layer;
  }

  login(serverAddress: string, auth: RegistryAuth): Promise<void> {
    return checkLogin(this.#client, serverAddress, auth);
  }

  async search(term: string, options: { limit?: number; signal?: AbortSignal } = {}): Promise<SearchResult[]> {
    const query = new URLSearchParams({ q: term, n: String(options.limit ?? 25) });
    const body = await this.fetchUrl(`https://index.docker.io/v1/search?${query.toString()}`, options.signal);
    return (await readJsonBody<{ results?: SearchResult[] }>(body)).results ?? [];
  }

  async fetchUrl(url: string, signal?: AbortSignal): Promise<Readable> {
    if (!/^https?:\/\//.test(url) || !URL.canParse(url)) throw invalidArgument(`"${url}" is no http or https address`);
    const answer = await this.#client.transport.send({ method: "GET", url: new URL(url), signal });
    if (answer.status === 200) return answer.body;
    answer.body.destroy();
    throw unavailable(`${url} answered with HTTP ${answer.status}`);
  }

  /** For the registry server: what a local image looks like in a registry. The caller holds a lease. */
  async manifestFor(
    name: string,
    options: { partial?: boolean } = {},
  ): Promise<(MadeManifest & { pulled: boolean }) | undefined> {
    const id = this.#library.findId(name);
    if (id === undefined) return undefined;
    const record = this.#library.recordOf(name);
    const pulled = record?.target !== undefined;
    if (record?.index !== undefined && (options.partial || isWhole(await this.partsOf(name)))) {
      const { digest, mediaType } = await indexDescriptor(this.#library, record.index);
      return { digest, mediaType, bytes: await this.#options.content.read(digest), pulled };
    }
    return { ...(await ensureManifest(this.#library, id)), pulled };
  }

  /** Whether some image here has this manifest, so that a registry may show it. */
  hasManifest(digest: Digest): boolean {
    const { images, names } = this.#library.parts.catalog;
    for (const record of images.values()) if (record.manifest?.digest === digest) return true;
    for (const record of names.values()) if (record.index === digest) return true;
    return false;
  }

  async #pull(reference: Reference, options: TransferOptions): Promise<Image> {
    const { content, snapshots, context, events } = this.#options;
    const emit: OnProgress = options.onProgress ?? (() => {});
    const before = this.#library.findId(familiarName(reference));
    await using _lease = content.lease();
    const session = new RegistrySession(this.#client, reference, options.auth, "pull");
    const environment = { content, snapshots, clock: context.clock, blobs: this.#blobs };
    const pulled = await pullImage(environment, session, reference, options);
    await this.#recordPulled(reference, pulled);
    await this.#library.save();
    const news = before === pulled.imageId ? "Image is up to date for" : "Downloaded newer image for";
    emit({ status: `Status: ${news} ${familiarName(reference)}` });
    events.publish("image", "pull", familiarName(reference), { name: familiarRepository(reference) });
    return this.#library.image(pulled.imageId);
  }

  async #recordPulled(reference: Reference, pulled: Pulled): Promise<void> {
    this.#library.record(pulled.imageId, { manifest: pulled.manifest });
    // `docker pull` makes an image findable by digest also when its tag moves on.
    for (const name of [reference, { ...reference, tag: undefined, digest: pulled.target }])
      if (pulled.index === undefined) this.#library.setName(name, pulled.imageId, pulled.target);
      else await this.#library.nameParts(name, [pulled.imageId], pulled.index, pulled.target);
  }

  async #recordLoaded({ images, index, names }: LoadedImage, emit: OnProgress): Promise<void> {
    const ids = images.map(({ imageId }) => imageId);
    for (const { imageId, manifest } of images) this.#library.record(imageId, { manifest });
    for (const reference of names) {
      if (index === undefined) this.#library.setName(reference, ids[0]!);
      else await this.#library.nameParts(reference, ids, index);
      emit({ stream: `Loaded image: ${familiarName(reference)}\n` });
    }
    if (names.length === 0) for (const id of ids) emit({ stream: `Loaded image ID: ${id}\n` });
  }
}

/** Repositories of the same registry from which layers can be linked. */
function mountSources(image: Image, to: Reference): string[] {
  const MAX_SOURCES = 2;
  const sources = image.repoDigests
    .map((name) => parseReference(name))
    .filter((other) => other.domain === to.domain && other.path !== to.path)
    .map((other) => other.path);
  return [...new Set(sources)].slice(0, MAX_SOURCES);
}
