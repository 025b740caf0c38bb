import { open, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import { errnoOf } from "../../base/index.ts";

/** Makes renames and new names in `folder` durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

let sequence = 0;

/** Replaces `file` whole: a reader, also one after a crash, sees the old content or the new, never a mixture. */
export async function writeFileAtomic(file: string, content: Uint8Array | string): Promise<void> {
  const temporary = `${file}.${process.pid}.${sequence++}.tmp`;
  try {
    const handle = await open(temporary, "w", 0o600);
    try {
      await handle.writeFile(content);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(path.dirname(file));
}

/** Undefined when the file is absent or isn't JSON (which a crash can't cause, but a disk can). */
export async function readJson<T>(file: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as T;
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export async function removeTree(target: string): Promise<void> {
  await rm(target, { recursive: true, force: true });
}
