import { formatBinaryQuantity, parseQuantity, type Clock } from "../../../base/index.ts";
import type { Pod } from "../pod/imports.ts";
import type { Verdict } from "../pod/verdict.ts";
import { evictionOrder, type PodUsage } from "./rank.ts";
import { crossed, pressureOf, resourceOf, type Observations, type Threshold } from "./thresholds.ts";

export interface EvictionDeps {
  readonly clock: Clock;
  readonly thresholds: readonly Threshold[];
  readonly observe: () => Promise<Observations>;
  readonly pods: () => readonly Pod[];
  /** By uid of Pod. Asked only under pressure. */
  readonly usage: () => Promise<ReadonlyMap<string, PodUsage>>;
  /** Frees disk that no Pod uses; true when that was worth waiting for. */
  readonly reclaimDisk: () => Promise<boolean>;
  /** Bytes in a Pod's emptyDir on disk. */
  readonly emptyDirBytes: (pod: Pod, volume: string) => Promise<number>;
  readonly evict: (pod: Pod, verdict: Verdict) => void;
}

/** A condition stays this long after the pressure went, so that it does not flap. Upstream's default. */
const TRANSITION_MS = 300_000;
const NONE: PodUsage = { memoryBytes: 0, diskBytes: 0, processes: 0 };

/** Ends Pods before the node runs out: one at a time, the least deserving first. */
export class Eviction {
  readonly #deps: EvictionDeps;
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
    const { clock, thresholds, observe, pods, usage, reclaimDisk, evict } = this.#deps;
    await this.#checkLimits();
    const observations = await observe();
    const over = crossed(thresholds, observations);
    const before = JSON.stringify(this.pressure());
    for (const { signal } of over) this.#lastSeenMs.set(pressureOf(signal), clock.monotonicMs());
    const [first] = over;
    if (!first) return false;
    const relieved = pressureOf(first.signal) === "disk" && (await reclaimDisk());
    if (!relieved) {
      const used = await usage();
      const [victim] = evictionOrder(pods(), (pod) => used.get(pod.metadata.uid!) ?? NONE, first.signal);
      if (victim) evict(victim, { reason: "Evicted", message: evictionMessage(first, observations) });
    }
    return before !== JSON.stringify(this.pressure());
  }

  /** A Pod that keeps more in an emptyDir than it may goes, whatever room there is. */
  async #checkLimits(): Promise<void> {
    for (const pod of this.#deps.pods()) {
      for (const { name, emptyDir } of pod.spec?.volumes ?? []) {
        if (!emptyDir?.sizeLimit || emptyDir.medium === "Memory" || pod.status?.phase !== "Running") continue;
        const bytes = await this.#deps.emptyDirBytes(pod, name);
        if (bytes <= parseQuantity(emptyDir.sizeLimit)) continue;
        const message = `Usage of EmptyDir volume "${name}" exceeds the limit "${emptyDir.sizeLimit}".`;
        this.#deps.evict(pod, { reason: "Evicted", message });
        break;
      }
    }
  }
}

function evictionMessage({ signal, text, share }: Threshold, observations: Observations): string {
  const { available, capacity } = observations[signal]!;
  const threshold = share === undefined ? text : formatBinaryQuantity(share * capacity);
  return `The node was low on resource: ${resourceOf(signal)}. Threshold quantity: ${threshold}, available: ${formatBinaryQuantity(available)}. `;
}
