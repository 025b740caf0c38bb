import type { Clock, Timer } from "../base/index.ts";
import type { ClusterEvent } from "./framework.ts";
import type { Pod, PodInfo } from "./pod-info.ts";

export interface QueuedPod {
  info: PodInfo;
  /** When it was first seen, or became schedulable again: ties among equal priorities. */
  readonly since: number;
  attempts: number;
  /** Plugins that refused it the last time; empty for an error, which any event or the backoff's end retries. */
  refusedBy: ReadonlySet<string>;
  /** When its last attempt failed. */
  failedMs: number;
}

const INITIAL_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 10_000;
/** A pod that nothing woke is tried again after this long anyway. */
const MAX_UNSCHEDULABLE_MS = 5 * 60_000;
const FLUSH_MS = 30_000;

export interface QueueOptions {
  readonly clock: Clock;
  /** Whether an event may make a pod fit that this plugin refused. */
  readonly mayHelp: (plugin: string, pod: Pod, event: ClusterEvent) => boolean;
  /** Called when a pod is ready to be popped and was not before. */
  readonly wake: () => void;
}

/** Pods to be scheduled: ready ones by priority, then age; failed ones in backoff; unschedulable ones until something may help; gated ones. */
export class SchedulingQueue {
  readonly #options: QueueOptions;
  readonly #ready: QueuedPod[] = [];
  readonly #backoff = new Map<string, { queued: QueuedPod; timer: Timer }>();
  readonly #unschedulable = new Map<string, QueuedPod>();
  readonly #known = new Map<string, QueuedPod>();
  readonly #gated = new Map<string, Pod>();
  #flush: Timer | undefined;
  #sequence = 0;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#known.size;
  }
  get hasReady(): boolean {
    return this.#ready.length > 0;
  }
  counts(): { active: number; backoff: number; unschedulable: number; gated: number } {
    return {
      active: this.#ready.length,
      backoff: this.#backoff.size,
      unschedulable: this.#unschedulable.size,
      gated: this.#gated.size,
    };
  }

  add(info: PodInfo): void {
    if (info.pod.spec?.schedulingGates?.length) {
      this.#gated.set(info.uid, info.pod);
      return;
    }
    this.#gated.delete(info.uid);
    if (this.#known.has(info.uid)) return this.update(info);
    const queued: QueuedPod = { info, since: this.#sequence++, attempts: 0, refusedBy: new Set(), failedMs: 0 };
    this.#known.set(info.uid, queued);
    this.#activate(queued);
  }

  /** A newer copy of a waiting pod. Changes of its spec or labels may make it schedulable. */
  update(info: PodInfo): void {
    const queued = this.#known.get(info.uid);
    if (!queued) return this.add(info);
    const before = queued.info.pod;
    queued.info = info;
    if (!this.#unschedulable.has(info.uid)) return;
    if (before.spec === info.pod.spec && before.metadata.labels === info.pod.metadata.labels) return;
    if (
      before.metadata.generation !== info.pod.metadata.generation ||
      JSON.stringify(before.metadata.labels) !== JSON.stringify(info.pod.metadata.labels)
    ) {
      this.#unschedulable.delete(info.uid);
      this.#activate(queued);
    }
  }

  remove(uid: string): void {
    this.#gated.delete(uid);
    const queued = this.#known.get(uid);
    if (!queued) return;
    this.#known.delete(uid);
    this.#unschedulable.delete(uid);
    this.#backoff.get(uid)?.timer.cancel();
    this.#backoff.delete(uid);
    // What waits in the heap is skipped when popped: a removal from its middle would cost its length.
  }

  /** The most urgent pod; it is in nobody's list until `failed` or `done`. */
  pop(): QueuedPod | undefined {
    for (;;) {
      const queued = heapPop(this.#ready);
      if (!queued) return undefined;
      if (this.#known.get(queued.info.uid) === queued) return queued;
    }
  }

  done(uid: string): void {
    this.#known.delete(uid);
  }

  /** No node would do: waits for an event that one of the refusing plugins says may help. */
  unschedulable(queued: QueuedPod, refusedBy: ReadonlySet<string>): void {
    if (!this.#fail(queued, refusedBy)) return;
    this.#unschedulable.set(queued.info.uid, queued);
    this.#armFlush();
  }

  /** Something went wrong that may be better soon: tried again after the backoff. */
  retry(queued: QueuedPod): void {
    if (this.#fail(queued, new Set())) this.#backOff(queued);
  }

  /** Something happened in the cluster. */
  event(event: ClusterEvent): void {
    if (this.#unschedulable.size === 0) return;
    for (const queued of Array.from(this.#unschedulable.values())) {
      for (const plugin of queued.refusedBy) {
        if (!this.#options.mayHelp(plugin, queued.info.pod, event)) continue;
        this.#unschedulable.delete(queued.info.uid);
        this.#backOff(queued);
        break;
      }
    }
  }

  close(): void {
    this.#flush?.cancel();
    for (const { timer } of this.#backoff.values()) timer.cancel();
    this.#backoff.clear();
  }

  #fail(queued: QueuedPod, refusedBy: ReadonlySet<string>): boolean {
    if (this.#known.get(queued.info.uid) !== queued) return false;
    queued.attempts++;
    queued.refusedBy = refusedBy;
    queued.failedMs = this.#options.clock.monotonicMs();
    return true;
  }

  #activate(queued: QueuedPod): void {
    heapPush(this.#ready, queued);
    this.#options.wake();
  }

  #backOff(queued: QueuedPod): void {
    const durationMs = Math.min(INITIAL_BACKOFF_MS * 2 ** (queued.attempts - 1), MAX_BACKOFF_MS);
    const leftMs = queued.failedMs + durationMs - this.#options.clock.monotonicMs();
    if (leftMs <= 0) return this.#activate(queued);
    const timer = this.#options.clock.after(leftMs, () => {
      this.#backoff.delete(queued.info.uid);
      this.#activate(queued);
    });
    this.#backoff.set(queued.info.uid, { queued, timer });
  }

  #armFlush(): void {
    this.#flush ??= this.#options.clock.after(FLUSH_MS, () => {
      this.#flush = undefined;
      const beforeMs = this.#options.clock.monotonicMs() - MAX_UNSCHEDULABLE_MS;
      for (const queued of Array.from(this.#unschedulable.values())) {
        if (queued.failedMs > beforeMs) continue;
        this.#unschedulable.delete(queued.info.uid);
        this.#activate(queued);
      }
      if (this.#unschedulable.size > 0) this.#armFlush();
    });
  }
}

function isBefore(left: QueuedPod, right: QueuedPod): boolean {
  if (left.info.priority !== right.info.priority) return left.info.priority > right.info.priority;
  return left.since < right.since;
}

function heapPush(heap: QueuedPod[], item: QueuedPod): void {
  let at = heap.push(item) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(item, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = item;
}

function heapPop(heap: QueuedPod[]): QueuedPod | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (!top || !last || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (!isBefore(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
