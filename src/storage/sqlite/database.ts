import { crc32 } from "node:zlib";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { internal, messageOf } from "../../base/index.ts";
import type { Change } from "../embedded/history.ts";
import type { LogEntry, LogHead } from "../embedded/log.ts";

/**
 * The log as one table whose row id is revision × 2^16 + sub: every write appends to the end of the tree, and a row is found without
 * an index. https://www.sqlite.org/wal.html: WAL and synchronous=FULL make a commit one append and one fsync of the WAL.
 */
const SUBS = 65_536;
const FORMAT = 1;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL,
    crc INTEGER NOT NULL, value BLOB NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
`;
const HINT = "Restore the newest backup of this cluster's store, or start with an empty data directory.";

interface Row {
  id: number;
  key: string;
  created: number;
  version: number;
  crc: number;
  value: Uint8Array;
}

export class LogDatabase {
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #insert: StatementSync;
  readonly #one: StatementSync;
  readonly #many: StatementSync;

  constructor(file: string) {
    this.#file = file;
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    try {
      this.#db = new DatabaseSync(file, { timeout: 5000 });
      this.#db.exec("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
      this.#db.exec(
        "PRAGMA wal_autocheckpoint = 2000; PRAGMA cache_size = -2048; PRAGMA journal_size_limit = 67108864;",
      );
      this.#db.exec(SCHEMA);
      this.#insert = this.#db.prepare(
        "INSERT INTO log (id, key, created, version, crc, value) VALUES (?, ?, ?, ?, ?, ?)",
      );
      this.#one = this.#db.prepare("SELECT * FROM log WHERE id = ?");
      this.#many = this.#db.prepare("SELECT * FROM log WHERE id >= ? AND id < ? ORDER BY id LIMIT ?");
    } catch (error) {
      throw this.#damaged(messageOf(error), error);
    }
  }

  /** Checks the tables and reads every row's head. */
  open(): { heads: LogHead[]; compactRevision: number; revision: number } {
    try {
      const problem = Object.values(this.#db.prepare("PRAGMA quick_check(1)").get() ?? {})[0];
      if (problem !== "ok") throw this.#damaged(String(problem));
      const format = this.#meta("format");
      if (format === undefined) this.#setMeta("format", FORMAT);
      else if (format !== FORMAT) throw this.#damaged(`its format is ${format}, this program knows ${FORMAT}`);
      const compactRevision = this.#meta("compacted") ?? 0;
      const heads = this.#readHeads(compactRevision);
      const newest = heads.at(-1)?.revision ?? 0;
      return { heads, compactRevision, revision: Math.max(newest, this.#meta("revision") ?? 0) };
    } catch (error) {
      throw error instanceof Error && error.name === "BerthError" ? error : this.#damaged(messageOf(error), error);
    }
  }

  append(entries: readonly LogEntry[]): void {
    this.#transaction(() => {
      for (const entry of entries) {
        const { key, createRevision, version, value } = entry;
        this.#insert.run(idOf(entry), key, createRevision, version, checksum(key, value), value);
      }
    });
  }

  newestRevision(): number {
    const row = this.#db.prepare("SELECT max(id) AS id FROM log").get() as { id: number | null };
    return Math.floor((row.id ?? 0) / SUBS);
  }

  value(change: Change): Uint8Array {
    const row = this.#one.get(idOf(change)) as unknown as Row | undefined;
    if (!row) throw this.#damaged(`revision ${change.revision} is missing`);
    return this.#entry(row).value;
  }

  read(fromRevision: number, toRevision: number, limit: number): LogEntry[] {
    const rows = this.#many.all(fromRevision * SUBS, (toRevision + 1) * SUBS, limit) as unknown as Row[];
    const entries = rows.map((row) => this.#entry(row));
    if (entries.length < limit) return entries;
    const last = entries.at(-1)!;
    const rest = this.#many.all(idOf(last) + 1, (last.revision + 1) * SUBS, SUBS) as unknown as Row[];
    return [...entries, ...rest.map((row) => this.#entry(row))];
  }

  compact(revision: number, dropped: readonly Change[]): void {
    const remove = this.#db.prepare("DELETE FROM log WHERE id = ?");
    this.#transaction(() => {
      // The newest revision must survive the removal of its own tombstone.
      this.#setMeta("revision", Math.max(this.newestRevision(), this.#meta("revision") ?? 0));
      this.#setMeta("compacted", revision);
      for (const change of dropped) remove.run(idOf(change));
    });
  }

  /** A consistent copy while others write. */
  copyTo(file: string): void {
    this.#db.prepare("VACUUM INTO ?").run(file);
  }

  close(): void {
    this.#db.close();
  }

  #readHeads(compactRevision: number): LogHead[] {
    const heads: LogHead[] = [];
    const alive = new Map<string, number>();
    const rows = this.#db.prepare("SELECT id, key, created, version FROM log ORDER BY id").iterate();
    for (const row of rows as Iterable<unknown> as Iterable<Row>) {
      const revision = Math.floor(row.id / SUBS);
      if (revision > compactRevision) this.#checkVersion(row, revision, alive.get(row.key) ?? 0, compactRevision);
      alive.set(row.key, row.version);
      heads.push({ key: row.key, revision, sub: row.id % SUBS, createRevision: row.created, version: row.version });
    }
    return heads;
  }

  /** Versions count up by one from 1 or from what compaction left: a gap is a lost row. */
  #checkVersion(row: Row, revision: number, before: number, compactRevision: number): void {
    const fine = row.version === 0 || row.version === before + 1 || (before === 0 && row.created <= compactRevision);
    if (!fine) throw this.#damaged(`revision ${revision} of ${row.key} follows a change that is missing`);
  }

  #entry(row: Row): LogEntry {
    const revision = Math.floor(row.id / SUBS);
    if (checksum(row.key, row.value) !== row.crc)
      throw this.#damaged(`revision ${revision} of ${row.key} has a wrong checksum`);
    const { key, value, version, created } = row;
    return { key, value, revision, sub: row.id % SUBS, createRevision: created, version };
  }

  #transaction(work: () => void): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      work();
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  #meta(name: string): number | undefined {
    return (this.#db.prepare("SELECT value FROM meta WHERE name = ?").get(name) as { value: number } | undefined)
      ?.value;
  }
  #setMeta(name: string, value: number): void {
    this.#db
      .prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
      .run(name, value);
  }

  #damaged(problem: string, cause?: unknown) {
    return internal(`the store ${this.#file} is damaged: ${problem}`, { cause, hint: HINT });
  }
}

const idOf = (change: Change) => change.revision * SUBS + change.sub;
const checksum = (key: string, value: Uint8Array) => crc32(value, crc32(key));
