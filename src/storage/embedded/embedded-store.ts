import { BerthError, failedPrecondition, invalidArgument, resourceExhausted, unavailable } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import type {
  CommitResult,
  Compare,
  KeyValue,
  Put,
  RangeOptions,
  RangeResult,
  Store,
  StoreEvent,
  WatchBatch,
  WatchOptions,
} from "../store.ts";
import { compacted } from "../errors.ts";
import { History, type Change } from "./history.ts";
import type { Log, LogEntry } from "./log.ts";

/** A flush takes at most so many changes, so that one transaction stays short. */
const MAX_FLUSH_ENTRIES = 2048;
/** Writers waiting for the disk beyond this are refused. */
const MAX_WAITING_COMMITS = 50_000;
const MAX_OPERATIONS = 10_000;
/** Recent changes are kept in memory for watches that are up to date; others read the log. */
const MAX_RECENT_BYTES = 2 * 1024 * 1024;
const MAX_RECENT_FLUSHES = 256;
const READ_ENTRIES = 1000;

interface Waiting {
  readonly entries: readonly LogEntry[];
  readonly revision: number;
  resolve(result: CommitResult): void;
  reject(error: unknown): void;
}

interface Flush {
  readonly first: number;
  readonly last: number;
  readonly events: readonly StoreEvent[];
  readonly sizeBytes: number;
}

/**
 * The store in one process over a log. The index decides a commit at once and in order; all commits that wait while the log is being
 * written share the next write (group commit). Reads and watches see only what is durable.
 */
export class EmbeddedStore implements Store {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #history = new History();
  /** The newest revision given out. */
  #revision = 0;
  /** The newest revision on disk. */
  #durable = 0;
  #compacted = 0;
  #queue: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  #recent: Flush[] = [];
  #recentBytes = 0;
  #wakers = new Set<() => void>();
  #closed = false;

  private constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  static async open(log: Log, clock: Clock): Promise<EmbeddedStore> {
    const store = new EmbeddedStore(log, clock);
    const { heads, compactRevision, revision } = await log.open();
    for (const head of heads) {
      const { key, ...change } = head;
      store.#history.add(key, change);
    }
    store.#revision = store.#durable = revision;
    store.#compacted = compactRevision;
    store.#history.compact(compactRevision);
    return store;
  }

