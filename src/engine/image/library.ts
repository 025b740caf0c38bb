import type { OciDescriptor, OciImageConfig, OciPlatform } from "../../api/index.ts";
import { alreadyExists, invalidArgument, notFound, type Clock, type Logger } from "../../base/index.ts";
import { isDigest, type Digest, type FileContentStore } from "../content/index.ts";
import type { EventBus } from "../events/index.ts";
import { chainIdsOf, type OverlaySnapshotStore } from "../snapshot/index.ts";
import { Catalog } from "./catalog.ts";
import { parseConfig, platformOf } from "./manifest.ts";
import { platformScore, platformText } from "./platform.ts";
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
        for (const name of this.parts.catalog.namesOf(id)) this.parts.catalog.names.delete(name);
        this.forget(id);
      }
    }
  }

  async resolve(refOrId: string, platform?: OciPlatform): Promise<Image> {
    const image = await this.find(refOrId);
    if (!image) throw notFound(`No such image: ${displayName(refOrId)}`);
    if (platform && platformScore(platform, image.platform) === undefined)
      throw notFound(
        `image with reference ${refOrId} was found but its platform (${platformText(image.platform)}) does not match the specified platform (${platformText(platform)})`,
      );
    return image;
  }

  async find(refOrId: string): Promise<Image | undefined> {
    const id = this.findId(refOrId);
    return id === undefined ? undefined : this.image(id);
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
    const full = fullName(parseReference(refOrId));
    return this.parts.catalog.names.has(full) ? full : undefined;
  }

  async image(id: Digest): Promise<Image> {
    const { catalog, snapshots } = this.parts;
    const record = catalog.images.get(id);
    if (!record) throw notFound(`No such image: ${id}`);
    const { config, sizeBytes } = await this.#config(id);
    const chainId = chainIdsOf(config.rootfs.diff_ids).at(-1);
    const layers = chainId === undefined ? [] : snapshots.chain(chainId);
    const names = catalog.namesOf(id);
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

  save(): Promise<void> {
    return this.parts.catalog.save();
  }

  async tag(refOrId: string, name: string): Promise<void> {
    const image = await this.resolve(refOrId);
    const reference = parseReference(name);
    if (reference.digest !== undefined) throw invalidArgument("refusing to create a tag with a digest reference");
    this.setName(reference, image.id);
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
