import type { k8s } from "../../api/index.ts";
import { sameJson } from "../common/index.ts";

const KUBELET_CONDITIONS = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/** What is said of a node that says nothing; undefined when it is said already. */
export function silentConditions(node: k8s.Node, now: string): k8s.NodeCondition[] | undefined {
  const old = node.status?.conditions ?? [];
  const next = [...old];
  for (const type of KUBELET_CONDITIONS) {
    const at = next.findIndex((condition) => condition.type === type);
    const before = next[at];
    if (before?.status === "Unknown") continue;
    const reason = before ? "NodeStatusUnknown" : "NodeStatusNeverUpdated";
    const message = before ? "Kubelet stopped posting node status." : "Kubelet never posted node status.";
    const condition = { ...before, type, status: "Unknown", reason, message, lastTransitionTime: now };
    if (at < 0) next.push({ ...condition, lastHeartbeatTime: node.metadata.creationTimestamp });
    else next[at] = condition;
  }
  return sameJson(old, next) ? undefined : next;
}

interface Rule {
  readonly condition: string;
  readonly status: string;
  readonly key: string;
  readonly effects: readonly ("NoSchedule" | "NoExecute")[];
}
const RULES: readonly Rule[] = [
  { condition: "Ready", status: "False", key: "node.kubernetes.io/not-ready", effects: ["NoSchedule", "NoExecute"] },
  {
    condition: "Ready",
    status: "Unknown",
    key: "node.kubernetes.io/unreachable",
    effects: ["NoSchedule", "NoExecute"],
  },
  { condition: "MemoryPressure", status: "True", key: "node.kubernetes.io/memory-pressure", effects: ["NoSchedule"] },
  { condition: "DiskPressure", status: "True", key: "node.kubernetes.io/disk-pressure", effects: ["NoSchedule"] },
  { condition: "PIDPressure", status: "True", key: "node.kubernetes.io/pid-pressure", effects: ["NoSchedule"] },
  {
    condition: "NetworkUnavailable",
    status: "True",
    key: "node.kubernetes.io/network-unavailable",
    effects: ["NoSchedule"],
  },
];
const OURS = new Set([...RULES.map(({ key }) => key), "node.kubernetes.io/unschedulable"]);

/** Whether a node that isn't ready may lose its Pods: begin to, go on if it has begun, or not at all. */
export type Eviction = "may begin" | "goes on" | "must not be";

/** Whether a taint of ours makes Pods leave. */
export function isBeingEvicted(node: k8s.Node): boolean {
  return node.spec?.taints?.some(({ key, effect }) => effect === "NoExecute" && OURS.has(key)) ?? false;
}

/** The node's taints with those that its conditions call for; undefined when nothing changes. */
export function planTaints(node: k8s.Node, now: string, eviction: Eviction): k8s.Taint[] | undefined {
  const old = node.spec?.taints ?? [];
  const conditions = new Map(node.status?.conditions?.map(({ type, status }) => [type, status]));
  const wanted: { key: string; effect: "NoSchedule" | "NoExecute" }[] = [];
  const evicts = eviction === "may begin" || (eviction === "goes on" && isBeingEvicted(node));
  for (const { condition, status, key, effects } of RULES) {
    if (conditions.get(condition) !== status) continue;
    for (const effect of effects) if (effect !== "NoExecute" || evicts) wanted.push({ key, effect });
  }
  if (node.spec?.unschedulable) wanted.push({ key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" });
  const isWanted = (taint: k8s.Taint) => wanted.some(({ key, effect }) => key === taint.key && effect === taint.effect);
  // A kubelet registers itself with not-ready:NoSchedule before it has any condition.
  const known = conditions.has("Ready");
  const kept = old.filter((taint) => !OURS.has(taint.key) || isWanted(taint) || !known);
  const added = wanted
    .filter(({ key, effect }) => !old.some((taint) => taint.key === key && taint.effect === effect))
    .map((taint) => ({ ...taint, timeAdded: now }));
  return added.length === 0 && kept.length === old.length ? undefined : [...kept, ...added];
}

/** How long a pod may stay on a node because of NoExecute taints: 0 when it must go, undefined when it may stay for good. */
export function evictionDelayMs(pod: k8s.Pod, node: k8s.Node, nowMs: number): number | undefined {
  const taints = node.spec?.taints?.filter(({ effect }) => effect === "NoExecute") ?? [];
  let delayMs: number | undefined;
  for (const taint of taints) {
    const tolerating = (pod.spec?.tolerations ?? []).filter((toleration) => toleratesTaint(toleration, taint));
    if (tolerating.length === 0) return 0;
    const limits = tolerating.flatMap(({ tolerationSeconds }) =>
      tolerationSeconds === undefined ? [] : [Math.max(0, tolerationSeconds)],
    );
    if (limits.length === 0) continue;
    const sinceMs = taint.timeAdded ? Date.parse(taint.timeAdded) : nowMs;
    const leftMs = Math.max(0, sinceMs + Math.min(...limits) * 1000 - nowMs);
    delayMs = Math.min(delayMs ?? leftMs, leftMs);
  }
  return delayMs;
}

function toleratesTaint({ key, operator, value, effect }: k8s.Toleration, taint: k8s.Taint): boolean {
  if (effect && effect !== taint.effect) return false;
  if (key && key !== taint.key) return false;
  return operator === "Exists" || (value ?? "") === (taint.value ?? "");
}
