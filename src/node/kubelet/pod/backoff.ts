import type { Clock } from "../../../base/index.ts";

const FIRST_MS = 10_000;
const MAX_MS = 300_000;
const MAX_KEYS = 20_000;

/** Doubling delays by key, from 10 s to 5 min, forgotten after twice the longest. As the kubelet's for crashing containers and failing pulls. */
export class Backoff {
  readonly #clock: Clock;
  readonly #entries = new Map<string, { delayMs: number; sinceMs: number; why: string }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What is left of the delay that began at `eventMs` (the last failure). */
  remainingMs(key: string, nowMs: number, eventMs?: number): number {
    const entry = this.#entries.get(key);
    if (!entry || nowMs - entry.sinceMs > 2 * MAX_MS) return 0;
    return Math.max(0, (eventMs ?? entry.sinceMs) + entry.delayMs - nowMs);
  }

  delayMs(key: string): number {
    return this.#entries.get(key)?.delayMs ?? FIRST_MS;
  }

  why(key: string): string {
    return this.#entries.get(key)?.why ?? "";
  }

  /** One more attempt is made now: the next one waits twice as long. */
  next(key: string, nowMs = this.#clock.nowMs(), why = ""): void {
    const old = this.#entries.get(key);
    const delayMs = !old || nowMs - old.sinceMs > 2 * MAX_MS ? FIRST_MS : Math.min(old.delayMs * 2, MAX_MS);
    if (this.#entries.size >= MAX_KEYS) this.#entries.clear();
    this.#entries.set(key, { delayMs, sinceMs: nowMs, why });
  }

  reset(key: string): void {
    this.#entries.delete(key);
  }

  resetPrefix(prefix: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(prefix)) this.#entries.delete(key);
  }
}
