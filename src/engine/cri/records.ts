import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import type { cri } from "../../api/index.ts";

/** What the runtime keeps of a Pod's sandbox. Times are nanoseconds since the epoch. */
export interface SandboxRecord {
  readonly id: string;
  readonly config: cri.PodSandboxConfig;
  readonly runtimeHandler: string;
  readonly createdAt: number;
  state: cri.PodSandboxState;
  ips: readonly string[];
  netnsPath: string;
}

export interface ContainerRecord {
  readonly id: string;
  readonly podSandboxId: string;
  readonly config: cri.ContainerConfig;
  readonly imageId: string;
  readonly imageRef: string;
  readonly createdAt: number;
  readonly logPath: string;
  readonly user: { readonly uid: number; readonly gid: number; readonly supplementalGroups: number[] };
  readonly stopSignal: string;
  resources: cri.LinuxContainerResources;
  state: cri.ContainerState;
  startedAt: number;
  finishedAt: number;
  exitCode: number;
  reason: string;
  message: string;
}

/** Records as one JSON file each, replaced by rename, with a copy in memory that every read is answered from. */
export class Records<T extends { readonly id: string }> {
  readonly #folder: string;
  readonly #byId = new Map<string, T>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  async load(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#folder)) {
      const file = path.join(this.#folder, name);
      if (!name.endsWith(".json")) {
        await rm(file, { force: true });
        continue;
      }
      // A record cut short by a crash is none: what it stood for is reclaimed as a leftover.
      const record = await readFile(file, "utf8")
        .then((text) => JSON.parse(text) as T)
        .catch(() => undefined);
      if (record) this.#byId.set(record.id, record);
      else await rm(file, { force: true });
    }
  }
  get(id: string): T | undefined {
    return this.#byId.get(id);
  }
  all(): T[] {
    return [...this.#byId.values()];
  }
  /**
   * A new record that can't be written throws and is none. A change that can't be written (the disk is full) holds in memory all the same: what ended has
   * ended, and after a restart it is read from the runtime again.
   */
  async put(record: T): Promise<void> {
    const old = this.#byId.get(record.id);
    this.#byId.set(record.id, record);
    const file = path.join(this.#folder, `${record.id}.json`);
    try {
      await writeFile(`${file}.tmp`, JSON.stringify(record), { mode: 0o600 });
      await rename(`${file}.tmp`, file);
    } catch (error) {
      await rm(`${file}.tmp`, { force: true });
      if (old) return;
      this.#byId.delete(record.id);
      throw error;
    }
  }
  async delete(id: string): Promise<void> {
    this.#byId.delete(id);
    await rm(path.join(this.#folder, `${id}.json`), { force: true });
  }
}
