import { formatBinaryQuantity, type Clock } from "../../../base/index.ts";
import type { Pod } from "../pod/imports.ts";
import type { Verdict } from "../pod/verdict.ts";
import { limitsStorage, overLimit, type StorageUsage } from "./local-storage.ts";
import { evictionOrder, type PodUsage } from "./rank.ts";
import { crossed, pressureOf, resourceOf, type Observations, type Threshold } from "./thresholds.ts";

export interface EvictionDeps {
  readonly clock: Clock;
  readonly thresholds: readonly Threshold[];
  readonly soft?: SoftEviction;
  readonly observe: () => Promise<Observations>;
  readonly pods: () => readonly Pod[];
  /** By uid of Pod. Asked only under pressure. */
  readonly usage: () => Promise<ReadonlyMap<string, PodUsage>>;
  /** Frees disk that no Pod uses; true when that was worth waiting for. */
  readonly reclaimDisk: () => Promise<boolean>;
  /** Asked only for Pods that limit it. */
  readonly storage: (pods: readonly Pod[]) => Promise<ReadonlyMap<Pod, StorageUsage>>;
  readonly evict: (pod: Pod, verdict: Verdict, graceSeconds: number) => void;
}

/** Thresholds that have to be crossed for a while before a Pod goes, which then gets some grace. */
export interface SoftEviction {
  readonly thresholds: readonly Threshold[];
  /** By signal. */
  readonly graceMs: ReadonlyMap<string, number>;
  readonly maxPodGraceSeconds: number;
}

/** A condition stays this long after the pressure went, so that it does not flap. Upstream's default. */
const TRANSITION_MS = 300_000;
/** What a Pod gets when there is no time to lose. Upstream's. */
const IMMEDIATE_SECONDS = 1;
const NONE: PodUsage = { memoryBytes: 0, diskBytes: 0, processes: 0 };

/** Ends Pods before the node runs out: one at a time, the least deserving first. */
export class Eviction {
  readonly #deps: EvictionDeps;
  /** Since when each soft threshold is crossed. */
  readonly #softSinceMs = new Map<Threshold, number>();
  readonly #lastSeenMs = new Map<"memory" | "disk" | "pid", number>();

  constructor(deps: EvictionDeps) {
    this.#deps = deps;
  }

  /** For the node's conditions. */
  pressure(): { memory: boolean; disk: boolean; pid: boolean } {
    const nowMs = this.#deps.clock.monotonicMs();
    const holds = (kind: "memory" | "disk" | "pid") => {
      const seenMs = this.#lastSeenMs.get(kind);
      return seenMs !== undefined && nowMs - seenMs < TRANSITION_MS;
    };
    return { memory: holds("memory"), disk: holds("disk"), pid: holds("pid") };
  }

  /** One look at the node; true when it found new pressure. */
  async round(): Promise<boolean> {
    const { clock, thresholds, soft, observe, pods, usage, reclaimDisk, evict } = this.#deps;
    await this.#checkLimits();
    const observations = await observe();
    const hard = crossed(thresholds, observations);
    const softly = crossed(soft?.thresholds ?? [], observations);
    const before = JSON.stringify(this.pressure());
    for (const { signal } of [...hard, ...softly]) this.#lastSeenMs.set(pressureOf(signal), clock.monotonicMs());
    const first = hard[0] ?? this.#overdue(softly);
    if (!first) return before !== JSON.stringify(this.pressure());
    const relieved = pressureOf(first.signal) === "disk" && (await reclaimDisk());
    if (!relieved) {
      const used = await usage();
      const [victim] = evictionOrder(pods(), (pod) => used.get(pod.metadata.uid!) ?? NONE, first.signal);
      const graceSeconds =
        hard.length > 0
          ? IMMEDIATE_SECONDS
          : Math.min(victim?.spec?.terminationGracePeriodSeconds ?? 30, soft!.maxPodGraceSeconds);
      if (victim) evict(victim, { reason: "Evicted", message: evictionMessage(first, observations) }, graceSeconds);
    }
    return before !== JSON.stringify(this.pressure());
  }

  /** The first soft threshold that has been crossed for all of its grace. */
  #overdue(softly: readonly Threshold[]): Threshold | undefined {
    const nowMs = this.#deps.clock.monotonicMs();
    for (const threshold of this.#softSinceMs.keys())
      if (!softly.includes(threshold)) this.#softSinceMs.delete(threshold);
    for (const threshold of softly) if (!this.#softSinceMs.has(threshold)) this.#softSinceMs.set(threshold, nowMs);
    const graceMs = (threshold: Threshold) => this.#deps.soft?.graceMs.get(threshold.signal) ?? 0;
    return softly.find((threshold) => nowMs - this.#softSinceMs.get(threshold)! >= graceMs(threshold));
  }

  /** A Pod that keeps more than its own limits allow goes, whatever room there is. */
  async #checkLimits(): Promise<void> {
    const limited = this.#deps.pods().filter((pod) => pod.status?.phase === "Running" && limitsStorage(pod));
    if (limited.length === 0) return;
    for (const [pod, usage] of await this.#deps.storage(limited)) {
      const verdict = overLimit(pod, usage);
      if (verdict) this.#deps.evict(pod, verdict, IMMEDIATE_SECONDS);
    }
  }
}

function evictionMessage({ signal, text, share }: Threshold, observations: Observations): string {
  const { available, capacity } = observations[signal]!;
  const threshold = share === undefined ? text : formatBinaryQuantity(share * capacity);
  return `The node was low on resource: ${resourceOf(signal)}. Threshold quantity: ${threshold}, available: ${formatBinaryQuantity(available)}. `;
}
