import { systemClock, type Clock } from "../../base/index.ts";
import { EmbeddedStore } from "../embedded/embedded-store.ts";
import type { Change } from "../embedded/history.ts";
import type { Log, LogEntry } from "../embedded/log.ts";
import type { Store } from "../store.ts";
import { LogDatabase } from "./database.ts";

/** The log in SQLite, written in this thread: see ADR 0040 for why not in a worker. */
class SqliteLog implements Log {
  readonly #database: LogDatabase;
  constructor(database: LogDatabase) {
    this.#database = database;
  }
  async open() {
    return this.#database.open();
  }
  async append(entries: readonly LogEntry[]): Promise<void> {
    try {
      this.#database.append(entries);
    } catch (error) {
      // A failed COMMIT doesn't say whether it happened; the file does.
      if (this.#database.newestRevision() !== entries.at(-1)!.revision) throw error;
    }
  }
  value(change: Change): Uint8Array {
    return this.#database.value(change);
  }
  read(fromRevision: number, toRevision: number, limit: number): LogEntry[] {
    return this.#database.read(fromRevision, toRevision, limit);
  }
  async compact(revision: number, dropped: readonly Change[]): Promise<void> {
    this.#database.compact(revision, dropped.slice(0, COMPACT_STEP));
    for (let at = COMPACT_STEP; at < dropped.length; at += COMPACT_STEP) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      this.#database.compact(revision, dropped.slice(at, at + COMPACT_STEP));
    }
  }
  async close(): Promise<void> {
    this.#database.close();
  }
}

/** Rows removed in one transaction; writers get their turn in between. */
const COMPACT_STEP = 1000;

export interface SqliteStoreOptions {
  /** The database file; its folder is made. */
  readonly file: string;
  readonly clock?: Clock;
}

/** The store of one machine. Throws `internal`, with the way out as hint, when the file is damaged. */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  return EmbeddedStore.open(new SqliteLog(new LogDatabase(options.file)), options.clock ?? systemClock);
}
