export type * from "./store.ts";
export { openMemoryStore } from "./memory/memory-store.ts";
export { compareUtf8, SortedMap } from "./embedded/sorted-map.ts";
export type { SqliteStoreOptions } from "./sqlite/sqlite-store.ts";
export type { EtcdStoreOptions } from "./etcd/options.ts";
import type { EtcdStoreOptions } from "./etcd/options.ts";
import type { SqliteStoreOptions } from "./sqlite/sqlite-store.ts";
import type { Store } from "./store.ts";

/** The store of one machine, in one file. Throws `internal`, with the way out as hint, when the file is damaged. */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  const { openSqliteStore: open } = await import("./sqlite/sqlite-store.ts");
  return open(options);
}

/** Copies a store's file, in use or not; the copy is whole or absent. */
export async function backupSqliteStore(file: string, target: string): Promise<void> {
  const { backupSqliteStore: backup } = await import("./sqlite/backup.ts");
  return backup(file, target);
}

/** Puts a checked backup in the place of a store that isn't open; the replaced file stays as `.before-restore`. */
export async function restoreSqliteStore(backup: string, file: string): Promise<void> {
  const { restoreSqliteStore: restore } = await import("./sqlite/backup.ts");
  return restore(backup, file);
}

/** The store of several machines: an etcd v3 cluster. Throws `unavailable` when no endpoint answers. */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store> {
  const { openEtcdStore: open } = await import("./etcd/etcd-store.ts");
  return open(options);
}
