import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

/**
 * One JSON file per record. Written beside and renamed, so that a reader sees the old record or the new one. Records are small and writes rare, so they
 * are synchronous: a caller that returns has the record on disk.
 */
export class RecordFolder<T> {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  write(name: string, record: T): void {
    const file = path.join(this.#folder, `${name}.json`);
    try {
      writeFileSync(`${file}.new`, JSON.stringify(record));
      renameSync(`${file}.new`, file);
    } catch (error) {
      rmSync(`${file}.new`, { force: true });
      throw error;
    }
  }
  remove(name: string): void {
    rmSync(path.join(this.#folder, `${name}.json`), { force: true });
  }
  /** Every record that can be read; a torn one (the machine died while it was written) is removed. */
  readAll(): T[] {
    return readdirSync(this.#folder).flatMap((file) => {
      const full = path.join(this.#folder, file);
      try {
        if (file.endsWith(".json")) return [JSON.parse(readFileSync(full, "utf8")) as T];
      } catch {
        // falls through to the removal
      }
      rmSync(full, { force: true });
      return [];
    });
  }
}
