/**
 * A revisioned key-value store with etcd v3's guarantees (https://etcd.io/docs/v3.6/learning/api_guarantees/), in the few calls
 * that a control plane needs. Keys are text, ordered by their UTF-8 bytes; values are bytes. Every commit that changes
 * something takes the next revision, and all its changes carry it.
 */
export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  /** 1 for a key's first write since it was last absent. */
  readonly version: number;
}

/** Passes when the key's modRevision is exactly this; 0 means the key must be absent. */
export interface Compare {
  readonly key: string;
  readonly modRevision: number;
}

export interface Put {
  readonly key: string;
  readonly value: Uint8Array;
}

export interface CommitResult {
  readonly succeeded: boolean;
  /** The revision of this commit, or the store's revision when nothing was changed. */
  readonly revision: number;
  /** When a compare failed: what the compared keys hold now (absent keys are left out). */
  readonly current: readonly KeyValue[];
}

export interface RangeOptions {
  /** Read as of this revision; now by default. Compacted ones fail with `resourceExhausted` and `details.compactRevision`. */
  readonly revision?: number;
  readonly limit?: number;
  /** Start at this key (inclusive) rather than at the prefix. */
  readonly from?: string;
}

export interface RangeResult {
  readonly kvs: readonly KeyValue[];
  readonly revision: number;
  readonly more: boolean;
  /** All keys under the prefix from `from` on, whatever the limit. */
  readonly count: number;
}

export interface StoreEvent {
  readonly type: "put" | "delete";
  /** For a delete: the key and the revision of the delete; the value is empty. */
  readonly kv: KeyValue;
}

/** All events of one or more revisions, never half a revision. An empty batch is progress: nothing is missing up to `revision`. */
export interface WatchBatch {
  readonly revision: number;
  readonly events: readonly StoreEvent[];
}

export interface WatchOptions {
  readonly signal?: AbortSignal;
  /** Report progress on a quiet prefix about this often. */
  readonly progressMs?: number;
}

export interface Store extends AsyncDisposable {
  get(key: string, options?: { revision?: number }): Promise<{ kv: KeyValue | undefined; revision: number }>;
  range(prefix: string, options?: RangeOptions): Promise<RangeResult>;
  /** Atomic; resolves only when the change is on disk. Throws when the outcome is unknown (`unavailable`). */
  commit(compares: readonly Compare[], puts: readonly Put[], deletes: readonly string[]): Promise<CommitResult>;
  /**
   * Every change under the prefix from `fromRevision` (inclusive) on, in order, complete, each once. Throws `resourceExhausted`
   * with `details.compactRevision` when that revision is compacted, before or in the middle.
   */
  watch(prefix: string, fromRevision: number, options?: WatchOptions): AsyncIterable<WatchBatch>;
  /** Forgets revisions before this one, save each key's newest. */
  compact(revision: number): Promise<void>;
  revision(): Promise<number>;
  close(): Promise<void>;
}
