import { mkdir, readdir, rm } from "node:fs/promises";
import path from "node:path";
import { conflict, invalidArgument, KeyedMutex, notFound } from "../../../base/index.ts";
import { readFacts, writeFacts } from "../runtime/index.ts";
import type { ContainerRecord } from "./record.ts";

/** Docker's rule for container names (moby's RestrictedNameChars). */
const NAME = /^\/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** All containers, by id and name; each in a directory of its own with `record.json`. */
export class ContainerStore {
  readonly #root: string;
  readonly #byId = new Map<string, ContainerRecord>();
  readonly #byName = new Map<string, string>();
  readonly #writes = new KeyedMutex();

  constructor(root: string) {
    this.#root = root;
  }
  directory(id: string): string {
    return path.join(this.#root, id);
  }

  /** Reads all records; a directory without one is a creation that never finished, and goes. */
  async load(): Promise<void> {
    await mkdir(this.#root, { recursive: true, mode: 0o710 });
    for (const id of await readdir(this.#root)) {
      const record = await readFacts<ContainerRecord>(path.join(this.directory(id), "record.json"));
      if (record) this.#index(record);
      else await rm(this.directory(id), { recursive: true, force: true });
    }
  }

  list(): ContainerRecord[] {
    return [...this.#byId.values()].sort((a, b) => b.createdMs - a.createdMs);
  }
  byId(id: string): ContainerRecord | undefined {
    return this.#byId.get(id);
  }

  /** Throws notFound in Docker's words. */
  get(ref: string): ContainerRecord {
    const found = this.find(ref);
    if (!found) throw notFound(`No such container: ${ref}`);
    return found;
  }

  /** By full id, name (with or without slash), or unambiguous id prefix. */
  find(ref: string): ContainerRecord | undefined {
    const exact = this.#byId.get(ref) ?? this.#byId.get(this.#byName.get(ref.replace(/^\//, "")) ?? "");
    if (exact) return exact;
    if (/^[0-9a-f]{1,64}$/.test(ref)) {
      const matches = [...this.#byId.values()].filter((record) => record.id.startsWith(ref));
      if (matches.length === 1) return matches[0]!;
      if (matches.length > 1) throw invalidArgument(`multiple IDs found with provided prefix: ${ref}`);
    }
    return undefined;
  }

  /** Takes a name for an id, at once, so that two creations never share one. Throws conflict with Docker's sentence. */
  reserveName(name: string, id: string): void {
    if (!NAME.test(name)) {
      throw invalidArgument(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
    }
    const holder = this.#byName.get(name);
    if (holder !== undefined && holder !== id) {
      throw conflict(
        `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
      );
    }
    this.#byName.set(name, id);
  }
  releaseName(name: string): void {
    this.#byName.delete(name);
  }
  nameTaken(name: string): boolean {
    return this.#byName.has(name);
  }

  async add(record: ContainerRecord): Promise<void> {
    await mkdir(this.directory(record.id), { recursive: true, mode: 0o710 });
    await this.#writes.run(record.id, () => this.#write(record));
    this.#index(record);
  }
  /** One after the other for one container; of one that is gone, nothing is written any more. */
  async save(record: ContainerRecord): Promise<void> {
    await this.#writes.run(record.id, async () => {
      if (this.#byId.has(record.id)) await this.#write(record);
    });
  }
  async remove(record: ContainerRecord): Promise<void> {
    await this.#writes.run(record.id, async () => {
      await rm(this.directory(record.id), { recursive: true, force: true });
      this.#byId.delete(record.id);
    });
    if (this.#byName.get(record.name) === record.id) this.#byName.delete(record.name);
  }
  #write(record: ContainerRecord): Promise<void> {
    return writeFacts(path.join(this.directory(record.id), "record.json"), record);
  }
  #index(record: ContainerRecord): void {
    this.#byId.set(record.id, record);
    this.#byName.set(record.name, record.id);
  }
}
