import { watch, type FSWatcher } from "node:fs";
import { mkdir, readFile, rm, stat } from "node:fs/promises";
import path from "node:path";
import { canceled } from "../../../base/index.ts";

interface ExitRecord {
  readonly code: number;
  readonly atMs: number;
}

/**
 * Tells when containers end. Monitors leave each exit code in a file named after the container, written once and by rename, in one directory for
 * the whole instance: one inotify watch serves all containers, and what happened while nobody watched is found by looking.
 */
export class ExitWatcher {
  readonly #directory: string;
  #watcher: FSWatcher | undefined;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(directory: string) {
    this.#directory = directory;
  }
  get directory(): string {
    return this.#directory;
  }

  async open(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    this.#watcher = watch(this.#directory, (_event, name) => {
      if (name === null) for (const listeners of this.#waiting.values()) for (const wake of listeners) wake();
      else for (const wake of this.#waiting.get(name) ?? []) wake();
    });
    this.#watcher.on("error", () => {});
  }
  close(): void {
    this.#watcher?.close();
  }

  /** The exit, when it has happened. */
  async read(id: string): Promise<ExitRecord | undefined> {
    const file = path.join(this.#directory, id);
    try {
      const [text, { mtimeMs }] = await Promise.all([readFile(file, "utf8"), stat(file)]);
      return text === "" ? undefined : { code: Number(text) & 0xff, atMs: mtimeMs };
    } catch {
      return undefined;
    }
  }
  async forget(id: string): Promise<void> {
    await rm(path.join(this.#directory, id), { force: true });
  }

  /** Resolves with the exit, now or later. */
  wait(id: string, signal?: AbortSignal): Promise<ExitRecord> {
    return new Promise((resolve, reject) => {
      const listeners = this.#waiting.get(id) ?? new Set();
      this.#waiting.set(id, listeners);
      const leave = () => {
        listeners.delete(look);
        if (listeners.size === 0) this.#waiting.delete(id);
        signal?.removeEventListener("abort", onAbort);
      };
      const onAbort = () => {
        leave();
        reject(canceled(`waiting for ${id} was canceled`, { cause: signal?.reason }));
      };
      const look = () => {
        void this.read(id).then((exit) => {
          if (!exit) return;
          leave();
          resolve(exit);
        });
      };
      listeners.add(look);
      signal?.addEventListener("abort", onAbort, { once: true });
      look();
    });
  }
}
