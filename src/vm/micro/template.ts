import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { InstanceContext } from "../../base/index.ts";
import { touch } from "../guest/index.ts";
import type { MachineSize } from "./spec.ts";

/** How many saved machines are kept: one for each size in use, the longest unused goes. */
const MAX_TEMPLATES = 4;
/** Making one takes seconds; what is older was left by somebody who died of it. */
const UNFINISHED_MS = 10 * 60_000;

/** A booted machine that waits for containers, as files: its memory (sparse) and its devices' state. */
export interface Template {
  readonly folder: string;
  readonly size: MachineSize;
}

export type SaveMachine = (size: MachineSize, target: string) => Promise<void>;

/**
 * Saved machines, by what they are: guest, QEMU, accelerator and size. They are made in the background after a machine of their size was booted, and
 * whoever makes one first, wins: instances share them.
 */
export class Templates {
  readonly #folder: string;
  readonly #context: Pick<InstanceContext, "clock" | "log">;
  readonly #save: SaveMachine;
  readonly #making = new Map<string, Promise<void>>();

  constructor(folder: string, context: Pick<InstanceContext, "clock" | "log">, save: SaveMachine) {
    this.#folder = folder;
    this.#context = context;
    this.#save = save;
  }

  async find(size: MachineSize): Promise<Template | undefined> {
    const folder = path.join(this.#folder, nameOf(size));
    if (!(await stat(path.join(folder, "state")).catch(() => undefined))) return undefined;
    await touch(folder, this.#context.clock);
    return { folder, size };
  }

  /** Makes one when there is none yet; what goes wrong is only logged, and not tried again. */
  learn(size: MachineSize): Promise<void> {
    const name = nameOf(size);
    const making = this.#making.get(name) ?? this.#make(size, path.join(this.#folder, name));
    this.#making.set(name, making);
    return making;
  }

  /** One that a machine could not go on from is worth nothing. */
  async forget({ folder }: Template): Promise<void> {
    this.#making.delete(path.basename(folder));
    await rm(folder, { recursive: true, force: true });
  }

  /** Resolves when nothing is being made. */
  async settled(): Promise<void> {
    await Promise.all(this.#making.values());
  }

  async #make(size: MachineSize, target: string): Promise<void> {
    const work = path.join(this.#folder, `.new-${randomUUID()}`);
    try {
      if (await this.find(size)) return;
      await mkdir(work, { recursive: true, mode: 0o700 });
      await this.#save(size, work);
      await this.#evict();
      await rename(work, target);
    } catch (error) {
      this.#context.log.warn("no saved machine could be made; microVMs are booted each time", { error });
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  async #evict(): Promise<void> {
    const names = await readdir(this.#folder);
    const nowMs = this.#context.clock.nowMs();
    for (const name of names.filter((entry) => entry.startsWith("."))) {
      const { mtimeMs = nowMs } = (await stat(path.join(this.#folder, name)).catch(() => undefined)) ?? {};
      if (nowMs - mtimeMs > UNFINISHED_MS) await rm(path.join(this.#folder, name), { recursive: true, force: true });
    }
    const finished = names.filter((name) => !name.startsWith("."));
    const entries = await Promise.all(
      finished.map(async (name) => {
        const folder = path.join(this.#folder, name);
        return { folder, usedMs: (await stat(folder).catch(() => undefined))?.mtimeMs ?? 0 };
      }),
    );
    entries.sort((a, b) => b.usedMs - a.usedMs);
    for (const { folder } of entries.slice(MAX_TEMPLATES - 1)) await rm(folder, { recursive: true, force: true });
  }
}

const nameOf = ({ memoryBytes, cpus }: MachineSize): string => `${memoryBytes}-${cpus}`;
