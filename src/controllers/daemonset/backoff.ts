const FIRST_MS = 1000;
const MOST_MS = 15 * 60_000;
/** Bounds what is remembered; the oldest go first. */
const MAX_REMEMBERED = 10_000;

/** How long a Pod that failed on a node is left alone before it is replaced: twice as long each time, so that a node that refuses it is not stormed. */
export class FailedPodBackoff {
  readonly #since = new Map<string, { readonly delayMs: number; readonly atMs: number }>();

  /** Milliseconds that are left to wait for; 0: it may be replaced now, and the next time takes longer. */
  next(key: string, nowMs: number): number {
    const before = this.#since.get(key);
    if (before !== undefined && nowMs - before.atMs < before.delayMs) return before.atMs + before.delayMs - nowMs;
    const isFresh = before === undefined || nowMs - before.atMs > 2 * MOST_MS;
    const delayMs = isFresh ? FIRST_MS : Math.min(before.delayMs * 2, MOST_MS);
    this.#since.delete(key);
    this.#since.set(key, { delayMs, atMs: nowMs });
    if (this.#since.size > MAX_REMEMBERED) this.#since.delete(this.#since.keys().next().value!);
    return 0;
  }
}
