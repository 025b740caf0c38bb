import { watch, type FSWatcher } from "node:fs";
import { mkdir, readdir, stat } from "node:fs/promises";
import path from "node:path";
import type { Clock, Timer } from "../../../base/index.ts";

/** Looked at this often besides what the file system tells. */
const CHECK_MS = 10_000;
const SETTLE_MS = 50;
const MAX_SOCKETS = 200;

export interface SocketFolderOptions {
  readonly folder: string;
  readonly clock: Clock;
  /** Everything that is there now, by path, with a mark that changes when a socket is made anew. */
  readonly onSockets: (sockets: ReadonlyMap<string, string>) => void;
}

/** Follows the sockets in a folder, and in the folders right below it. */
export class SocketFolder {
  readonly #options: SocketFolderOptions;
  #watcher: FSWatcher | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: SocketFolderOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await mkdir(this.#options.folder, { recursive: true, mode: 0o755 });
    this.#watcher = watch(this.#options.folder, { persistent: false }, () => this.#next(SETTLE_MS));
    this.#watcher.on("error", () => {});
    await this.#look();
  }

  stop(): void {
    this.#stopped = true;
    this.#watcher?.close();
    this.#timer?.cancel();
  }

  #next(delayMs: number): void {
    this.#timer?.cancel();
    if (!this.#stopped) this.#timer = this.#options.clock.after(delayMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    const found = await socketsIn(this.#options.folder, 1).catch(() => new Map<string, string>());
    if (this.#stopped) return;
    this.#options.onSockets(found);
    this.#next(CHECK_MS);
  }
}

async function socketsIn(folder: string, depth: number): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of (await readdir(folder)).slice(0, MAX_SOCKETS)) {
    const target = path.join(folder, name);
    const facts = name.startsWith(".") ? undefined : await stat(target).catch(() => undefined);
    if (facts?.isSocket()) found.set(target, `${facts.ino}/${facts.mtimeMs}`);
    else if (facts?.isDirectory() && depth > 0)
      for (const entry of await socketsIn(target, depth - 1)) found.set(...entry);
  }
  return found;
}
