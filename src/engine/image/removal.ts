import { conflict, KeyedMutex } from "../../base/index.ts";
import { parseManifest } from "./manifest.ts";
import type { Digest } from "../content/index.ts";
import type { Library } from "./library.ts";
import { familiarName, parseReference, repositoryOf } from "./reference.ts";
import type { Image, ImageUser, PruneOptions, RemovedItem } from "./types.ts";

export interface Roots {
  readonly layers?: Iterable<Digest>;
  readonly blobs?: Iterable<Digest>;
}

/** `docker rmi`, `docker image prune`, and the collection of what nothing needs any more. */
export class Removal {
  readonly #library: Library;
  readonly #roots: (() => Roots)[] = [];
  readonly #collecting = new KeyedMutex();
  users: () => Iterable<ImageUser> = () => [];

  constructor(library: Library) {
    this.#library = library;
  }

  addRoots(roots: () => Roots): void {
    this.#roots.push(roots);
  }

  async remove(refOrId: string, options: { force?: boolean; noPrune?: boolean }): Promise<RemovedItem[]> {
    const image = await this.#library.resolve(refOrId);
    const name = this.#library.nameOf(refOrId);
    const removed =
      name === undefined
        ? this.#byId(image, refOrId, options.force ?? false)
        : this.#byName(image, name, options.force ?? false);
    await this.#library.save();
    return [...removed, ...(await this.#deletedLayers())];
  }

  async prune(options: PruneOptions): Promise<{ removed: RemovedItem[]; freedBytes: number }> {
    const used = new Set([...this.users()].map((user) => user.imageId));
    const removed: RemovedItem[] = [];
    for (const image of await this.#library.list()) {
      if (used.has(image.id)) continue;
      if ((options.danglingOnly ?? true) && image.repoTags.length > 0) continue;
      if (options.untilMs !== undefined && image.createdMs >= options.untilMs) continue;
      if (options.matches && !options.matches(image)) continue;
      removed.push(...this.#delete(image));
    }
    await this.#library.save();
    const { freedBytes, deletedLayers } = await this.collect();
    return { removed: [...removed, ...deletedLayers.map((chainId) => ({ Deleted: chainId }))], freedBytes };
  }

  /** Layers first, then the blobs that only they remembered. */
  async collect(): Promise<{ freedBytes: number; deletedLayers: Digest[] }> {
    return this.#collecting.run("collect", async () => {
      const { snapshots, content } = this.#library.parts;
      const layerRoots = new Set<Digest>();
      for (const image of await this.#library.list()) if (image.chainId !== undefined) layerRoots.add(image.chainId);
      for (const roots of this.#roots) for (const layer of roots().layers ?? []) layerRoots.add(layer);
      const layers = await snapshots.collect(layerRoots);
      const blobs = await content.collect(await this.#blobRoots());
      return { freedBytes: layers.freedBytes + blobs.freedBytes, deletedLayers: layers.deleted };
    });
  }

  async #blobRoots(): Promise<Set<Digest>> {
    const { catalog, snapshots, content } = this.#library.parts;
    const roots = new Set<Digest>(snapshots.rememberedBlobs());
    for (const [id, record] of catalog.images) {
      roots.add(id);
      if (!record.manifest) continue;
      roots.add(record.manifest.digest);
      if (!content.has(record.manifest.digest)) continue;
      for (const layer of parseManifest(await content.read(record.manifest.digest)).layers) roots.add(layer.digest);
    }
    for (const record of catalog.names.values()) if (record.target !== undefined) roots.add(record.target);
    for (const source of this.#roots) for (const blob of source().blobs ?? []) roots.add(blob);
    return roots;
  }

  async #deletedLayers(): Promise<RemovedItem[]> {
    return (await this.collect()).deletedLayers.map((chainId) => ({ Deleted: chainId }));
  }

  #byName(image: Image, name: string, force: boolean): RemovedItem[] {
    const { catalog } = this.#library.parts;
    const names = catalog.namesOf(image.id);
    const repository = repositoryOf(parseReference(name));
    // A digest of a repository goes with the repository's last tag.
    const others = names.filter(
      (other) => other !== name && !(other.includes("@") && other.startsWith(`${repository}@`)),
    );
    if (others.length > 0) return this.#untag(image, [name]);
    const user = [...this.users()].find((one) => one.imageId === image.id);
    if (user && !force)
      throw conflict(
        `conflict: unable to remove repository reference "${familiarName(parseReference(name))}" (must force) - container ${short(user.containerId)} is using its referenced image ${short(image.id)}`,
      );
    if (user) return this.#untag(image, names);
    return this.#delete(image);
  }

  #byId(image: Image, refOrId: string, force: boolean): RemovedItem[] {
    const asked = short(refOrId);
    const users = [...this.users()].filter((one) => one.imageId === image.id);
    const running = users.find((user) => user.running);
    if (running)
      throw conflict(
        `conflict: unable to delete ${asked} (cannot be forced) - image is being used by running container ${short(running.containerId)}`,
      );
    const repositories = new Set(image.repoTags.map((tag) => repositoryOf(parseReference(tag))));
    if (!force && (repositories.size > 1 || image.repoTags.length > 1))
      throw conflict(
        `conflict: unable to delete ${asked} (must be forced) - image is referenced in multiple repositories`,
      );
    if (users.length > 0 && !force)
      throw conflict(
        `conflict: unable to delete ${asked} (must be forced) - image is being used by stopped container ${short(users[0]!.containerId)}`,
      );
    return this.#delete(image);
  }

  #untag(image: Image, names: readonly string[]): RemovedItem[] {
    const { catalog, events } = this.#library.parts;
    return names.map((full) => {
      catalog.names.delete(full);
      const name = familiarName(parseReference(full));
      events.publish("image", "untag", image.id, { name: image.id });
      return { Untagged: name };
    });
  }

  /** Takes the image and all its names off the records. */
  #delete(image: Image): RemovedItem[] {
    const untagged = this.#untag(image, this.#library.parts.catalog.namesOf(image.id));
    this.#library.forget(image.id);
    this.#library.parts.events.publish("image", "delete", image.id, { name: image.id });
    return [...untagged, { Deleted: image.id }];
  }
}

function short(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}
