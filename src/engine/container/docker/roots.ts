import type { ContainerParts } from "./parts.ts";
import { isRunning, type ContainerRecord } from "./record.ts";

export interface BorrowedRoot extends AsyncDisposable {
  readonly path: string;
}

/** Roots of containers that don't run, mounted for somebody who reads or writes files there; shared by all who ask meanwhile. */
export class BorrowedRoots {
  readonly #parts: ContainerParts;
  readonly #users = new Map<string, number>();

  constructor(parts: ContainerParts) {
    this.#parts = parts;
  }

  async borrow(record: ContainerRecord): Promise<BorrowedRoot> {
    const { deps, launcher, lock } = this.#parts;
    const path = launcher.rootfs(record);
    await lock.run(record.id, async () => {
      const users = this.#users.get(record.id) ?? 0;
      if (users === 0 && !isRunning(record)) await deps.snapshots.mount(record.id, path);
      this.#users.set(record.id, users + 1);
    });
    return { path, [Symbol.asyncDispose]: () => lock.run(record.id, () => this.#giveBack(record)) };
  }

  async #giveBack(record: ContainerRecord): Promise<void> {
    const users = (this.#users.get(record.id) ?? 1) - 1;
    if (users > 0) return void this.#users.set(record.id, users);
    this.#users.delete(record.id);
    const { launcher, store } = this.#parts;
    if (!isRunning(record) && store.byId(record.id)) await launcher.down(record);
  }
}
