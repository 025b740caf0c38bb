import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { isPodAvailable, isPodReady, isPodTerminal, REVISION_LABEL, type Pod } from "../common/index.ts";

export type StatefulSet = Stored<k8s.StatefulSet>;

export type Step =
  | { readonly kind: "create"; readonly ordinal: number; readonly revision: "current" | "update" }
  | { readonly kind: "delete"; readonly pod: Pod };

export interface Observed {
  readonly set: StatefulSet;
  readonly pods: readonly Pod[];
  /** Names of the revisions. */
  readonly current: string;
  readonly update: string;
  readonly nowMs: number;
}

export function ordinalOf(pod: { metadata: { name?: string } }): number {
  return Number(/-(\d+)$/.exec(pod.metadata.name ?? "")?.[1] ?? -1);
}

export function revisionOf(pod: Pod): string {
  return pod.metadata.labels?.[REVISION_LABEL] ?? "";
}

function isHealthy(pod: Pod, observed: Observed): boolean {
  if (pod.status?.phase !== "Running" || pod.metadata.deletionTimestamp) return false;
  return isPodReady(pod) && isPodAvailable(pod, observed.set.spec?.minReadySeconds ?? 0, observed.nowMs);
}

/**
 * What to do now: the next step in order, or with podManagementPolicy Parallel all that need not wait for each other.
 * https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#deployment-and-scaling-guarantees
 */
export function planStatefulSet(observed: Observed): Step[] {
  const { set, pods } = observed;
  const start = set.spec?.ordinals?.start ?? 0;
  const end = start + (set.spec?.replicas ?? 1);
  const ordered = set.spec?.podManagementPolicy !== "Parallel";
  const byOrdinal = new Map(pods.map((pod) => [ordinalOf(pod), pod]));
  const steps: Step[] = [];
  for (let ordinal = start; ordinal < end; ordinal++) {
    const pod = byOrdinal.get(ordinal);
    const step = nextFor(pod, ordinal, observed);
    if (step) steps.push(step);
    const settled = pod !== undefined && !step && isHealthy(pod, observed);
    if (ordered && !settled) return steps;
  }
  const condemned = [...byOrdinal.entries()]
    .filter(([ordinal]) => ordinal < start || ordinal >= end)
    .sort(([left], [right]) => right - left);
  for (const [, pod] of condemned) {
    if (!pod.metadata.deletionTimestamp) steps.push({ kind: "delete", pod });
    if (ordered) return steps;
  }
  return steps.length > 0 ? steps : planUpdate(byOrdinal, start, end, observed);
}

function nextFor(pod: Pod | undefined, ordinal: number, observed: Observed): Step | undefined {
  if (!pod) return { kind: "create", ordinal, revision: wantsCurrent(ordinal, observed) ? "current" : "update" };
  if (isPodTerminal(pod) && !pod.metadata.deletionTimestamp && replaceInMs(pod, observed) <= 0)
    return { kind: "delete", pod };
  return undefined;
}

/** A pod that its node refuses at once would otherwise be made anew without end. */
const MIN_LIFE_MS = 2_000;

/** How long an ended pod stays yet; 0 or less: no longer. */
export function replaceInMs(pod: Pod, { nowMs }: Pick<Observed, "nowMs">): number {
  return isPodTerminal(pod) ? Date.parse(pod.metadata.creationTimestamp!) + MIN_LIFE_MS - nowMs : 0;
}

/** During a rolling update, pods below the partition, or not yet reached, are made from the old revision. */
function wantsCurrent(ordinal: number, { set }: Observed): boolean {
  const start = set.spec?.ordinals?.start ?? 0;
  if (set.spec?.updateStrategy?.type === "OnDelete") return false;
  const partition = set.spec?.updateStrategy?.rollingUpdate?.partition;
  if (partition) return ordinal < start + partition;
  return ordinal < start + (set.status?.currentReplicas ?? 0);
}

/** From the highest ordinal down to the partition, one at a time, each healthy before the next. */
function planUpdate(byOrdinal: ReadonlyMap<number, Pod>, start: number, end: number, observed: Observed): Step[] {
  const strategy = observed.set.spec?.updateStrategy;
  if (strategy?.type === "OnDelete") return [];
  const lowest = start + (strategy?.rollingUpdate?.partition ?? 0);
  for (let ordinal = end - 1; ordinal >= lowest; ordinal--) {
    const pod = byOrdinal.get(ordinal);
    if (!pod) return [];
    if (revisionOf(pod) !== observed.update && !pod.metadata.deletionTimestamp) return [{ kind: "delete", pod }];
    if (!isHealthy(pod, observed)) return [];
  }
  return [];
}

export function statusOf(observed: Observed): k8s.StatefulSetStatus {
  const { set, pods, update, nowMs } = observed;
  const live = pods.filter((pod) => !pod.metadata.deletionTimestamp);
  const count = (test: (pod: Pod) => boolean) => live.filter(test).length;
  const ready = count((pod) => pod.status?.phase === "Running" && isPodReady(pod));
  const updated = count((pod) => revisionOf(pod) === update);
  const replicas = count(() => true);
  const rolledOut =
    set.spec?.updateStrategy?.type !== "OnDelete" &&
    updated === (set.spec?.replicas ?? 1) &&
    updated === replicas &&
    ready === replicas;
  const current = rolledOut ? update : observed.current;
  return {
    ...set.status,
    observedGeneration: set.metadata.generation,
    replicas,
    readyReplicas: ready || undefined,
    availableReplicas: count((pod) => isPodReady(pod) && isPodAvailable(pod, set.spec?.minReadySeconds ?? 0, nowMs)),
    currentReplicas: count((pod) => revisionOf(pod) === current) || undefined,
    updatedReplicas: updated || undefined,
    currentRevision: current,
    updateRevision: update,
    collisionCount: set.status?.collisionCount ?? 0,
  };
}
