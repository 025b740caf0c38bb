import { compareUtf8, SortedMap } from "../../storage/index.ts";
import type { Entry } from "./entry.ts";

export interface CacheEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly revision: number;
  /** For a delete the last state, as of the delete's revision. */
  readonly entry: Entry;
  /** What was there before; undefined for ADDED. */
  readonly old: Entry | undefined;
}

export interface Subscriber {
  /** Called in order with everything that changed, and with nothing when only the revision moved on. */
  deliver(batch: EventBatch): void;
  /** The server closes, or the cache was rebuilt and cannot tell what happened in between. */
  end(): void;
}

/** One step of the cache. Subscribers that need the same bytes share them through `encoded`. */
export interface EventBatch {
  readonly events: readonly CacheEvent[];
  readonly revision: number;
  readonly encoded: Map<string, Uint8Array>;
}

/** Entries in order, and how many there are; valid until the cache changes. */
export interface Listing {
  readonly entries: Iterable<Entry>;
  readonly count: number;
}

/** Events kept for watches that begin a little in the past. */
const MAX_HISTORY_EVENTS = 10_000;
const MAX_HISTORY_BYTES = 16 * 1024 * 1024;

/** All objects of one resource in memory, ordered by key, with their recent history. */
export class ResourceCache {
  readonly prefix: string;
  readonly entries = new SortedMap<Entry>();
  readonly #subscribers = new Set<Subscriber>();
  #history: CacheEvent[] = [];
  #historyBytes = 0;
  /** Watches from this revision on can be served. */
  #historyFrom: number;
  #ended = false;
  /** Changes since the cache was filled. */
  received = 0;

  constructor(prefix: string, revision: number) {
    this.prefix = prefix;
    this.#historyFrom = revision;
  }

  apply(events: readonly CacheEvent[], revision: number): void {
    for (const event of events) {
      if (event.type === "DELETED") this.entries.delete(event.entry.key);
      else this.entries.set(event.entry.key, event.entry);
      this.#history.push(event);
      this.#historyBytes += event.entry.json.length;
    }
    this.received += events.length;
    this.#trim();
    const batch: EventBatch = { events, revision, encoded: new Map() };
    for (const subscriber of this.#subscribers) subscriber.deliver(batch);
  }

  /** Events after this revision, or undefined when they are no longer known. */
  since(revision: number): readonly CacheEvent[] | undefined {
    if (revision < this.#historyFrom) return undefined;
    return this.#history.slice(firstAfter(this.#history, revision));
  }

  /** What there was at a revision below a prefix, from a key (inclusive) on; undefined when too much has changed since to know. */
  at(revision: number, prefix: string, from = prefix): Listing | undefined {
    const events = this.since(revision);
    if (events === undefined) return undefined;
    if (events.length === 0) return this.list(prefix, from);
    const then = new SortedMap<Entry | undefined>();
    for (const { entry, old } of events) if (!then.has(entry.key)) then.set(entry.key, old);
    let count = this.entries.count(prefix, from);
    for (const [key, old] of then.range(prefix, from)) count += (old ? 1 : 0) - (this.entries.has(key) ? 1 : 0);
    return { entries: overlaid(this.entries.range(prefix, from), then, prefix, from), count };
  }

  /** What there is now. */
  list(prefix: string, from = prefix): Listing {
    return { entries: valuesOf(this.entries.range(prefix, from)), count: this.entries.count(prefix, from) };
  }

  get historyFrom(): number {
    return this.#historyFrom;
  }

  /** Who comes after the end is told of it at once. */
  subscribe(subscriber: Subscriber): () => void {
    if (this.#ended) {
      subscriber.end();
      return () => {};
    }
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  }

  end(): void {
    this.#ended = true;
    for (const subscriber of this.#subscribers) subscriber.end();
    this.#subscribers.clear();
  }

  #trim(): void {
    const { length } = this.#history;
    if (length <= MAX_HISTORY_EVENTS && this.#historyBytes <= MAX_HISTORY_BYTES) return;
    let drop = Math.min(length, Math.max(1, length >> 2));
    while (drop < length && this.#history[drop]!.revision === this.#history[drop - 1]!.revision) drop++;
    this.#historyFrom = this.#history[drop - 1]!.revision;
    for (const event of this.#history.splice(0, drop)) this.#historyBytes -= event.entry.json.length;
  }
}

function* valuesOf(entries: Iterable<[string, Entry]>): Generator<Entry, void, undefined> {
  for (const [, entry] of entries) yield entry;
}

/** The entries of now with those in `then` in the place of what has their keys now; undefined there: nothing. */
function* overlaid(
  now: Iterable<[string, Entry]>,
  then: SortedMap<Entry | undefined>,
  prefix: string,
  from: string,
): Generator<Entry, void, undefined> {
  const changed = then.range(prefix, from);
  let next = changed.next();
  for (const [key, entry] of now) {
    while (!next.done && compareUtf8(next.value[0], key) <= 0) {
      if (next.value[1]) yield next.value[1];
      next = changed.next();
    }
    if (!then.has(key)) yield entry;
  }
  for (; !next.done; next = changed.next()) if (next.value[1]) yield next.value[1];
}

function firstAfter(history: readonly CacheEvent[], revision: number): number {
  let low = 0;
  let high = history.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (history[middle]!.revision <= revision) low = middle + 1;
    else high = middle;
  }
  return low;
}
