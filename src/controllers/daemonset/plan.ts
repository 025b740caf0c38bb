import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { intOrPercent, isPodAvailable, isPodReady, REVISION_LABEL, type Pod } from "../common/index.ts";

export type DaemonSet = Stored<k8s.DaemonSet>;
export type Node = Stored<k8s.Node>;

const TOLERATED: readonly k8s.Toleration[] = [
  { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/disk-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/memory-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/pid-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" },
];
const TOLERATED_ON_HOST_NETWORK: k8s.Toleration = {
  key: "node.kubernetes.io/network-unavailable",
  operator: "Exists",
  effect: "NoSchedule",
};

/** The template's spec as a daemon pod on this node has it: bound to it by affinity, tolerating what daemons must outlive. */
export function daemonSpec(template: k8s.PodSpec, nodeName: string): k8s.PodSpec {
  const byName = { matchFields: [{ key: "metadata.name", operator: "In", values: [nodeName] }] };
  const terms = template.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  const nodeSelectorTerms = terms?.length ? terms.map((term) => ({ ...term, ...byName })) : [byName];
  return {
    ...template,
    affinity: {
      ...template.affinity,
      nodeAffinity: {
        ...template.affinity?.nodeAffinity,
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms },
      },
    },
    tolerations: tolerationsOf(template),
  };
}

export function tolerationsOf(template: k8s.PodSpec): k8s.Toleration[] {
  const extra = template.hostNetwork ? [...TOLERATED, TOLERATED_ON_HOST_NETWORK] : TOLERATED;
  const own = template.tolerations ?? [];
  return [
    ...own,
    ...extra.filter(
      ({ key, effect }) => !own.some((one) => one.key === key && one.effect === effect && one.operator === "Exists"),
    ),
  ];
}

export interface DaemonPlan {
  readonly create: string[];
  readonly remove: Pod[];
  /** Pods that have failed or succeeded, replaced with a word about it. */
  readonly ended: Pod[];
}
export interface NodePods {
  readonly node: string;
  readonly shouldRun: boolean;
  readonly shouldStay: boolean;
  readonly pods: readonly Pod[];
}
const isLive = (pod: Pod) => !pod.metadata.deletionTimestamp;

/** One pod on each node that should have one. */
export function planPlacement(nodes: readonly NodePods[], surge: boolean): DaemonPlan {
  const plan: DaemonPlan = { create: [], remove: [], ended: [] };
  for (const { node, shouldRun, shouldStay, pods } of nodes) {
    const finished = pods.filter(
      (pod) => isLive(pod) && (pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded"),
    );
    const running = pods.filter((pod) => isLive(pod) && !finished.includes(pod));
    if (!shouldRun && !shouldStay) {
      plan.remove.push(...running, ...finished);
      continue;
    }
    if (shouldStay) plan.ended.push(...finished);
    if (shouldRun && pods.length === 0) plan.create.push(node);
    // More than one only while a surging update replaces one.
    if (running.length > 1 && !surge) plan.remove.push(...oldestFirst(running).slice(1));
  }
  return plan;
}

function oldestFirst(pods: readonly Pod[]): Pod[] {
  return [...pods].sort((left, right) =>
    (left.metadata.creationTimestamp ?? "") < (right.metadata.creationTimestamp ?? "") ? -1 : 1,
  );
}

/** Which outdated pods go, and where a new one comes up beside the old, in a rolling update. */
export function planUpdate(
  set: DaemonSet,
  nodes: readonly NodePods[],
  hash: string,
  nowMs: number,
): { create: string[]; remove: Pod[] } {
  const wanted = nodes.filter(({ shouldRun }) => shouldRun);
  const rolling = set.spec?.updateStrategy?.rollingUpdate;
  const surge = intOrPercent(rolling?.maxSurge ?? 0, wanted.length, true);
  const unavailable = intOrPercent(rolling?.maxUnavailable ?? 1, wanted.length, true);
  const minReady = set.spec?.minReadySeconds ?? 0;
  const available = (pod: Pod) => isLive(pod) && isPodAvailable(pod, minReady, nowMs);
  const isNew = (pod: Pod) => pod.metadata.labels?.[REVISION_LABEL] === hash;
  const remove: Pod[] = [];
  const create: string[] = [];
  let unavailableNow = 0;
  let surging = 0;
  const replaceable: Pod[] = [];
  const surgeable: string[] = [];
  for (const { node, pods } of wanted) {
    const live = pods.filter(isLive);
    const old = live.find((pod) => !isNew(pod));
    const fresh = live.find(isNew);
    if (!live.some(available)) unavailableNow++;
    if (fresh && old) {
      surging++;
      if (available(fresh) || !available(old)) remove.push(old);
    } else if (old && !available(old)) remove.push(old);
    else if (old) {
      replaceable.push(old);
      surgeable.push(node);
    }
  }
  if (surge > 0) create.push(...surgeable.slice(0, Math.max(0, surge - surging)));
  else remove.push(...replaceable.slice(0, Math.max(0, unavailable - unavailableNow)));
  return { create, remove };
}

export function statusOf(set: DaemonSet, nodes: readonly NodePods[], hash: string, nowMs: number): k8s.DaemonSetStatus {
  const status = { desired: 0, current: 0, misscheduled: 0, ready: 0, available: 0, updated: 0 };
  for (const { shouldRun, pods } of nodes) {
    const live = oldestFirst(pods.filter(isLive));
    const has = live.length > 0;
    if (!shouldRun) {
      if (has) status.misscheduled++;
      continue;
    }
    status.desired++;
    if (!has) continue;
    status.current++;
    if (live.some(isPodReady)) status.ready++;
    if (live.some((pod) => isPodAvailable(pod, set.spec?.minReadySeconds ?? 0, nowMs))) status.available++;
    if (live.some((pod) => pod.metadata.labels?.[REVISION_LABEL] === hash)) status.updated++;
  }
  return {
    ...set.status,
    observedGeneration: set.metadata.generation,
    desiredNumberScheduled: status.desired,
    currentNumberScheduled: status.current,
    numberMisscheduled: status.misscheduled,
    numberReady: status.ready,
    updatedNumberScheduled: status.updated || undefined,
    numberAvailable: status.available || undefined,
    numberUnavailable: status.desired - status.available || undefined,
  };
}
