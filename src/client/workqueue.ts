import { messageOf, type Clock, type Logger, type Metrics, type Timer } from "../base/index.ts";
import { QueueMetrics } from "./workqueue-metrics.ts";

export interface WorkQueueOptions {
  readonly clock: Clock;
  readonly log?: Logger;
  /** First delay after a failure; doubles each time. */
  readonly baseDelayMs?: number;
  readonly maxDelayMs?: number;
  /** Where its figures are counted, and under which name. */
  readonly measured?: { readonly metrics: Metrics; readonly name: string };
}

export type KeyHandler = (key: string, signal: AbortSignal) => Promise<unknown>;

/**
 * Keys waiting to be looked at. A key is handled by one worker at a time; adding it while it waits does nothing, adding it while it is being
 * handled brings it back afterwards. Failures of a key delay it exponentially until `forget`.
 */
export class WorkQueue {
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #baseDelayMs: number;
  readonly #maxDelayMs: number;
  /** With when they were added. */
  readonly #waiting = new Map<string, number>();
  /** With when a worker took them. */
  readonly #handled = new Map<string, number>();
  readonly #again = new Set<string>();
  readonly #delayed = new Map<string, { dueMs: number; timer: Timer }>();
  readonly #failures = new Map<string, number>();
  readonly #idle: Array<() => void> = [];
  readonly #metrics: QueueMetrics | undefined;

  constructor(options: WorkQueueOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#baseDelayMs = options.baseDelayMs ?? 5;
    this.#maxDelayMs = options.maxDelayMs ?? 60_000;
    const { measured } = options;
    this.#metrics = measured && new QueueMetrics(measured.metrics, measured.name, this);
  }

  /** Keys ready now, not counting delayed ones. */
  get size(): number {
    return this.#waiting.size;
  }
  /** Keys ready or in a worker's hands. */
  get busy(): number {
    return this.#waiting.size + this.#handled.size;
  }

  /** How long each key in a worker's hands has been there. */
  handlingMs(): number[] {
    const nowMs = this.#clock.monotonicMs();
    return [...this.#handled.values()].map((sinceMs) => nowMs - sinceMs);
  }

  add(key: string): void {
    if (this.#handled.has(key)) {
      this.#again.add(key);
      return;
    }
    if (!this.#waiting.has(key)) {
      this.#waiting.set(key, this.#clock.monotonicMs());
      this.#metrics?.added();
    }
    this.#idle.shift()?.();
  }

  /** The earliest of several delays for a key counts. */
  addAfter(key: string, delayMs: number): void {
    if (delayMs <= 0) return this.add(key);
    const dueMs = this.#clock.monotonicMs() + delayMs;
    const planned = this.#delayed.get(key);
    if (planned && planned.dueMs <= dueMs) return;
    planned?.timer.cancel();
    const timer = this.#clock.after(delayMs, () => {
      this.#delayed.delete(key);
      this.add(key);
    });
    this.#delayed.set(key, { dueMs, timer });
  }

  addRateLimited(key: string): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    this.#metrics?.retried();
    this.addAfter(key, Math.min(this.#baseDelayMs * 2 ** failures, this.#maxDelayMs));
  }

  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Runs `workers` workers until the signal aborts; resolves when all have finished what they held. A handler that throws delays its key. */
  async run(workers: number, handle: KeyHandler, signal: AbortSignal): Promise<void> {
    const wakeAll = () => this.#idle.splice(0).forEach((wake) => wake());
    signal.addEventListener("abort", wakeAll, { once: true });
    await Promise.all(Array.from({ length: workers }, () => this.#work(handle, signal)));
    for (const { timer } of this.#delayed.values()) timer.cancel();
    this.#delayed.clear();
  }

  async #work(handle: KeyHandler, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const next = this.#waiting.entries().next();
      if (next.done) {
        await new Promise<void>((resolve) => this.#idle.push(resolve));
        continue;
      }
      const [key, addedMs] = next.value;
      const takenMs = this.#clock.monotonicMs();
      this.#waiting.delete(key);
      this.#handled.set(key, takenMs);
      this.#metrics?.waited(takenMs - addedMs);
      try {
        await handle(key, signal);
        this.forget(key);
      } catch (error) {
        if (signal.aborted) break;
        this.#log?.debug("will try again", { key, error: messageOf(error), failures: this.failures(key) + 1 });
        this.addRateLimited(key);
      } finally {
        this.#handled.delete(key);
        this.#metrics?.worked(this.#clock.monotonicMs() - takenMs);
        if (this.#again.delete(key)) this.add(key);
      }
    }
  }
}
