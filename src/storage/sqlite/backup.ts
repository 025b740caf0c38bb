import path from "node:path";
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { BerthError, failedPrecondition, invalidArgument, messageOf } from "../../base/index.ts";
import { LogDatabase } from "./database.ts";

/**
 * Copies a store, in use or not. The copy is whole or absent, and for nobody else to read: a cluster's secrets are in it. Folders on the way are
 * made, a former copy is replaced. Throws `invalidArgument` for a target that is no place for a file, among them the store itself, and
 * `failedPrecondition` where nothing can be written; nothing is left behind then.
 */
export async function backupSqliteStore(file: string, target: string): Promise<void> {
  const partial = `${target}.partial`;
  await checkTarget(file, target);
  try {
    await mkdir(path.dirname(target), { recursive: true, mode: 0o700 });
    await rm(partial, { force: true });
    // SQLite fills an empty file and leaves its mode as it is.
    await writeFile(partial, "", { mode: 0o600, flag: "wx" });
    copyStore(file, partial);
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined);
    if (error instanceof BerthError) throw error;
    throw failedPrecondition(`no backup can be written to ${target}: ${messageOf(error)}`, {
      hint: "name a file in a folder that can be written to and has room",
      cause: error,
    });
  }
}

function copyStore(file: string, target: string): void {
  const database = new LogDatabase(file);
  try {
    database.copyTo(target);
  } finally {
    database.close();
  }
}

/** A rename would put the copy in the place of whatever has the name: of a device, or of the store that is being copied. */
async function checkTarget(file: string, target: string): Promise<void> {
  const there = await stat(target).catch(() => undefined);
  if (there && !there.isFile())
    throw invalidArgument(`${target} is ${there.isDirectory() ? "a folder" : "no file"}`, {
      hint: `name a file for the backup${there.isDirectory() ? `: ${path.join(target, "cluster.db")}` : ""}`,
    });
  for (const own of ["", "-wal", "-shm"].map((suffix) => file + suffix)) {
    const live = await stat(own).catch(() => undefined);
    if (there && live && there.dev === live.dev && there.ino === live.ino)
      throw invalidArgument(`${target} is the cluster's own state`, { hint: "name another file for the backup" });
  }
}

/**
 * Puts a backup in the place of a store that isn't open, after checking it. The replaced file stays as `.before-restore`. Throws
 * `invalidArgument` for a file that is no backup, `internal` for a damaged one; the store is then as it was.
 */
export async function restoreSqliteStore(backup: string, file: string): Promise<void> {
  const partial = `${file}.partial`;
  checkIsBackup(path.resolve(backup));
  await backupSqliteStore(path.resolve(backup), partial);
  const database = new LogDatabase(partial);
  const { heads } = database.open();
  for (const head of heads) database.value(head);
  database.close();
  await rm(`${file}.before-restore`, { force: true });
  await rename(file, `${file}.before-restore`).catch(() => undefined);
  for (const suffix of ["-wal", "-shm"]) await rm(file + suffix, { force: true });
  await rename(partial, file);
}

/** Looks without touching: what is no store must not become one. */
function checkIsBackup(file: string): void {
  try {
    const database = new DatabaseSync(file, { readOnly: true });
    try {
      database.prepare("SELECT id, key, created, version, crc, value FROM log LIMIT 1").get();
    } finally {
      database.close();
    }
  } catch (error) {
    throw invalidArgument(`${file} is no backup of a cluster's state: ${messageOf(error)}`, {
      hint: "berth cluster backup makes one",
      cause: error,
    });
  }
}
