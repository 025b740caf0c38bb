import { parseQuantity } from "../../../base/index.ts";
import type { Pod } from "../pod/imports.ts";
import type { EvictionSignal } from "./thresholds.ts";

/** What a Pod uses of what is scarce. */
export interface PodUsage {
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly processes: number;
}

const CRITICAL_PRIORITY = 2_000_000_000;

/**
 * The Pods that may go, first to go first: who uses more than it asked for, then the lower priority, then who exceeds most.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#pod-selection-for-kubelet-eviction
 */
export function evictionOrder(pods: readonly Pod[], usage: (pod: Pod) => PodUsage, signal: EvictionSignal): Pod[] {
  const excess = (pod: Pod) => used(usage(pod), signal) - requested(pod, signal);
  const candidates = pods.filter((pod) => (pod.spec?.priority ?? 0) < CRITICAL_PRIORITY && isActive(pod));
  return candidates.toSorted(
    (a, b) =>
      Number(excess(b) > 0) - Number(excess(a) > 0) ||
      (a.spec?.priority ?? 0) - (b.spec?.priority ?? 0) ||
      excess(b) - excess(a),
  );
}

function used(usage: PodUsage, signal: EvictionSignal): number {
  if (signal === "memory.available") return usage.memoryBytes;
  return signal === "pid.available" ? usage.processes : usage.diskBytes;
}

function requested(pod: Pod, signal: EvictionSignal): number {
  const name =
    signal === "memory.available" ? "memory" : signal === "nodefs.available" ? "ephemeral-storage" : undefined;
  if (name === undefined) return 0;
  return (pod.spec?.containers ?? []).reduce(
    (sum, container) => sum + parseQuantity(container.resources?.requests?.[name] ?? "0"),
    0,
  );
}

function isActive(pod: Pod): boolean {
  return pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed" && !pod.metadata.deletionTimestamp;
}
