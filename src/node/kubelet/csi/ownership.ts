import { chmod, lchown, lstat, readdir } from "node:fs/promises";
import path from "node:path";

const GROUP_MAY = 0o660;
const FOLDER_MAY = 0o2770;

/** Gives everything below to a group, as fsGroup asks. `onlyWhenRootDiffers`: fsGroupChangePolicy OnRootMismatch. */
export async function giveToGroup(folder: string, gid: number, onlyWhenRootDiffers: boolean): Promise<void> {
  const root = await lstat(folder);
  if (onlyWhenRootDiffers && root.gid === gid && (root.mode & FOLDER_MAY) === FOLDER_MAY) return;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const target = path.join(folder, entry.name);
    if (entry.isDirectory()) await giveToGroup(target, gid, false);
    else await give(target, gid, GROUP_MAY);
  }
  // Last, so that one that was cut short is done again.
  await give(folder, gid, FOLDER_MAY);
}

async function give(target: string, gid: number, bits: number): Promise<void> {
  const facts = await lstat(target);
  await lchown(target, facts.uid, gid);
  if (!facts.isSymbolicLink()) await chmod(target, (facts.mode & 0o7777) | bits);
}
