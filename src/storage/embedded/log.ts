import type { Change } from "./history.ts";

/** A change with its key and value: one row of the log. */
export interface LogEntry extends Change {
  readonly key: string;
  /** Empty for a delete. */
  readonly value: Uint8Array;
}

export interface LogHead extends Change {
  readonly key: string;
}

/**
 * What an embedded store writes to: an append-only log of changes in order of (revision, sub). The store above it decides what may be
 * written, keeps the index and feeds the watches; a log only keeps rows.
 */
export interface Log {
  /** Everything the log holds, in order, once, when the store opens. Throws `internal` when rows are missing or damaged. */
  open(): Promise<{ heads: Iterable<LogHead>; compactRevision: number; revision: number }>;
  /** Resolves when all entries are durable. Rejects when none is. */
  append(entries: readonly LogEntry[]): Promise<void>;
  value(change: Change): Uint8Array;
  /** Whole revisions from `fromRevision` to at most `toRevision`, in order, about `limit` entries of them. */
  read(fromRevision: number, toRevision: number, limit: number): readonly LogEntry[];
  /** Removes these changes for good and remembers the revision. */
  compact(revision: number, dropped: readonly Change[]): Promise<void>;
  close(): Promise<void>;
}
