/**
 * Time comes from a Clock, never from `Date` or `setTimeout` directly, so that the simulation can run hours in
 * milliseconds and a test decides when a timer fires. Only this file calls the platform's timers.
 */
export interface Timer {
  /** Idempotent. */
  cancel(): void;
}

export interface Clock {
  /** Wall-clock time, milliseconds since the Unix epoch. May jump. For timestamps that users see. */
  nowMs(): number;
  /** Never goes back. For durations, backoff and deadlines. */
  monotonicMs(): number;
  /** Calls back once after at least `delayMs`. Does not keep the process alive. */
  after(delayMs: number, callback: () => void): Timer;
  /** Resolves after `delayMs`, or rejects with the signal's reason. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/** setTimeout's limit; longer delays are chained. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

abstract class SleepingClock implements Clock {
  abstract nowMs(): number;
  abstract monotonicMs(): number;
  abstract after(delayMs: number, callback: () => void): Timer;

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const onAbort = () => {
        timer.cancel();
        reject(signal?.reason as Error);
      };
      const timer = this.after(delayMs, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}

class SystemClock extends SleepingClock {
  nowMs(): number {
    return Date.now();
  }
  monotonicMs(): number {
    return performance.now();
  }
  after(delayMs: number, callback: () => void): Timer {
    let handle: NodeJS.Timeout;
    const arm = (leftMs: number) => {
      const stepMs = Math.min(Math.max(leftMs, 0), MAX_TIMEOUT_MS);
      handle = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : callback()), stepMs);
      handle.unref();
    };
    arm(delayMs);
    return { cancel: () => clearTimeout(handle) };
  }
}

export const systemClock: Clock = new SystemClock();

/** A clock that moves only when told to. Timers fire in order of their due time, ties in order of creation. */
export class FakeClock extends SleepingClock {
  #nowMs: number;
  #sequence = 0;
  readonly #timers = new Map<number, { dueMs: number; callback: () => void }>();
  readonly #epochMs: number;
  /** How far the wall clock has jumped. */
  #jumpedMs = 0;

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    super();
    this.#epochMs = startMs;
    this.#nowMs = startMs;
  }
  nowMs(): number {
    return this.#nowMs + this.#jumpedMs;
  }
  /** Sets the wall clock forward or back, as an administrator or NTP does. Timers and the monotonic time notice nothing. */
  jump(byMs: number): void {
    this.#jumpedMs += byMs;
  }
  monotonicMs(): number {
    return this.#nowMs - this.#epochMs;
  }
  after(delayMs: number, callback: () => void): Timer {
    const id = this.#sequence++;
    this.#timers.set(id, { dueMs: this.#nowMs + Math.max(0, delayMs), callback });
    return { cancel: () => void this.#timers.delete(id) };
  }
  /** The due time of the next timer, or undefined when none waits. */
  nextDueMs(): number | undefined {
    return this.#next()?.[1].dueMs;
  }
  /** Moves time on by `byMs`, firing what falls due, and lets promise callbacks run between timers. */
  async advance(byMs: number): Promise<void> {
    const targetMs = this.#nowMs + byMs;
    await settle();
    for (let next = this.#next(); next && next[1].dueMs <= targetMs; next = this.#next()) {
      const [id, timer] = next;
      this.#timers.delete(id);
      this.#nowMs = Math.max(this.#nowMs, timer.dueMs);
      timer.callback();
      await settle();
    }
    this.#nowMs = targetMs;
  }
  #next() {
    let best: [number, { dueMs: number; callback: () => void }] | undefined;
    for (const entry of this.#timers) if (!best || entry[1].dueMs < best[1].dueMs) best = entry;
    return best;
  }
}

/** Lets every promise callback and immediate that is ready now run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** RFC 3339 with whole seconds, as Kubernetes' metav1.Time writes it. */
export function rfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, "Z");
}

/** RFC 3339 with microseconds, as Kubernetes' metav1.MicroTime writes it. */
export function rfc3339Micro(ms: number): string {
  const whole = Math.floor(ms);
  const micros = Math.floor((ms - whole) * 1000);
  return new Date(whole).toISOString().replace(/Z$/, `${String(micros).padStart(3, "0")}Z`);
}

/** RFC 3339 with nine fractional digits, as Docker and CRI logs write it. */
export function rfc3339Nano(ms: number): string {
  const whole = Math.floor(ms);
  const nanos = Math.floor((ms - whole) * 1e6);
  return new Date(whole).toISOString().replace(/Z$/, `${String(nanos).padStart(6, "0")}Z`);
}
