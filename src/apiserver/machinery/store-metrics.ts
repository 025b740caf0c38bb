import type { Clock, Histogram, Metrics } from "../../base/index.ts";
import type { Compare, Put, RangeOptions, Store, WatchOptions } from "../../storage/index.ts";
import type { Feed } from "../watch/feed.ts";
import { DURATION_BOUNDS } from "./request-metrics.ts";

/** What the caches know: how many objects there are, and what the store told them. */
export function measureCaches(metrics: Metrics, feed: Feed): void {
  metrics.gauge("apiserver_storage_objects", "Objects stored, by resource.", ["resource"], function* () {
    for (const [{ group, resource }, cache] of feed.caches())
      yield [[group === "" ? resource : `${resource}.${group}`], cache.entries.size];
  });
  metrics.gauge(
    "apiserver_watch_cache_events_received_total",
    "Changes that the caches were told of by the store.",
    ["group", "resource"],
    function* () {
      for (const [{ group, resource }, cache] of feed.caches()) yield [[group, resource], cache.received];
    },
    "counter",
  );
}

/** A store whose writes are timed, whichever store it is. Reads are the caches', but for a list's older pages. */
export class MeasuredStore implements Store {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #seconds: Histogram;

  constructor(store: Store, metrics: Metrics, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    this.#seconds = metrics.histogram(
      "etcd_request_duration_seconds",
      "How long the store took until a write was on disk.",
      ["operation"],
      DURATION_BOUNDS,
    );
  }

  async commit(compares: readonly Compare[], puts: readonly Put[], deletes: readonly string[]) {
    const startedMs = this.#clock.monotonicMs();
    const result = await this.#store.commit(compares, puts, deletes);
    const operation = deletes.length > 0 ? "delete" : compares[0]?.modRevision === 0 ? "create" : "update";
    this.#seconds.of(operation).observe((this.#clock.monotonicMs() - startedMs) / 1000);
    return result;
  }
  get(key: string, options?: { revision?: number }) {
    return this.#store.get(key, options);
  }
  range(prefix: string, options?: RangeOptions) {
    return this.#store.range(prefix, options);
  }
  watch(prefix: string, fromRevision: number, options?: WatchOptions) {
    return this.#store.watch(prefix, fromRevision, options);
  }
  compact(revision: number) {
    return this.#store.compact(revision);
  }
  revision() {
    return this.#store.revision();
  }
  close() {
    return this.#store.close();
  }
  [Symbol.asyncDispose]() {
    return this.#store[Symbol.asyncDispose]();
  }
}
