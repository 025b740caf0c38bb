import { existsSync } from "node:fs";
import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { hasCode, invalidArgument } from "../../../base/index.ts";
import { bindMount, mountIdmapped, unmount } from "../../../host/index.ts";
import { resolveInRoot } from "../paths.ts";
import type { ContainerDeps } from "./deps.ts";
import type { ContainerRecord, MountRecord } from "./record.ts";

/** Where the content of a container's mounts is while it runs: volumes, folders of the host, images. */
export class MountSources {
  readonly #deps: ContainerDeps;

  constructor(deps: ContainerDeps) {
    this.#deps = deps;
  }

  /**
   * The place of each mount's content, in order (empty for tmpfs). Volumes are mounted and filled from `rootfs`, missing sources of `-v` made,
   * images mounted read-only.
   */
  async open(record: ContainerRecord, rootfs: string): Promise<string[]> {
    const sources: string[] = [];
    for (const [index, mount] of record.mounts.entries()) sources.push(await this.#open(record, mount, index, rootfs));
    return sources;
  }

  async #open(record: ContainerRecord, mount: MountRecord, index: number, rootfs: string): Promise<string> {
    const { volumes } = this.#deps;
    if (mount.Type === "volume") {
      const directory = await volumes.mount(mount.Name!, record.id);
      if (!mount.noCopy && !mount.subpath) await volumes.populate(mount.Name!, rootfs, mount.Destination);
      return mount.subpath ? volumes.subpath(mount.Name!, mount.subpath) : directory;
    }
    if (mount.Type === "image") return this.#image(record, mount, index);
    if (mount.Type !== "bind") return "";
    if (mount.createSource) await mkdir(mount.Source, { recursive: true }).catch(ignoreExisting(mount.Source));
    else if (!existsSync(mount.Source))
      throw invalidArgument(`invalid mount config for type "bind": bind source path does not exist: ${mount.Source}`);
    return mount.Source;
  }

  /** `--mount type=image`: the image's root, or a path in it, read-only. */
  async #image(record: ContainerRecord, mount: MountRecord, index: number): Promise<string> {
    const folder = this.#folder(record, index);
    await mkdir(folder, { recursive: true });
    await this.#deps.snapshots.mountLayer(mount.chainId!, folder);
    if (!mount.subpath) return folder;
    const found = await resolveInRoot(folder, mount.subpath);
    if (!(await stat(found).catch(() => undefined)))
      throw invalidArgument(`cannot access path ${mount.subpath} in image ${mount.Source}: no such file or directory`);
    return found;
  }

  /** The same places with their owners mapped: volumes and images. What belongs to the host is as it is, as with dockerd. */
  async mapOwners(record: ContainerRecord, sources: readonly string[], userns: string): Promise<string[]> {
    const mapped: string[] = [];
    for (const [index, mount] of record.mounts.entries()) {
      const source = sources[index]!;
      mapped.push(
        mount.Type === "volume" || mount.Type === "image" ? await this.#map(record, index, source, userns) : source,
      );
    }
    return mapped;
  }

  async #map(record: ContainerRecord, index: number, source: string, userns: string): Promise<string> {
    const target = `${this.#folder(record, index)}.mapped`;
    if ((await stat(source)).isDirectory()) await mkdir(target, { recursive: true });
    else {
      await mkdir(path.dirname(target), { recursive: true });
      await writeFile(target, "");
    }
    try {
      mountIdmapped(source, target, userns);
    } catch (error) {
      // A file system whose owners can't be mapped: its files belong to nobody in there, as in any user namespace.
      if (!hasCode(error, "invalidArgument", "permissionDenied", "notImplemented")) throw error;
      this.#deps.ctx.log.warn("owners of a mount could not be mapped", { container: record.id, source, error });
      bindMount(source, target);
    }
    return target;
  }

  /** Shows volumes, images and folders of the host in a mounted root, for who copies files of a container that doesn't run. */
  async showIn(record: ContainerRecord, root: string): Promise<void> {
    for (const [index, mount] of record.mounts.entries()) {
      if (mount.Type === "tmpfs" || (mount.Type === "bind" && !existsSync(mount.Source))) continue;
      const source = await this.#open(record, mount, index, root);
      const target = await resolveInRoot(root, mount.Destination);
      if ((await stat(source)).isDirectory()) await mkdir(target, { recursive: true });
      else if (!existsSync(target)) {
        await mkdir(path.dirname(target), { recursive: true });
        await writeFile(target, "");
      }
      bindMount(source, target, { readonly: !mount.RW });
    }
  }

  /** Gives everything back. Idempotent. */
  async close(record: ContainerRecord): Promise<void> {
    for (const [index, mount] of record.mounts.entries()) {
      if (mount.Type === "volume") await this.#deps.volumes.unmount(mount.Name!, record.id);
      const folder = this.#folder(record, index);
      for (const point of [`${folder}.mapped`, folder]) while (existsSync(point) && unmount(point, { lazy: true }));
    }
    await rm(path.join(this.#deps.core.layout.bundle(record.id), FOLDER), { recursive: true, force: true });
  }

  #folder(record: ContainerRecord, index: number): string {
    return path.join(this.#deps.core.layout.bundle(record.id), FOLDER, String(index));
  }
}

const FOLDER = "sources";

function ignoreExisting(source: string) {
  return async (error: unknown) => {
    // A file is as good a source as a directory.
    if (!(await stat(source).catch(() => undefined))) throw error;
  };
}
