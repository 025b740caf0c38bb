import { lstat, readdir } from "node:fs/promises";
import path from "node:path";

/** Beyond this many files the rest is not counted: a figure for a limit check, not an accounting. */
const MAX_ENTRIES = 100_000;
const BLOCK_BYTES = 512;

/** What is on disk below a folder, as du(1) counts. What vanishes meanwhile counts nothing. */
export async function treeUsage(folder: string): Promise<{ bytes: number; inodes: number }> {
  let blocks = 0;
  let inodes = 0;
  const pending = [folder];
  for (let next = pending.pop(); next !== undefined && inodes < MAX_ENTRIES; next = pending.pop()) {
    for (const entry of await readdir(next, { withFileTypes: true }).catch(() => [])) {
      const full = path.join(next, entry.name);
      inodes++;
      blocks += (await lstat(full).catch(() => undefined))?.blocks ?? 0;
      if (entry.isDirectory()) pending.push(full);
    }
  }
  return { bytes: blocks * BLOCK_BYTES, inodes };
}

export async function diskUsage(folder: string): Promise<number> {
  return (await treeUsage(folder)).bytes;
}
