import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";

/** What one part of the kubelet must know after a restart, as one file that is replaced whole. */
export class Checkpoint<T> {
  readonly #file: string;
  /** One write at a time, in order. */
  #writing: Promise<void> = Promise.resolve();

  constructor(file: string) {
    this.#file = file;
  }

  /** Undefined when there is none, or none that can be read. */
  async load(): Promise<T | undefined> {
    try {
      return JSON.parse(await readFile(this.#file, "utf8")) as T;
    } catch {
      return undefined;
    }
  }

  save(value: T): Promise<void> {
    const text = JSON.stringify(value);
    this.#writing = this.#writing.catch(() => {}).then(() => this.#write(text));
    return this.#writing;
  }

  async #write(text: string): Promise<void> {
    await mkdir(path.dirname(this.#file), { recursive: true });
    await writeFile(`${this.#file}.tmp`, text, { mode: 0o600 });
    await rename(`${this.#file}.tmp`, this.#file);
  }
}
