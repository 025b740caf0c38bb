import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { InstanceContext } from "../../base/index.ts";
import { touch } from "../guest/index.ts";
import type { MachineSize } from "./spec.ts";

/** How many saved machines are kept: one for each shape in use, the longest unused goes. */
const MAX_TEMPLATES = 4;
/** Making one takes seconds; what is older was left by somebody who died of it. */
const UNFINISHED_MS = 10 * 60_000;

/** What machines have in common that go on from the same one. */
export interface MachineShape extends MachineSize {
  /** How many network cards. */
  readonly cards: number;
}

/** A booted machine that waits for containers, as files: its memory (sparse) and its devices' state. */
export interface Template {
  readonly folder: string;
  readonly shape: MachineShape;
}

export type SaveMachine = (shape: MachineShape, target: string) => Promise<void>;

/**
 * Saved machines, by what they are: guest, QEMU, accelerator, size and cards. They are made in the background after such a machine was booted, and
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

  async find(shape: MachineShape): Promise<Template | undefined> {
    const folder = path.join(this.#folder, nameOf(shape));
    if (!(await stat(path.join(folder, "state")).catch(() => undefined))) return undefined;
    await touch(folder, this.#context.clock);
    return { folder, shape };
  }

  /** Makes one when there is none yet; what goes wrong is only logged, and not tried again. */
  learn(shape: MachineShape): Promise<void> {
    const name = nameOf(shape);
    const making = this.#making.get(name) ?? this.#make(shape, path.join(this.#folder, name));
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

  async #make(shape: MachineShape, target: string): Promise<void> {
    const work = path.join(this.#folder, `.new-${randomUUID()}`);
    try {
      if (await this.find(shape)) return;
      await mkdir(work, { recursive: true, mode: 0o700 });
      await this.#save(shape, work);
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

const nameOf = ({ memoryBytes, cpus, cards }: MachineShape): string => `${memoryBytes}-${cpus}-${cards}`;
