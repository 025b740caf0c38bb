import { canceled } from "../../../base/index.ts";
import type { OnProgress, ProgressMessage } from "../types.ts";

interface Watcher {
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

interface Flight<T> {
  readonly outcome: Promise<T>;
  readonly watchers: Set<Watcher>;
  readonly abort: AbortController;
}

/**
 * Callers that want the same thing at the same time share one run. Each sees the progress from when it came; one that cancels leaves, and
 * the run is canceled when the last one has left.
 */
export class SharedRuns<T> {
  readonly #flights = new Map<string, Flight<T>>();

  async run(key: string, watcher: Watcher, start: (shared: Required<Watcher>) => Promise<T>): Promise<T> {
    const flight = this.#flights.get(key) ?? this.#begin(key, start);
    flight.watchers.add(watcher);
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(canceled("canceled", { cause: watcher.signal?.reason }));
    watcher.signal?.addEventListener("abort", leave, { once: true });
    if (watcher.signal?.aborted) leave();
    try {
      return await Promise.race([flight.outcome, left.promise]);
    } finally {
      watcher.signal?.removeEventListener("abort", leave);
      flight.watchers.delete(watcher);
      if (flight.watchers.size === 0) {
        flight.abort.abort();
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      }
    }
  }

  #begin(key: string, start: (shared: Required<Watcher>) => Promise<T>): Flight<T> {
    const watchers = new Set<Watcher>();
    const abort = new AbortController();
    const onProgress = (message: ProgressMessage) => {
      for (const watcher of watchers) watcher.onProgress?.(message);
    };
    // Begun in the next turn, so that the first caller watches from the first message on.
    const outcome = Promise.resolve().then(() => start({ onProgress, signal: abort.signal }));
    outcome.catch(() => {});
    const flight = { outcome, watchers, abort };
    this.#flights.set(key, flight);
    return flight;
  }
}
