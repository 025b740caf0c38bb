import type { ContainerParts } from "./parts.ts";
import { isRunning, type ContainerRecord } from "./record.ts";

export interface BorrowedRoot extends AsyncDisposable {
  readonly path: string;
}

/** Roots of containers that don't run, mounted for somebody who reads or writes files there; shared by all who ask meanwhile. */
export class BorrowedRoots {
  readonly #parts: ContainerParts;
  readonly #users = new Map<string, { readonly count: number; readonly path: string }>();

  constructor(parts: ContainerParts) {
    this.#parts = parts;
  }

  async borrow(record: ContainerRecord): Promise<BorrowedRoot> {
    const { launcher, lock } = this.#parts;
    const path = await lock.run(record.id, async () => {
      const found = this.#users.get(record.id) ?? { count: 0, path: launcher.rootfs(record) };
      const view = found.count === 0 && !isRunning(record) ? await this.#open(record) : found.path;
      this.#users.set(record.id, { count: found.count + 1, path: view });
      return view;
    });
    return { path, [Symbol.asyncDispose]: () => lock.run(record.id, () => this.#giveBack(record)) };
  }

  async #open(record: ContainerRecord): Promise<string> {
    try {
      return await this.#parts.launcher.view(record);
    } catch (error) {
      await this.#parts.launcher.down(record);
      throw error;
    }
  }

  async #giveBack(record: ContainerRecord): Promise<void> {
    const found = this.#users.get(record.id);
    if (found && found.count > 1) return void this.#users.set(record.id, { ...found, count: found.count - 1 });
    this.#users.delete(record.id);
    const { launcher, store } = this.#parts;
    if (!isRunning(record) && store.byId(record.id)) await launcher.down(record);
  }
}
