import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { invalidArgument, messageOf, rfc3339, type Clock, type Logger } from "../../../base/index.ts";
import { FolderWatch } from "../folder-watch.ts";
import type { Pod } from "../pod/imports.ts";
import { staticPod } from "./manifest.ts";

export interface ManifestFolderOptions {
  /** A folder, of which hidden files and folders are left out, or one file. */
  readonly path: string;
  readonly nodeName: string;
  readonly checkMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** Everything that the folder holds now. */
  readonly onPods: (pods: readonly Pod[]) => void;
}

const MAX_MANIFESTS = 110;
const MAX_MANIFEST_BYTES = 1024 * 1024;
/** Editors write a file in several steps. */
const SETTLE_MS = 100;

/**
 * Follows a folder of manifests: by what the file system tells, and by looking now and then. A manifest that can't be read now keeps the Pod that its file
 * described before; only a file that is gone takes its Pod away.
 */
export class ManifestFolder {
  readonly #options: ManifestFolderOptions;
  readonly #known = new Map<string, { text: string; pod: Pod | undefined }>();
  readonly #watch: FolderWatch;

  constructor(options: ManifestFolderOptions) {
    this.#options = options;
    const { path: root, clock, checkMs, log } = options;
    const look = () =>
      this.#read().catch((error: unknown) =>
        log.warn("static Pods can't be read", { path: root, error: messageOf(error) }),
      );
    this.#watch = new FolderWatch({ path: root, clock, checkMs, settleMs: SETTLE_MS, look });
  }

  /** Resolves when the folder has been read once. */
  start(): Promise<void> {
    return this.#watch.start();
  }

  stop(): void {
    this.#watch.stop();
  }

  async #read(): Promise<void> {
    const { nodeName, clock, log, onPods } = this.#options;
    const files = await this.#files();
    for (const file of this.#known.keys()) if (!files.includes(file)) this.#known.delete(file);
    for (const file of files) {
      try {
        const text = await readSmall(file);
        const known = this.#known.get(file);
        if (known?.text === text) continue;
        this.#known.set(file, { text, pod: known?.pod });
        const pod = await staticPod(text, { kind: "file", at: file }, nodeName, rfc3339(clock.nowMs()));
        this.#known.set(file, { text, pod });
      } catch (error) {
        log.warn("a static Pod's manifest is left out", { file, error: messageOf(error) });
      }
    }
    if (!this.#watch.stopped) onPods([...this.#known.values()].flatMap(({ pod }) => (pod ? [pod] : [])));
  }

  async #files(): Promise<string[]> {
    const { path: root } = this.#options;
    const info = await stat(root).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (!info) return [];
    if (info.isFile()) return [root];
    const entries = await readdir(root, { withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory() && !entry.name.startsWith("."));
    if (files.length > MAX_MANIFESTS)
      throw invalidArgument(`${root} holds ${files.length} files; a node runs at most ${MAX_MANIFESTS} static Pods`);
    return files.map((entry) => path.join(root, entry.name)).toSorted();
  }
}

async function readSmall(file: string): Promise<string> {
  const { size } = await stat(file);
  if (size > MAX_MANIFEST_BYTES) throw invalidArgument(`${file} is larger than ${MAX_MANIFEST_BYTES} bytes`);
  return readFile(file, "utf8");
}
