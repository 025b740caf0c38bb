import path from "node:path";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { invalidArgument, messageOf } from "../../base/index.ts";
import { LogDatabase } from "./database.ts";

/** Copies a store, in use or not. The copy is whole or absent, and for nobody else to read: a cluster's secrets are in it. */
export async function backupSqliteStore(file: string, target: string): Promise<void> {
  const partial = `${target}.partial`;
  await rm(partial, { force: true });
  // SQLite fills an empty file and leaves its mode as it is.
  await writeFile(partial, "", { mode: 0o600, flag: "wx" });
  const database = new LogDatabase(file);
  try {
    database.copyTo(partial);
  } finally {
    database.close();
  }
  await rename(partial, target);
}

/**
 * Puts a backup in the place of a store that isn't open, after checking it. The replaced file stays as `.before-restore`. Throws
 * `invalidArgument` for a file that is no backup, `internal` for a damaged one; the store is then as it was.
 */
export async function restoreSqliteStore(backup: string, file: string): Promise<void> {
  const partial = `${file}.partial`;
  checkIsBackup(path.resolve(backup));
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
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
