/** Directories behind `RUN --mount=type=cache`: they outlive builds, and the sharing mode says who may use one at the same time. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { KeyedMutex, type Clock } from "../../../base/index.ts";
import type { CacheRecord } from "../types.ts";

export type Sharing = "shared" | "private" | "locked";

export interface CacheMountRequest {
  readonly id: string;
  readonly sharing: Sharing;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Fills a directory that is new. */
  readonly seed?: (directory: string) => Promise<void>;
}

interface Facts {
  readonly id: string;
  readonly createdAtMs: number;
  readonly usageCount: number;
}

export class CacheMounts {
  readonly #root: string;
  readonly #clock: Clock;
  readonly #locks = new KeyedMutex();
  readonly #users = new Map<string, number>();

  constructor(root: string, clock: Clock) {
    fs.mkdirSync(root, { recursive: true, mode: 0o700 });
    this.#root = root;
    this.#clock = clock;
  }

  /** Calls `task` with the directory. `locked` waits for others; `private` takes another directory while one is in use. */
  async use<T>(request: CacheMountRequest, task: (directory: string) => Promise<T>): Promise<T> {
    const name = createHash("sha256").update(request.id).digest("hex").slice(0, 32);
    if (request.sharing === "locked") return await this.#locks.run(name, () => this.#with(name, request, task));
    if (request.sharing === "shared") return await this.#with(name, request, task);
    let slot = 0;
    while (this.#users.has(`${name}-p${slot}`)) slot++;
    return await this.#with(`${name}-p${slot}`, request, task);
  }

  async #with<T>(name: string, request: CacheMountRequest, task: (directory: string) => Promise<T>): Promise<T> {
    this.#users.set(name, (this.#users.get(name) ?? 0) + 1);
    try {
      const directory = await this.#locks.run(`make ${name}`, () => this.#make(name, request));
      return await task(directory);
    } finally {
      const left = this.#users.get(name)! - 1;
      if (left === 0) this.#users.delete(name);
      else this.#users.set(name, left);
    }
  }

  async #make(name: string, request: CacheMountRequest): Promise<string> {
    const home = path.join(this.#root, name);
    const directory = path.join(home, "data");
    const before = this.#facts(home);
    if (!before) {
      fs.rmSync(home, { recursive: true, force: true });
      fs.mkdirSync(directory, { recursive: true });
      await request.seed?.(directory);
      fs.chmodSync(directory, request.mode);
      if (process.getuid?.() === 0) fs.chownSync(directory, request.uid, request.gid);
    }
    const facts: Facts = {
      id: request.id,
      createdAtMs: before?.createdAtMs ?? this.#clock.nowMs(),
      usageCount: (before?.usageCount ?? 0) + 1,
    };
    // Written last: a directory without its facts was left by a crash and is made anew.
    fs.writeFileSync(path.join(home, "facts.new"), JSON.stringify(facts));
    fs.renameSync(path.join(home, "facts.new"), path.join(home, "facts.json"));
    return directory;
  }

  #facts(home: string): Facts | undefined {
    try {
      return JSON.parse(fs.readFileSync(path.join(home, "facts.json"), "utf8")) as Facts;
    } catch {
      return undefined;
    }
  }

  list(): CacheRecord[] {
    return fs.readdirSync(this.#root).flatMap((name) => {
      const home = path.join(this.#root, name);
      const facts = this.#facts(home);
      if (!facts) return [];
      return {
        id: name,
        parents: [],
        type: "exec.cachemount" as const,
        description: `cached mount ${facts.id}`,
        inUse: this.#users.has(name),
        shared: false,
        sizeBytes: directorySize(path.join(home, "data")),
        createdAtMs: facts.createdAtMs,
        lastUsedAtMs: fs.statSync(path.join(home, "facts.json")).mtimeMs,
        usageCount: facts.usageCount,
      };
    });
  }

  async remove(name: string): Promise<void> {
    await this.#locks.run(name, () => fs.promises.rm(path.join(this.#root, name), { recursive: true, force: true }));
  }
}

function directorySize(directory: string): number {
  let total = 0;
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) total += directorySize(file);
    else if (entry.isFile()) total += fs.lstatSync(file, { throwIfNoEntry: false })?.size ?? 0;
  }
  return total;
}
