import type { Clock, Timer } from "../../base/index.ts";

/** What never arrives is given up after this long (upstream's ExpectationsTimeout). */
const TIMEOUT_MS = 5 * 60_000;

interface Expected {
  creations: number;
  readonly deletions: Set<string>;
  readonly sinceMs: number;
  readonly timer: Timer;
}

/**
 * What a controller has written and its informer has not seen yet. While something is outstanding for a key, the cache is stale for it and
 * the controller must neither create nor delete.
 */
export class Expectations {
  readonly #clock: Clock;
  readonly #recheck: (key: string) => void;
  readonly #expected = new Map<string, Expected>();

  /** `recheck` is told of a key whose writes were waited for long enough: without it nobody would look at the key again. */
  constructor(clock: Clock, recheck: (key: string) => void) {
    this.#clock = clock;
    this.#recheck = recheck;
  }
  satisfied(key: string): boolean {
    const expected = this.#expected.get(key);
    if (!expected) return true;
    if (expected.creations <= 0 && expected.deletions.size === 0) return true;
    return this.#clock.monotonicMs() - expected.sinceMs > TIMEOUT_MS;
  }
  expectCreations(key: string, count: number): void {
    this.#fresh(key).creations += count;
  }
  expectDeletions(key: string, uids: readonly string[]): void {
    const { deletions } = this.#fresh(key);
    for (const uid of uids) deletions.add(uid);
  }
  creationObserved(key: string): void {
    const expected = this.#expected.get(key);
    if (expected) expected.creations--;
  }
  deletionObserved(key: string, uid: string): void {
    this.#expected.get(key)?.deletions.delete(uid);
  }
  forget(key: string): void {
    this.#expected.get(key)?.timer.cancel();
    this.#expected.delete(key);
  }
  #fresh(key: string): Expected {
    const old = this.#expected.get(key);
    if (old && !this.satisfied(key)) return old;
    old?.timer.cancel();
    const timer = this.#clock.after(TIMEOUT_MS + 1, () => this.#recheck(key));
    const fresh = { creations: 0, deletions: new Set<string>(), sinceMs: this.#clock.monotonicMs(), timer };
    this.#expected.set(key, fresh);
    return fresh;
  }
}
