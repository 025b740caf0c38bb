import { conflict, KeyedMutex } from "../../base/index.ts";
import type { OciPlatform } from "../../api/index.ts";
import { imagesOf } from "./catalog.ts";
import { parseManifest } from "./manifest.ts";
import { shortId } from "./progress.ts";
import type { Digest } from "../content/index.ts";
import type { Library } from "./library.ts";
import { familiarName, parseReference, repositoryOf } from "./reference.ts";
import type { Image, ImageUser, PruneOptions, RemovedItem, RemoveOptions } from "./types.ts";

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

  async remove(refOrId: string, options: RemoveOptions): Promise<RemovedItem[]> {
    if (options.platforms?.length) return this.#removePlatforms(refOrId, options.platforms, options.force ?? false);
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
      const ids = this.#whole(image.id);
      if (image.partOf !== undefined || ids.some((id) => used.has(id))) continue;
      if ((options.danglingOnly ?? true) && image.repoTags.length > 0) continue;
      if (options.untilMs !== undefined && image.createdMs >= options.untilMs) continue;
      if (options.matches && !options.matches(image)) continue;
      removed.push(...this.#delete(ids));
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
    for (const { target, index } of catalog.names.values())
      for (const digest of [target, index]) if (digest !== undefined) roots.add(digest);
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
    if (others.length > 0) return this.#untagOne(image, name);
    const ids = this.#whole(image.id);
    const user = [...this.users()].find((one) => ids.includes(one.imageId));
    if (user && !force)
      throw conflict(
        `conflict: unable to remove repository reference "${familiarName(parseReference(name))}" (must force) - container ${shortId(user.containerId)} is using its referenced image ${shortId(user.imageId)}`,
      );
    if (user) return this.#untag(image, names);
    return this.#delete(ids);
  }

  #byId(image: Image, refOrId: string, force: boolean): RemovedItem[] {
    const asked = shortId(refOrId);
    const ids = image.partOf === undefined ? this.#whole(image.id) : [image.id];
    const users = [...this.users()].filter((one) => ids.includes(one.imageId));
    const running = users.find((user) => user.running);
    if (running)
      throw conflict(
        `conflict: unable to delete ${asked} (cannot be forced) - image is being used by running container ${shortId(running.containerId)}`,
      );
    const repositories = new Set(image.repoTags.map((tag) => repositoryOf(parseReference(tag))));
    if (!force && image.partOf === undefined && (repositories.size > 1 || image.repoTags.length > 1))
      throw conflict(
        `conflict: unable to delete ${asked} (must be forced) - image is referenced in multiple repositories`,
      );
    if (users.length > 0 && !force)
      throw conflict(
        `conflict: unable to delete ${asked} (must be forced) - image is being used by stopped container ${shortId(users[0]!.containerId)}`,
      );
    return this.#delete(ids);
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

  /** One name of several; other platforms that had only this one go with it, unless a container needs them. */
  #untagOne(image: Image, name: string): RemovedItem[] {
    const { catalog } = this.#library.parts;
    const ids = imagesOf(catalog.names.get(name)!);
    const removed = this.#untag(image, [name]);
    const used = new Set([...this.users()].map((user) => user.imageId));
    const left = ids.filter((id) => id !== image.id && !used.has(id) && catalog.namesOf(id).length === 0);
    return [...removed, ...this.#delete(left)];
  }

  async #removePlatforms(refOrId: string, platforms: readonly OciPlatform[], force: boolean): Promise<RemovedItem[]> {
    const ids: Digest[] = [];
    for (const platform of platforms) ids.push((await this.#library.resolve(refOrId, platform)).id);
    const user = [...this.users()].find((one) => ids.includes(one.imageId) && (one.running || !force));
    if (user)
      throw conflict(
        `conflict: unable to delete ${shortId(user.imageId)} (${user.running ? "cannot be forced" : "must be forced"}) - image is being used by ${user.running ? "running" : "stopped"} container ${shortId(user.containerId)}`,
      );
    const removed = this.#delete(ids);
    await this.#library.save();
    return [...removed, ...(await this.#deletedLayers())];
  }

  /** An image with its other platforms, as far as those have no further names. */
  #whole(id: Digest): Digest[] {
    const { catalog } = this.#library.parts;
    const elsewhere = (other: Digest) => catalog.namesOf(other).some((name) => catalog.names.get(name)!.image !== id);
    return catalog.platformsOf(id).filter((other) => other === id || !elsewhere(other));
  }

  /** Takes images off the records, and with them the names that no other platform holds. */
  #delete(ids: readonly Digest[]): RemovedItem[] {
    const { catalog, events } = this.#library.parts;
    const gone = new Set(ids);
    const untagged = [...new Set(ids.flatMap((id) => catalog.namesOf(id)))]
      .filter((name) => catalog.takeFrom(name, gone))
      .map((name) => {
        events.publish("image", "untag", ids[0]!, { name: ids[0]! });
        return { Untagged: familiarName(parseReference(name)) };
      });
    for (const id of ids) {
      this.#library.forget(id);
      events.publish("image", "delete", id, { name: id });
    }
    return [...untagged, ...ids.map((id) => ({ Deleted: id }))];
  }
}
