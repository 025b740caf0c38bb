import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";

export type Pod = Stored<k8s.Pod>;

export function podCondition(pod: k8s.Pod, type: string): k8s.PodCondition | undefined {
  return pod.status?.conditions?.find((condition) => condition.type === type);
}

export function isPodReady(pod: k8s.Pod): boolean {
  return podCondition(pod, "Ready")?.status === "True";
}

export function isPodTerminal(pod: k8s.Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

/** Neither finished nor on its way out. */
export function isPodActive(pod: k8s.Pod): boolean {
  return !isPodTerminal(pod) && !pod.metadata.deletionTimestamp;
}

/** Ready for at least `minReadySeconds`. */
export function isPodAvailable(pod: k8s.Pod, minReadySeconds: number, nowMs: number): boolean {
  return availableInMs(pod, minReadySeconds, nowMs) === 0;
}

/** How long until the pod counts as available: 0 when it does, undefined when it is not ready. */
export function availableInMs(pod: k8s.Pod, minReadySeconds: number, nowMs: number): number | undefined {
  if (!isPodReady(pod)) return undefined;
  if (minReadySeconds === 0) return 0;
  const since = podCondition(pod, "Ready")?.lastTransitionTime;
  if (!since) return undefined;
  return Math.max(0, Date.parse(since) + minReadySeconds * 1000 - nowMs);
}

export function restartsOf(pod: k8s.Pod): number {
  return Math.max(0, ...(pod.status?.containerStatuses ?? []).map((status) => status.restartCount ?? 0));
}

const PHASE_RANK: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };

/**
 * Which of two pods a shrinking set gives up first (negative: the left one). Upstream: ActivePodsWithRanks. `rank` counts how many pods of
 * the same set share the pod's node.
 */
export function compareForDeletion(rank: (pod: Pod) => number, nowMs: number): (left: Pod, right: Pod) => number {
  const steps: ((pod: Pod) => number)[] = [
    (pod) => (pod.spec?.nodeName ? 1 : 0),
    (pod) => PHASE_RANK[pod.status?.phase ?? "Pending"] ?? 0,
    (pod) => (isPodReady(pod) ? 1 : 0),
    (pod) => Number(pod.metadata.annotations?.["controller.kubernetes.io/pod-deletion-cost"] ?? 0),
    (pod) => -rank(pod),
    // Those ready, or created, more recently go first; ages count by powers of two so that small differences don't.
    (pod) => ageBucket(podCondition(pod, "Ready")?.lastTransitionTime, nowMs),
    (pod) => -restartsOf(pod),
    (pod) => ageBucket(pod.metadata.creationTimestamp, nowMs),
  ];
  return (left, right) => {
    for (const step of steps) {
      const difference = step(left) - step(right);
      if (difference !== 0) return difference;
    }
    return left.metadata.uid < right.metadata.uid ? -1 : 1;
  };
}

function ageBucket(since: string | undefined, nowMs: number): number {
  if (!since) return -1;
  return Math.floor(Math.log2(Math.max(1, (nowMs - Date.parse(since)) / 1000)));
}
