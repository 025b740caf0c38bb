import type { OciDescriptor, OciImageConfig, OciPlatform } from "../../api/index.ts";
import { alreadyExists, invalidArgument, notFound, type Clock, type Logger } from "../../base/index.ts";
import { isDigest, type Digest, type FileContentStore } from "../content/index.ts";
import type { EventBus } from "../events/index.ts";
import { chainIdsOf, type OverlaySnapshotStore } from "../snapshot/index.ts";
import { Catalog, imagesOf, type NameRecord } from "./catalog.ts";
import { parseConfig, platformOf } from "./manifest.ts";
import { hostPlatform, platformScore, platformText } from "./platform.ts";
import { familiarName, familiarRepository, parseReference, repositoryOf, type Reference } from "./reference.ts";
import type { Image } from "./types.ts";

export interface LibraryParts {
  readonly catalog: Catalog;
  readonly content: FileContentStore;
  readonly snapshots: OverlaySnapshotStore;
  readonly events: EventBus;
  readonly clock: Clock;
}

/** Which images there are and what they are called: finding, naming, recording. No transfers. */
export class Library {
  readonly parts: LibraryParts;
  readonly #configs = new Map<Digest, { config: OciImageConfig; sizeBytes: number }>();

  constructor(parts: LibraryParts) {
    this.parts = parts;
  }

  /** Drops images of which a part is gone (a damaged disk, a hand in the data directory): one of them must not hide all others. */
  async repair(log: Logger): Promise<void> {
    for (const id of this.parts.catalog.images.keys()) {
      try {
        await this.image(id);
      } catch (error) {
        log.warn("dropped an image of which a part is gone", {
          image: id,
          names: this.parts.catalog.namesOf(id),
          error,
        });
        for (const name of this.parts.catalog.namesOf(id)) this.parts.catalog.takeFrom(name, new Set([id]));
        this.forget(id);
      }
    }
  }

  async resolve(refOrId: string, platform?: OciPlatform): Promise<Image> {
    const ids = this.#platforms(refOrId);
    if (ids.length === 0) throw notFound(`No such image: ${displayName(refOrId)}`);
    const images = await Promise.all(ids.map((id) => this.image(id)));
    return platform ? bestOf(refOrId, images, platform) : images[0]!;
  }

  async find(refOrId: string): Promise<Image | undefined> {
    const id = this.findId(refOrId);
    return id === undefined ? undefined : this.image(id);
  }

