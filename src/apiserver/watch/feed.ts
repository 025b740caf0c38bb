import {
  canceled,
  codeOf,
  deadlineExceeded,
  unavailable,
  type Clock,
  type Logger,
  type Timer,
} from "../../base/index.ts";
import type { Store, StoreEvent } from "../../storage/index.ts";
import { ResourceCache, type CacheEvent } from "./cache.ts";
import { Entry } from "./entry.ts";

export const ROOT = "/registry/";
const PAGE = 5000;
const RETRY_MS = 500;
const PROGRESS_MS = 1000;
const MAX_WAIT_MS = 3000;

const closing = () => unavailable("the API server is closing");

interface Waiting {
  readonly revision: number;
  readonly sinceMs: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Feeds every resource's cache from one watch of the whole store, so that all of them stand at one revision. */
export class Feed {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #caches = new Map<string, ResourceCache>();
  readonly #stopping = new AbortController();
  #revision = 0;
  /** The revision of the last whole reading: a resource without a cache has had no event since. */
  #loadedAt = 0;
  #timer: Timer | undefined;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  constructor(store: Store, clock: Clock, log: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  get revision(): number {
    return this.#revision;
  }

  async start(): Promise<void> {
    await this.#load();
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#stopping.abort(canceled("the API server is closing"));
    await this.#running;
    this.#timer?.cancel();
    for (const { reject } of this.#waiting.splice(0)) reject(closing());
    for (const cache of this.#caches.values()) cache.end();
  }

  /** The cache of `{group}/{plural}`. */
  cache(resource: string): ResourceCache {
    let cache = this.#caches.get(resource);
    if (!cache) {
      cache = new ResourceCache(`${ROOT}${resource}/`, this.#loadedAt);
      this.#caches.set(resource, cache);
    }
    return cache;
  }

  /** Every cache there is, with whose it is. */
  *caches(): Iterable<[of: { group: string; resource: string }, cache: ResourceCache]> {
    for (const [name, cache] of this.#caches) {
      const [group = "", resource = ""] = name.split("/");
      yield [{ group: group === "core" ? "" : group, resource }, cache];
    }
  }

  /** Resolves when the caches show everything that was committed before the call. */
  async fresh(): Promise<void> {
    const revision = await this.#store.revision();
    if (revision > this.#revision) await this.reached(revision);
  }

  /** Resolves once the caches are at least there. Throws `deadlineExceeded` after three seconds, as upstream, `unavailable` when closed. */
  reached(revision: number): Promise<void> {
    if (this.#revision >= revision) return Promise.resolve();
    if (this.#stopping.signal.aborted) return Promise.reject(closing());
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) this.#armTimer();
      this.#waiting.push({ revision, resolve, reject, sinceMs: this.#clock.monotonicMs() });
    });
  }

  /** One timer for all who wait; most wait for less than a turn of the event loop. */
  #armTimer(): void {
    this.#timer ??= this.#clock.after(MAX_WAIT_MS, () => {
      this.#timer = undefined;
      const oldestMs = this.#clock.monotonicMs() - MAX_WAIT_MS + 1;
      const late = this.#waiting.filter((one) => one.sinceMs <= oldestMs);
      this.#waiting = this.#waiting.filter((one) => one.sinceMs > oldestMs);
      for (const { revision, reject } of late)
        reject(deadlineExceeded(`the cache has not reached revision ${revision} within ${MAX_WAIT_MS} ms`));
      if (this.#waiting.length > 0) this.#armTimer();
    });
  }

  async #load(): Promise<void> {
    const seen = new Set<string>();
    let from: string | undefined;
    let revision: number | undefined;
    for (;;) {
      const page = await this.#store.range(ROOT, { limit: PAGE, from, revision });
      revision ??= page.revision;
      for (const { key, value, modRevision } of page.kvs) {
        const resource = resourceOf(key);
        if (resource === undefined) continue;
        this.cache(resource).entries.set(key, Entry.of(key, value, modRevision));
        seen.add(key);
      }
      if (!page.more) break;
      from = `${page.kvs.at(-1)!.key}\0`;
    }
    this.#loadedAt = revision;
    this.#advance(revision);
    for (const [resource, cache] of this.#caches) {
      const fresh = new ResourceCache(cache.prefix, revision);
      for (const entry of cache.entries.values()) if (seen.has(entry.key)) fresh.entries.set(entry.key, entry);
      this.#caches.set(resource, fresh);
      cache.end();
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        const batches = this.#store.watch(ROOT, this.#revision + 1, { signal, progressMs: PROGRESS_MS });
        for await (const batch of batches) {
          this.#apply(batch.events, batch.revision);
          this.#advance(batch.revision);
        }
        // A watch that ends by itself means that the store is closing: asked again without a pause, it would end again at once, for ever.
        await this.#clock.sleep(RETRY_MS, signal).catch(() => undefined);
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn("the watch of the store broke off", { error: error as Error });
        await this.#clock.sleep(RETRY_MS, signal).catch(() => undefined);
        if (codeOf(error) === "resourceExhausted") await this.#load().catch(() => undefined);
      }
    }
  }

  #apply(events: readonly StoreEvent[], revision: number): void {
    const changed = new Map<ResourceCache, CacheEvent[]>();
    const newest = new Map<string, Entry | undefined>();
    for (const { type, kv } of events) {
      const resource = resourceOf(kv.key);
      if (resource === undefined) continue;
      const cache = this.cache(resource);
      const old = newest.has(kv.key) ? newest.get(kv.key) : cache.entries.get(kv.key);
      if (type === "delete" && !old) continue;
      const entry = type === "delete" ? old!.at(kv.modRevision) : Entry.of(kv.key, kv.value, kv.modRevision);
      newest.set(kv.key, type === "delete" ? undefined : entry);
      const event = {
        type: type === "delete" ? "DELETED" : old ? "MODIFIED" : "ADDED",
        revision: kv.modRevision,
        entry,
        old,
      };
      const list = changed.get(cache);
      if (list) list.push(event as CacheEvent);
      else changed.set(cache, [event as CacheEvent]);
    }
    for (const [cache, list] of changed) cache.apply(list, revision);
  }

  #advance(revision: number): void {
    this.#revision = Math.max(this.#revision, revision);
    if (this.#waiting.length === 0) return;
    const ready = this.#waiting.filter((one) => one.revision <= this.#revision);
    this.#waiting = this.#waiting.filter((one) => one.revision > this.#revision);
    for (const { resolve } of ready) resolve();
  }
}

/** `/registry/apps/deployments/default/web` belongs to `apps/deployments`. */
function resourceOf(key: string): string | undefined {
  const group = key.indexOf("/", ROOT.length);
  const plural = group < 0 ? -1 : key.indexOf("/", group + 1);
  return plural < 0 ? undefined : key.slice(ROOT.length, plural);
}
