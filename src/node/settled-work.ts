import type { Clock, Timer } from "../base/index.ts";

/** Does one piece of work again and again, soon after something has changed: changes that arrive together are one run, and runs never overlap. */
export class SettledWork {
  readonly #clock: Clock;
  readonly #settleMs: number;
  readonly #work: () => Promise<void>;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #closed = false;

  /** `work` handles its own errors. */
  constructor(clock: Clock, settleMs: number, work: () => Promise<void>) {
    this.#clock = clock;
    this.#settleMs = settleMs;
    this.#work = work;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Something has changed. A run that is due already takes it in. */
  touch(afterMs = this.#settleMs): void {
    if (!this.#closed) this.#timer ??= this.#clock.after(afterMs, () => void this.now());
  }

  /** Without waiting. Resolves after the run. */
  now(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#running = this.#running.then(() => (this.#closed ? undefined : this.#work()));
    return this.#running;
  }

  /** Waits for the run that is under way; there is no further one. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#running;
  }
}