  /** The images that a name or id stands for, a platform each; the one that it means without a platform first. */
  #platforms(refOrId: string): readonly Digest[] {
    const record = this.recordOf(refOrId);
    if (record) return imagesOf(record);
    const id = this.findId(refOrId);
    return id === undefined ? [] : this.parts.catalog.platformsOf(id);
  }

  /** What is known of a name; undefined for an id. */
  recordOf(refOrId: string): NameRecord | undefined {
    const name = this.nameOf(refOrId);
    return name === undefined ? undefined : this.parts.catalog.names.get(name);
  }

  /** Full id, then name, then the beginning of an id, as Docker looks. */
  findId(refOrId: string): Digest | undefined {
    const { images } = this.parts.catalog;
    if (isDigest(refOrId)) return images.has(refOrId) ? refOrId : undefined;
    if (/^[0-9a-f]{64}$/.test(refOrId)) return images.has(`sha256:${refOrId}`) ? `sha256:${refOrId}` : undefined;
    const prefix = /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(refOrId)?.[1];
    const named = refOrId.startsWith("sha256:") ? undefined : this.#byName(refOrId);
    return named ?? (prefix === undefined ? undefined : this.#byPrefix(prefix));
  }

  /** The name under which `refOrId` was found, full; undefined when it was found by id. */
  nameOf(refOrId: string): string | undefined {
    if (isDigest(refOrId) || /^[0-9a-f]{64}$/.test(refOrId)) return undefined;
    let reference: Reference;
    try {
      reference = parseReference(refOrId);
    } catch {
      return undefined;
    }
    const full = fullName(reference);
    return this.parts.catalog.names.has(full) ? full : undefined;
  }

  async image(id: Digest): Promise<Image> {
    const { catalog, snapshots } = this.parts;
    const record = catalog.images.get(id);
    if (!record) throw notFound(`No such image: ${id}`);
    const { config, sizeBytes } = await this.#config(id);
    const chainId = chainIdsOf(config.rootfs.diff_ids).at(-1);
    const layers = chainId === undefined ? [] : snapshots.chain(chainId);
    const all = catalog.namesOf(id);
    const first = all.filter((name) => catalog.names.get(name)!.image === id);
    const names = first.length > 0 ? first : all;
    const created = Date.parse(config.created ?? "");
    return {
      id,
      config,
      configSizeBytes: sizeBytes,
      chainId,
      layers,
      sizeBytes: layers.reduce((sum, layer) => sum + layer.sizeBytes, 0),
      manifest: record.manifest,
      repoTags: names
        .filter((name) => !name.includes("@"))
        .map(familiar)
        .sort(),
      repoDigests: digestsOf(catalog, names),
      platform: platformOf(config),
      partOf: first.length > 0 || all.length === 0 ? undefined : catalog.names.get(all[0]!)!.image,
      parent: record.parent,
      createdMs: Number.isNaN(created) ? 0 : created,
      lastTaggedMs: lastTagged(catalog, names),
    };
  }

  async list(): Promise<Image[]> {
    return Promise.all([...this.parts.catalog.images.keys()].map((id) => this.image(id)));
  }

  /** Records an image whose configuration and layers are in the stores; known ones keep what is known of them. */
  record(id: Digest, facts: { manifest?: OciDescriptor; parent?: Digest }): void {
    const { catalog, clock } = this.parts;
    const known = catalog.images.get(id);
    const { manifest = known?.manifest, parent = known?.parent } = facts;
    catalog.images.set(id, {
      ...(manifest && { manifest }),
      ...(parent && { parent }),
      addedMs: known?.addedMs ?? clock.nowMs(),
    });
  }

  /** Gives a name, taking it from whoever had it. */
  setName(reference: Reference, id: Digest, target?: Digest): void {
    const { catalog, clock } = this.parts;
    catalog.names.set(fullName(reference), { image: id, ...(target && { target }), taggedMs: clock.nowMs() });
  }

  /** A name has become what a registry has under a digest; one that has an index keeps it. */
  async setTarget(reference: Reference, id: Digest, target: Digest): Promise<void> {
    const known = this.parts.catalog.names.get(fullName(reference));
    if (known?.index === undefined) this.setName(reference, id, target);
    else await this.nameParts(reference, [], known.index, known.index === target ? target : (known.target ?? target));
  }

  /** Gives images of one index a name. Those that the name had of the same index stay; the one for this machine, if there is one, comes first. */
  async nameParts(reference: Reference, ids: readonly Digest[], index: Digest, target?: Digest): Promise<void> {
    const { catalog, clock } = this.parts;
    const name = fullName(reference);
    const same = () => {
      const record = catalog.names.get(name);
      return record?.index === index ? record : undefined;
    };
    const known = () => imagesOf(same() ?? { image: ids[0]!, taggedMs: 0 });
    await Promise.all([...known(), ...ids].map((id) => this.#config(id)));
    // From here on nothing is waited for: pulls of two platforms may run side by side.
    const host = hostPlatform();
    const fit = (id: Digest) => platformScore(host, platformOf(this.#configs.get(id)!.config)) ?? -1;
    const [image, ...others] = [...new Set([...known(), ...ids])].sort((one, other) => fit(other) - fit(one));
    catalog.names.set(name, {
      image: image!,
      ...(others.length > 0 && { others }),
      index,
      ...((target ?? same()?.target) && { target: target ?? same()!.target! }),
      taggedMs: clock.nowMs(),
    });
  }

  save(): Promise<void> {
    return this.parts.catalog.save();
  }

  async tag(refOrId: string, name: string): Promise<void> {
    const image = await this.resolve(refOrId);
    const reference = parseReference(name);
    if (reference.digest !== undefined) throw invalidArgument("refusing to create a tag with a digest reference");
    const { index, others } = this.recordOf(refOrId) ?? this.indexedUnder(image.id) ?? {};
    if (index === undefined) this.setName(reference, image.id);
    else await this.nameParts(reference, [image.id, ...(others ?? [])], index);
    await this.save();
    this.parts.events.publish("image", "tag", image.id, {
      name: familiarName(reference),
      ...image.config.config?.Labels,
    });
  }

  forget(id: Digest): void {
    this.parts.catalog.images.delete(id);
    this.#configs.delete(id);
  }

  /** A name of an index in which an image comes first. */
  indexedUnder(id: Digest | undefined): NameRecord | undefined {
    return [...this.parts.catalog.names.values()].find((record) => record.image === id && record.index !== undefined);
  }

  #byName(text: string): Digest | undefined {
    let reference: Reference;
    try {
      reference = parseReference(text);
    } catch {
      return undefined;
    }
    const { names } = this.parts.catalog;
    const exact = names.get(fullName(reference));
    if (exact || reference.digest === undefined) return exact?.image;
    for (const [name, record] of names)
      if (record.target === reference.digest && name.startsWith(`${repositoryOf(reference)}:`)) return record.image;
    return undefined;
  }

  #byPrefix(prefix: string): Digest | undefined {
    const found = [...this.parts.catalog.images.keys()].filter((id) => id.startsWith(`sha256:${prefix}`));
    if (found.length > 1)
      throw alreadyExists(`multiple IDs found with provided prefix: ${prefix}`, { hint: "give more digits of the id" });
    return found[0];
  }

  async #config(id: Digest): Promise<{ config: OciImageConfig; sizeBytes: number }> {
    let known = this.#configs.get(id);
    if (!known) {
      const bytes = await this.parts.content.read(id);
      known = { config: parseConfig(bytes), sizeBytes: bytes.byteLength };
      this.#configs.set(id, known);
    }
    return known;
  }
}

/** The image for a platform; `notFound` in Docker's words when it isn't here. */
function bestOf(name: string, images: readonly Image[], platform: OciPlatform): Image {
  let best: { score: number; image: Image } | undefined;
  for (const image of images) {
    const score = platformScore(platform, image.platform);
    if (score !== undefined && (!best || score > best.score)) best = { score, image };
  }
  if (best) return best.image;
  const wanted = platformText(platform);
  throw notFound(
    images.length > 1
      ? `image with reference ${name} was found but does not provide the specified platform (${wanted})`
      : `image with reference ${name} was found but its platform (${platformText(images[0]!.platform)}) does not match the specified platform (${wanted})`,
  );
}

function fullName(reference: Reference): string {
  return reference.digest === undefined
    ? `${repositoryOf(reference)}:${reference.tag}`
    : `${repositoryOf(reference)}@${reference.digest}`;
}

function familiar(name: string): string {
  return familiarName(parseReference(name));
}

/** `repo@digest` for each name that stands for something in a registry. */
function digestsOf(catalog: Catalog, names: readonly string[]): string[] {
  const found = new Set<string>();
  for (const name of names) {
    const reference = parseReference(name);
    const digest = reference.digest ?? catalog.names.get(name)?.target;
    if (digest !== undefined) found.add(`${familiarRepository(reference)}@${digest}`);
  }
  return [...found].sort();
}

function lastTagged(catalog: Catalog, names: readonly string[]): number | undefined {
  const times = names.map((name) => catalog.names.get(name)!.taggedMs);
  return times.length === 0 ? undefined : Math.max(...times);
}

function displayName(refOrId: string): string {
  try {
    return familiarName(parseReference(refOrId));
  } catch {
    return refOrId;
  }
}
