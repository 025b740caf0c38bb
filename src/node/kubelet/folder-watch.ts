import { watch, type FSWatcher } from "node:fs";
import type { Clock, Timer } from "../../base/index.ts";

export interface FolderWatchOptions {
  /** A folder or a file; it need not exist yet. */
  readonly path: string;
  readonly clock: Clock;
  /** Looked at so often besides what the file system tells. */
  readonly checkMs: number;
  /** From a change to the look: what writes files does it in several steps. */
  readonly settleMs: number;
  /** Looks; never called while a look goes on. Its errors are its own to tell. */
  readonly look: () => Promise<void>;
}

/** Has a folder looked at: at first, when the file system tells of a change, and now and then. */
export class FolderWatch {
  readonly #options: FolderWatchOptions;
  #watcher: FSWatcher | undefined;
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: FolderWatchOptions) {
    this.#options = options;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Resolves after the first look. */
  start(): Promise<void> {
    return this.#round();
  }

  stop(): void {
    this.#stopped = true;
    this.#watcher?.close();
    this.#timer?.cancel();
  }

  async #round(): Promise<void> {
    // Before the look, so that no change falls between.
    this.#watch();
    this.#looking = this.#looking.then(() => this.#options.look()).catch(() => {});
    await this.#looking;
    this.#next(this.#options.checkMs);
  }

  #next(delayMs: number): void {
    this.#timer?.cancel();
    if (!this.#stopped) this.#timer = this.#options.clock.after(delayMs, () => void this.#round());
  }

  /** What does not exist yet can't be watched; the next look tries again. */
  #watch(): void {
    if (this.#watcher || this.#stopped) return;
    try {
      this.#watcher = watch(this.#options.path, { persistent: false }, () => this.#next(this.#options.settleMs));
      this.#watcher.on("error", () => {
        this.#watcher?.close();
        this.#watcher = undefined;
      });
    } catch {
      this.#watcher = undefined;
    }
  }
}
