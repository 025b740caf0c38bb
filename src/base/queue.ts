import { canceled, resourceExhausted } from "./errors.ts";

/** Runs at most `limit` tasks at a time; the rest wait in order. The waiting line is bounded. */
export class Semaphore {
  readonly #limit: number;
  readonly #maxWaiting: number;
  #running = 0;
  readonly #waiting: Array<() => void> = [];

  constructor(limit: number, maxWaiting = 100_000) {
    this.#limit = limit;
    this.#maxWaiting = maxWaiting;
  }

  async run<T>(task: () => Promise<T> | T, signal?: AbortSignal): Promise<T> {
    await this.#acquire(signal);
    try {
      return await task();
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }

  #acquire(signal?: AbortSignal): Promise<void> | void {
    if (signal?.aborted) throw canceled("canceled while waiting for a turn", { cause: signal.reason });
    if (this.#running < this.#limit) {
      this.#running++;
      return;
    }
    if (this.#waiting.length >= this.#maxWaiting)
      throw resourceExhausted(`more than ${this.#maxWaiting} tasks are waiting`);
    return new Promise((resolve, reject) => {
      const start = () => {
        signal?.removeEventListener("abort", leave);
        this.#running++;
        resolve();
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(start), 1);
        reject(canceled("canceled while waiting for a turn", { cause: signal?.reason }));
      };
      signal?.addEventListener("abort", leave, { once: true });
      this.#waiting.push(start);
    });
  }
}

/** One task at a time per key, in order of arrival; different keys run side by side. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<unknown>>();

  async run<T>(key: string, task: () => Promise<T> | T): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const mine = before.then(task, task);
    const tail = mine.then(
      () => {},
      () => {},
    );
    this.#tails.set(key, tail);
    try {
      return await mine;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}

/** Callers that ask for the same key at the same time share one run and its outcome. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Promise<T>>();

  run(key: string, task: () => Promise<T>): Promise<T> {
    const flying = this.#flights.get(key);
    if (flying) return flying;
    const flight = task().finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }
}

/**
 * A bounded push queue read as an async iterable: what watches, events and log followers hand to a slow reader. When the
 * reader falls more than `limit` behind, the queue fails it instead of growing.
 */
export class PushQueue<T> implements AsyncIterable<T> {
  readonly #limit: number;
  #items: T[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #error: unknown;

  constructor(limit = 10_000) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#items.length;
  }
  get closed(): boolean {
    return this.#ended;
  }

  /** False when the queue has ended or the reader is too slow (the queue is then failed with resourceExhausted). */
  push(item: T): boolean {
    if (this.#ended) return false;
    if (this.#items.length >= this.#limit) {
      this.fail(resourceExhausted(`reader is more than ${this.#limit} items behind`));
      return false;
    }
    this.#items.push(item);
    this.#wake?.();
    return true;
  }
  /** Ends after the items already queued. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }
  /** Ends with an error, after the items already queued. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = error;
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        const items = this.#items;
        this.#items = [];
        yield* items;
        if (this.#items.length > 0) continue;
        if (this.#ended) break;
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = undefined;
      }
      if (this.#error !== undefined) throw this.#error;
    } finally {
      this.#ended = true;
    }
  }
}
