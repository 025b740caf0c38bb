import { chmod, mkdir, open, rename, rm, stat, statfs, truncate } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition, KeyedMutex, notFound } from "../../base/index.ts";
import { copySparse, copyTree } from "../../host/index.ts";
import { diskUsage } from "../disk-usage.ts";

/** How a volume is on disk: a file of its size for volumeMode Block, else a directory, whose size is a promise. */
export interface Shape {
  readonly block: boolean;
  readonly sizeBytes: number;
}

/** What a copy leaves free of the file system. */
const RESERVE = 0.02;

/** Volumes or snapshots on disk, each by its name below one folder. What is there under its name is complete. */
export class Contents {
  readonly #root: string;
  /** By path: nobody removes what is being copied. */
  readonly #alone: KeyedMutex;

  /** `alone` is shared by those that copy from each other. */
  constructor(root: string, alone: KeyedMutex) {
    this.#root = root;
    this.#alone = alone;
  }

  path(name: string): string {
    return path.join(this.#root, name);
  }

  /** Idempotent. */
  async make(name: string, { block, sizeBytes }: Shape): Promise<void> {
    const target = this.path(name);
    await mkdir(block ? this.#root : target, { recursive: true });
    // Whoever the Pod runs as may write, as with an emptyDir; the umask must not stand in the way.
    if (!block) return chmod(target, 0o777);
    await (await open(target, "a", 0o600)).close();
    await this.grow(name, sizeBytes);
  }

  /**
   * A copy of a volume or snapshot, whole or not at all: blocks are shared where the file system can. Files that are written meanwhile may be in it as they were
   * before or after. Idempotent. Throws notFound when there is nothing to copy, failedPrecondition when there is no room.
   */
  copy(name: string, source: string, { block, sizeBytes }: Shape, signal: AbortSignal): Promise<void> {
    return this.#alone.run(source, async () => {
      const target = this.path(name);
      if (await exists(target)) return;
      if (!(await exists(source))) throw notFound(`${source} does not exist`);
      await mkdir(this.#root, { recursive: true });
      await this.#checkRoom(source);
      const pending = this.path(`.${name}`);
      await rm(pending, { recursive: true, force: true });
      try {
        if (block) {
          await copySparse(source, pending, signal);
          await truncate(pending, sizeBytes);
        } else {
          await mkdir(pending);
          await copyTree(source, pending, signal);
        }
        await rename(pending, target);
      } catch (error) {
        await rm(pending, { recursive: true, force: true });
        throw error;
      }
    });
  }

  /** A file gets the size; a directory has it already. Nothing shrinks. */
  async grow(name: string, sizeBytes: number): Promise<void> {
    const facts = await stat(this.path(name));
    if (facts.isFile() && facts.size < sizeBytes) await truncate(this.path(name), sizeBytes);
  }

  /** Waits for whoever copies it. Idempotent. */
  remove(name: string): Promise<void> {
    return this.#alone.run(this.path(name), () => rm(this.path(name), { recursive: true, force: true }));
  }

  /** Said before rather than when the disk is full for everybody. */
  async #checkRoom(source: string): Promise<void> {
    const { blocks, bavail, bsize } = await statfs(this.#root);
    const facts = await stat(source);
    const needed = facts.isFile() ? facts.blocks * 512 : await diskUsage(source);
    const free = Math.max(0, bavail - blocks * RESERVE) * bsize;
    if (needed > free)
      throw failedPrecondition(`no space left on device: the copy needs ${needed} bytes, ${Math.floor(free)} are free`);
  }
}

async function exists(target: string): Promise<boolean> {
  return stat(target).then(
    () => true,
    () => false,
  );
}
