/** Delays before a machine that keeps ending is started again: as the kubelet's of containers. */
const FIRST_MS = 10_000;
const MAX_MS = 300_000;
/** Who ran so long begins anew. */
const STEADY_MS = 600_000;

interface Ends {
  readonly count: number;
  readonly notBeforeMs: number;
  /** The end that was counted last. */
  readonly seenMs: number;
}

/** How often each machine ended since it last ran for long. In memory: a daemon that starts anew tries all at once. */
export class Restarts {
  readonly #ends = new Map<string, Ends>();

  /** Counts an end, once. Returns the moment from which it may be started again; the first time at once. */
  ended(uid: string, endMs: number, ranMs: number): number {
    const before = this.#ends.get(uid);
    if (before?.seenMs === endMs) return before.notBeforeMs;
    const count = (ranMs >= STEADY_MS ? 0 : (before?.count ?? 0)) + 1;
    const delayMs = count === 1 ? 0 : Math.min(MAX_MS, FIRST_MS * 2 ** (count - 2));
    this.#ends.set(uid, { count, notBeforeMs: endMs + delayMs, seenMs: endMs });
    return endMs + delayMs;
  }

  count(uid: string): number {
    return this.#ends.get(uid)?.count ?? 0;
  }

  forget(uid: string): void {
    this.#ends.delete(uid);
  }
}

const FIRST_FAILURE_MS = 500;

/** When what failed may be tried again: ever later, until the object's spec changes or it works. */
export class Failures {
  readonly #failed = new Map<string, { generation: number; count: number; notBeforeMs: number }>();

  /** Returns after how long to try again. */
  add({ metadata }: Failed, nowMs: number): number {
    const { uid = "", generation = 0 } = metadata ?? {};
    const before = this.#failed.get(uid);
    const count = before?.generation === generation ? before.count + 1 : 1;
    const delayMs = count === 1 ? FIRST_FAILURE_MS : Math.min(MAX_MS, FIRST_MS * 2 ** (count - 2));
    this.#failed.set(uid, { generation, count, notBeforeMs: nowMs + delayMs });
    return delayMs;
  }

  /** 0 or less: now. */
  leftMs({ metadata }: Failed, nowMs: number): number {
    const known = this.#failed.get(metadata?.uid ?? "");
    return known && known.generation === metadata?.generation ? known.notBeforeMs - nowMs : 0;
  }

  forget({ metadata }: Failed): void {
    this.#failed.delete(metadata?.uid ?? "");
  }
}

interface Failed {
  readonly metadata?: { readonly uid?: string; readonly generation?: number };
}
