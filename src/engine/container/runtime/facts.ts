import { readFile, rename, writeFile } from "node:fs/promises";

/** Writes under way. Those of one file wait for each other, so that what was asked for last is what stays. */
const writing = new Map<string, Promise<void>>();

/** Replaces a small JSON file as a whole: a reader, or a crash, sees the old or the new one. */
export async function writeFacts(file: string, facts: unknown): Promise<void> {
  const text = JSON.stringify(facts);
  const before = writing.get(file);
  const write = before ? before.then(replace, replace) : replace();
  writing.set(file, write);
  try {
    await write;
  } finally {
    if (writing.get(file) === write) writing.delete(file);
  }

  async function replace(): Promise<void> {
    const fresh = `${file}.new`;
    await writeFile(fresh, text, { mode: 0o600 });
    await rename(fresh, file);
  }
}

/** Undefined when the file is missing or was never finished. */
export async function readFacts<T>(file: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as T;
  } catch {
    return undefined;
  }
}