  revision(): Promise<number> {
    return Promise.resolve(this.#durable);
  }

  async get(key: string, options: { revision?: number } = {}): Promise<{ kv: KeyValue | undefined; revision: number }> {
    this.#assertOpen();
    const revision = this.#readable(options.revision);
    const change = this.#history.at(key, revision);
    return { kv: change && this.#load(key, change), revision: this.#durable };
  }

  async range(prefix: string, options: RangeOptions = {}): Promise<RangeResult> {
    this.#assertOpen();
    const revision = this.#readable(options.revision);
    const limit = options.limit || Infinity;
    const kvs: KeyValue[] = [];
    let count = 0;
    for (const [key, change] of this.#history.range(prefix, options.from, revision)) {
      if (count++ < limit) kvs.push(this.#load(key, change));
    }
    return { kvs, revision: this.#durable, more: count > kvs.length, count };
  }

  commit(compares: readonly Compare[], puts: readonly Put[], deletes: readonly string[]): Promise<CommitResult> {
    try {
      this.#assertOpen();
      if (this.#queue.length >= MAX_WAITING_COMMITS)
        throw resourceExhausted(`more than ${MAX_WAITING_COMMITS} commits are waiting for the disk`);
      const failed = compares.some(({ key, modRevision }) => (this.#alive(key)?.revision ?? 0) !== modRevision);
      if (failed) return this.#refuse(compares);
      const entries = this.#plan(puts, deletes);
      if (entries.length === 0)
        return this.#afterFlush(() => ({ succeeded: true, revision: this.#durable, current: [] }));
      const revision = ++this.#revision;
      for (const { key, value: _value, ...change } of entries) this.#history.add(key, change);
      return new Promise((resolve, reject) => this.#enqueue({ entries, revision, resolve, reject }));
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  async *watch(
    prefix: string,
    fromRevision: number,
    options: WatchOptions = {},
  ): AsyncGenerator<WatchBatch, void, undefined> {
    const { signal, progressMs } = options;
    let next = Math.max(1, fromRevision);
    let reportedAtMs = this.#clock.monotonicMs();
    while (!this.#closed && !signal?.aborted) {
      if (next < this.#compacted) throw compacted(next, this.#compacted);
      if (next > this.#durable) {
        const waitMs = progressMs && reportedAtMs + progressMs - this.#clock.monotonicMs();
        if (waitMs !== undefined && waitMs <= 0) {
          reportedAtMs = this.#clock.monotonicMs();
          yield { revision: this.#durable, events: [] };
        } else await this.#change(signal, waitMs);
        continue;
      }
      const { revision, events } = this.#eventsFrom(next);
      next = revision + 1;
      const mine = prefix === "" ? events : events.filter((event) => event.kv.key.startsWith(prefix));
      if (mine.length === 0) continue;
      reportedAtMs = this.#clock.monotonicMs();
      yield { revision, events: mine };
    }
  }

  async compact(revision: number): Promise<void> {
    this.#assertOpen();
    if (revision > this.#durable)
      throw invalidArgument(`revision ${revision} cannot be compacted: the newest is ${this.#durable}`);
    if (revision <= this.#compacted) return;
    this.#compacted = revision;
    const dropped = this.#history.compact(revision);
    this.#recent = this.#recent.filter((flush) => flush.first >= revision);
    this.#recentBytes = this.#recent.reduce((sum, flush) => sum + flush.sizeBytes, 0);
    await this.#log.compact(revision, dropped);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#drained();
    this.#closed = true;
    this.#wake();
    await this.#log.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw failedPrecondition("the store is closed");
  }

  #readable(revision = this.#durable): number {
    if (revision > this.#durable)
      throw invalidArgument(`revision ${revision} is in the future: the newest is ${this.#durable}`);
    if (revision < this.#compacted && revision < this.#durable) throw compacted(revision, this.#compacted);
    return revision;
  }

  #alive(key: string): Change | undefined {
    const newest = this.#history.newest(key);
    return newest && newest.version > 0 ? newest : undefined;
  }

  #load(key: string, change: Change): KeyValue {
    const { createRevision, revision, version } = change;
    return { key, value: this.#log.value(change), createRevision, modRevision: revision, version };
  }

  #plan(puts: readonly Put[], deletes: readonly string[]): LogEntry[] {
    if (puts.length + deletes.length > MAX_OPERATIONS)
      throw invalidArgument(`a commit may have at most ${MAX_OPERATIONS} operations`);
    const revision = this.#revision + 1;
    const entries: LogEntry[] = [];
    const seen = new Set<string>();
    const once = (key: string) => {
      if (seen.has(key)) throw invalidArgument(`a commit may change a key once: ${key}`);
      if (puts.length + deletes.length > 1) seen.add(key);
    };
    for (const { key, value } of puts) {
      once(key);
      const old = this.#alive(key);
      const createRevision = old?.createRevision ?? revision;
      entries.push({ key, value, revision, sub: entries.length, createRevision, version: (old?.version ?? 0) + 1 });
    }
    for (const key of deletes) {
      once(key);
      if (!this.#alive(key)) continue;
      entries.push({ key, value: EMPTY, revision, sub: entries.length, createRevision: 0, version: 0 });
    }
    return entries;
  }

  /** A lost comparison is answered once what it lost against is on disk. */
  #refuse(compares: readonly Compare[]): Promise<CommitResult> {
    return this.#afterFlush(() => {
      const current = compares.flatMap(({ key }) => {
        const change = this.#history.at(key, this.#durable);
        return change ? [this.#load(key, change)] : [];
      });
      return { succeeded: false, revision: this.#durable, current };
    });
  }

  async #afterFlush(answer: () => CommitResult): Promise<CommitResult> {
    await this.#drained();
    return answer();
  }

  async #drained(): Promise<void> {
    const target = this.#revision;
    while (this.#durable < target && this.#flushing) await this.#flushing;
  }

  #enqueue(waiting: Waiting): void {
    this.#queue.push(waiting);
    this.#flushing ??= this.#flushAll();
  }

  async #flushAll(): Promise<void> {
    // Commits made in this turn of the event loop join the first write.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      const entries = group.length === 1 ? group[0]!.entries : group.flatMap((waiting) => waiting.entries);
      try {
        await this.#log.append(entries);
      } catch (error) {
        this.#fail(group, error);
        continue;
      }
      this.#publish(group, entries);
    }
    this.#flushing = undefined;
  }

  #takeGroup(): Waiting[] {
    let size = 0;
    let count = 0;
    while (count < this.#queue.length && size < MAX_FLUSH_ENTRIES) size += this.#queue[count++]!.entries.length;
    return this.#queue.splice(0, count);
  }

  #publish(group: readonly Waiting[], entries: readonly LogEntry[]): void {
    this.#durable = group.at(-1)!.revision;
    const events = entries.map(eventOf);
    const sizeBytes = entries.reduce((sum, entry) => sum + entry.value.length + 200, 0);
    this.#recent.push({ first: group[0]!.revision, last: this.#durable, events, sizeBytes });
    this.#recentBytes += sizeBytes;
    while (
      this.#recent.length > 1 &&
      (this.#recentBytes > MAX_RECENT_BYTES || this.#recent.length > MAX_RECENT_FLUSHES)
    )
      this.#recentBytes -= this.#recent.shift()!.sizeBytes;
    this.#wake();
    for (const waiting of group) waiting.resolve({ succeeded: true, revision: waiting.revision, current: [] });
  }

  /** Nothing of this write is on disk, so nothing that was decided on top of it may stand. */
  #fail(group: readonly Waiting[], cause: unknown): void {
    const lost = [...group, ...this.#queue.splice(0)];
    this.#history.truncate(this.#durable);
    this.#revision = this.#durable;
    const hint = cause instanceof BerthError ? cause.hint : "Check the disk that holds the data directory.";
    for (const waiting of lost) waiting.reject(unavailable("the write could not be made durable", { cause, hint }));
  }

  #eventsFrom(next: number): { revision: number; events: readonly StoreEvent[] } {
    const recent = this.#recent.find((flush) => flush.last >= next);
    if (recent && recent.first <= next) {
      const events = recent.first === next ? recent.events : recent.events.filter(({ kv }) => kv.modRevision >= next);
      return { revision: recent.last, events };
    }
    const entries = this.#log.read(next, this.#durable, READ_ENTRIES);
    return { revision: entries.at(-1)?.revision ?? this.#durable, events: entries.map(eventOf) };
  }

  #change(signal: AbortSignal | undefined, waitMs: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        timer?.cancel();
        this.#wakers.delete(done);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = waitMs === undefined ? undefined : this.#clock.after(waitMs, done);
      this.#wakers.add(done);
      signal?.addEventListener("abort", done, { once: true });
    });
  }

  #wake(): void {
    const wakers = this.#wakers;
    this.#wakers = new Set();
    for (const wake of wakers) wake();
  }
}

const EMPTY = new Uint8Array(0);

function eventOf(entry: LogEntry): StoreEvent {
  const { key, value, createRevision, revision, version } = entry;
  return { type: version > 0 ? "put" : "delete", kv: { key, value, createRevision, modRevision: revision, version } };
}
