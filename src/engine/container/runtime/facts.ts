import { readFile, rename, writeFile } from "node:fs/promises";

/** Replaces a small JSON file as a whole: a reader, or a crash, sees the old or the new one. */
export async function writeFacts(file: string, facts: unknown): Promise<void> {
  const fresh = `${file}.new`;
  await writeFile(fresh, JSON.stringify(facts), { mode: 0o600 });
  await rename(fresh, file);
}

/** Undefined when the file is missing or was never finished. */
export async function readFacts<T>(file: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as T;
  } catch {
    return undefined;
  }
}
