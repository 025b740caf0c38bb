import { lookup } from "node:dns/promises";
import { chmod, chown, mkdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import {
  conflict,
  errnoOf,
  failedPrecondition,
  hasCode,
  KeyedMutex,
  messageOf,
  notFound,
  randomHex,
  type InstanceContext,
} from "../../base/index.ts";
import { copyTree, ensureDirectory, listMounts, mount, unmount } from "../../host/index.ts";
import type { EventBus } from "../events/index.ts";
import { RecordFolder } from "../records.ts";
import { checkVolume, mountPlan, withServerAddress } from "./options.ts";
import { isEmptyDirectory, pathBelow, resolveInRoot, treeBytes } from "./tree.ts";
import type { Volume, VolumeService, VolumeSpec, VolumeUsage } from "./types.ts";

interface VolumeRecord {
  readonly volume: Volume;
  readonly holders: readonly string[];
  /** Anonymous volumes: the container in whose creation it was made, as long as that holds it. */
  readonly madeFor?: string;
  /** Its files are going or gone. */
  readonly removing?: boolean;
}

/** Who has a volume mounted, kept where a reboot clears it. */
interface MountRecord {
  readonly name: string;
  readonly users: readonly string[];
}

export interface VolumeOptions {
  readonly events?: Pick<EventBus, "publish">;
}

export async function openVolumes(ctx: InstanceContext, options: VolumeOptions = {}): Promise<VolumeService> {
  return Promise.resolve(new Volumes(ctx, options));
}

class Volumes implements VolumeService {
  readonly #ctx: InstanceContext;
  readonly #events: Pick<EventBus, "publish"> | undefined;
  readonly #root: string;
  readonly #records: RecordFolder<VolumeRecord>;
  readonly #mountRecords: RecordFolder<MountRecord>;
  readonly #volumes = new Map<string, Volume>();
  readonly #holders = new Map<string, Set<string>>();
  readonly #madeFor = new Map<string, string>();
  readonly #users = new Map<string, Set<string>>();
  /** Removals that a crash cut short. */
  readonly #unfinished: Volume[] = [];
  readonly #locks = new KeyedMutex();

  constructor(ctx: InstanceContext, { events }: VolumeOptions) {
    this.#ctx = ctx;
    this.#events = events;
    this.#root = path.join(ctx.dataDir, "volumes");
    this.#records = new RecordFolder(path.join(ctx.dataDir, "volume-records"));
    this.#mountRecords = new RecordFolder(path.join(ctx.runtimeDir, "volume-mounts"));
    for (const { volume, holders, madeFor, removing } of this.#records.readAll()) {
      if (removing) {
        this.#unfinished.push(volume);
        continue;
      }
      if (madeFor !== undefined) this.#madeFor.set(volume.name, madeFor);
      this.#volumes.set(volume.name, volume);
      this.#holders.set(volume.name, new Set(holders));
    }
    for (const { name, users } of this.#mountRecords.readAll()) this.#users.set(name, new Set(users));
  }

  async create(spec: VolumeSpec): Promise<Volume> {
    checkVolume(spec);
    const name = spec.name || randomHex(this.#ctx.random, 32);
    return this.#locks.run(name, async () => {
      const options = spec.options ?? {};
      const found = this.#volumes.get(name);
      if (found) return sameOptions(found, options);
      const mountpoint = path.join(this.#root, name, "_data");
      const volume: Volume = {
        name,
        driver: "local",
        createdMs: this.#ctx.clock.nowMs(),
        mountpoint,
        options,
        labels: { ...spec.labels, ...(!spec.name && { "com.docker.volume.anonymous": "" }) },
        anonymous: !spec.name,
      };
      this.#volumes.set(name, volume);
      if (spec.holder !== undefined) {
        this.#holders.set(name, new Set([spec.holder]));
        if (volume.anonymous) this.#madeFor.set(name, spec.holder);
      }
      try {
        // The record first: a directory that nobody has noted would stay for ever after a crash.
        this.#save(name);
        await mkdir(mountpoint, { recursive: true, mode: 0o755 });
      } catch (error) {
        this.#forget(name);
        throw error;
      }
      this.#publish("create", volume);
      return volume;
    });
  }

  get(name: string): Volume {
    const volume = this.#volumes.get(name);
    if (!volume) throw notFound(`get ${name}: no such volume`);
    return volume;
  }

  list(): Volume[] {
    return [...this.#volumes.values()];
  }

  async remove(name: string, force = false): Promise<void> {
    await this.#locks.run(name, async () => {
      const volume = this.#volumes.get(name);
      if (!volume) {
        if (force) return;
        throw notFound(`get ${name}: no such volume`);
      }
      const holders = this.holders(name);
      if (holders.length > 0) throw conflict(`remove ${name}: volume is in use - [${holders.join(", ")}]`);
      this.#unmountNow(volume);
      // Noted before the first file goes: half a volume must not come back after a crash.
      this.#ifRoom(() => this.#records.write(name, { volume, holders: [], removing: true }));
      await rm(path.dirname(volume.mountpoint), { recursive: true, force: true });
      this.#forget(name);
      this.#publish("destroy", volume);
    });
  }

  async prune(accept: (volume: Volume) => boolean): Promise<{ removed: Volume[]; reclaimedBytes: number }> {
    const removed: Volume[] = [];
    let reclaimedBytes = 0;
    for (const volume of this.list()) {
      if (this.holders(volume.name).length > 0 || !accept(volume)) continue;
      const bytes = mountPlan(volume.options) ? 0 : await treeBytes(volume.mountpoint);
      try {
        await this.remove(volume.name);
      } catch (error) {
        // Somebody has taken hold of it meanwhile.
        if (hasCode(error, "conflict", "notFound")) continue;
        throw error;
      }
      removed.push(volume);
      reclaimedBytes += bytes;
    }
    this.#events?.publish("volume", "prune", "", { reclaimed: String(reclaimedBytes) });
    return { removed, reclaimedBytes };
  }

  hold(name: string, holder: string): void {
    this.get(name);
    const holders = this.#holders.get(name) ?? new Set();
    if (holders.has(holder)) return;
    this.#holders.set(name, holders.add(holder));
    try {
      this.#save(name);
    } catch (error) {
      holders.delete(holder);
      throw error;
    }
  }

  release(name: string, holder: string): void {
    if (!this.#holders.get(name)?.delete(holder)) return;
    if (this.#madeFor.get(name) === holder) this.#madeFor.delete(name);
    this.#ifRoom(() => this.#save(name));
  }

  holders(name: string): readonly string[] {
    return [...(this.#holders.get(name) ?? [])];
  }

  async mount(name: string, holder: string): Promise<string> {
    return this.#locks.run(name, async () => {
      const volume = this.get(name);
      const users = this.#users.get(name) ?? new Set();
      ensureDirectory(volume.mountpoint);
      if (mountPlan(volume.options) && !isMounted(volume.mountpoint)) {
        const plan = mountPlan(await withServerAddress(volume.options, lookup))!;
        try {
          mount(plan.source, volume.mountpoint, plan.type, plan.flags, plan.data);
        } catch (error) {
          const what = `type: ${volume.options["type"]}, device: ${plan.source}, o: ${volume.options["o"] ?? ""}`;
          throw failedPrecondition(`failed to mount local volume ${name}: ${messageOf(error)} (${what})`, {
            cause: error,
            hint: "check that the device exists and that the host's kernel knows the file system",
          });
        }
      }
      if (!users.has(holder)) {
        this.#setUsers(name, users.add(holder));
        this.#publish("mount", volume, { container: holder });
      }
      return volume.mountpoint;
    });
  }

  async unmount(name: string, holder: string): Promise<void> {
    await this.#locks.run(name, () => {
      const users = this.#users.get(name);
      const volume = this.#volumes.get(name);
      if (!users?.delete(holder)) return;
      this.#setUsers(name, users);
      if (!volume) return;
      if (users.size === 0) this.#unmountNow(volume);
      this.#publish("unmount", volume, { container: holder });
    });
  }

  #unmountNow(volume: Volume): void {
    if (mountPlan(volume.options)) while (isMounted(volume.mountpoint) && unmount(volume.mountpoint, { lazy: true }));
  }

  async populate(name: string, rootDir: string, inner: string): Promise<void> {
    await this.#locks.run(name, async () => {
      const { mountpoint } = this.get(name);
      if (!(await isEmptyDirectory(mountpoint))) return;
      let source: string;
      try {
        source = await resolveInRoot(rootDir, inner);
      } catch (error) {
        if (hasCode(error, "notFound")) return;
        throw error;
      }
      const facts = await stat(source);
      if (!facts.isDirectory()) return;
      await copyTree(source, mountpoint);
      await chown(mountpoint, facts.uid, facts.gid);
      await chmod(mountpoint, facts.mode & 0o7777);
    });
  }

  subpath(name: string, subpath: string): Promise<string> {
    return pathBelow(this.get(name).mountpoint, subpath);
  }

  async usage(signal?: AbortSignal): Promise<VolumeUsage[]> {
    const result: VolumeUsage[] = [];
    for (const volume of this.list()) {
      const sizeBytes = mountPlan(volume.options) ? 0 : await treeBytes(volume.mountpoint, signal);
      result.push({ volume, sizeBytes, refCount: this.holders(volume.name).length });
    }
    return result;
  }

  async recover(holders: ReadonlySet<string>): Promise<void> {
    // A container lets go of its volumes before its record goes: these were made for one that never came to be.
    const orphans = [...this.#madeFor].filter(([, container]) => !holders.has(container));
    for (const [name, names] of this.#holders) {
      const gone = [...names].filter((holder) => !holders.has(holder));
      for (const holder of gone) this.release(name, holder);
    }
    for (const [name, users] of this.#users) {
      const gone = [...users].filter((user) => !holders.has(user));
      for (const user of gone) await this.unmount(name, user);
    }
    for (const [name] of orphans) await this.remove(name);
    for (const { name, mountpoint } of this.#unfinished.splice(0)) {
      if (this.#volumes.has(name)) continue;
      await rm(path.dirname(mountpoint), { recursive: true, force: true });
      this.#records.remove(name);
    }
  }

  async close(): Promise<void> {}

  #forget(name: string): void {
    this.#volumes.delete(name);
    this.#holders.delete(name);
    this.#madeFor.delete(name);
    this.#records.remove(name);
  }

  #save(name: string): void {
    this.#records.write(name, {
      volume: this.get(name),
      holders: this.holders(name),
      madeFor: this.#madeFor.get(name),
    });
  }

  /** What gives room back must not need room itself: on a full disk the old record stays, and who held the volume is asked again at the next start. */
  #ifRoom(write: () => void): void {
    try {
      write();
    } catch (error) {
      if (errnoOf(error) !== "ENOSPC" && errnoOf(error) !== "EDQUOT") throw error;
      this.#ctx.log.warn("a volume's record could not be written: the disk is full", { error });
    }
  }

  #setUsers(name: string, users: Set<string>): void {
    if (users.size > 0) {
      this.#users.set(name, users);
      this.#mountRecords.write(name, { name, users: [...users] });
    } else {
      this.#users.delete(name);
      this.#mountRecords.remove(name);
    }
  }

  #publish(action: string, volume: Volume, more: Record<string, string> = {}): void {
    this.#events?.publish("volume", action, volume.name, { driver: volume.driver, ...more });
  }
}

function isMounted(folder: string): boolean {
  return listMounts().some((entry) => entry.mountPoint === folder);
}

function sameOptions(found: Volume, options: Readonly<Record<string, string>>): Volume {
  const wanted = Object.entries(options);
  const same =
    wanted.length === Object.keys(found.options).length &&
    wanted.every(([name, value]) => found.options[name] === value);
  if (wanted.length > 0 && !same) throw conflict(`volume ${found.name} already exists with other options`);
  return found;
}
