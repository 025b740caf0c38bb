import { mkdir, readdir, stat } from "node:fs/promises";
import path from "node:path";
import type { Clock } from "../../../base/index.ts";
import { FolderWatch } from "../folder-watch.ts";

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
  readonly #watch: FolderWatch;

  constructor(options: SocketFolderOptions) {
    this.#options = options;
    const { folder, clock } = options;
    this.#watch = new FolderWatch({
      path: folder,
      clock,
      checkMs: CHECK_MS,
      settleMs: SETTLE_MS,
      look: () => this.#look(),
    });
  }

  async start(): Promise<void> {
    await mkdir(this.#options.folder, { recursive: true, mode: 0o755 });
    await this.#watch.start();
  }

  stop(): void {
    this.#watch.stop();
  }

  async #look(): Promise<void> {
    const found = await socketsIn(this.#options.folder, 1).catch(() => new Map<string, string>());
    if (!this.#watch.stopped) this.#options.onSockets(found);
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
