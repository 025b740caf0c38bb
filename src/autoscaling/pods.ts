import type { k8s } from "../api/index.ts";
import { parseMilli } from "../base/index.ts";
import type { PodUsage } from "./metrics.ts";

/** Upstream's cpu-initialization-period and initial-readiness-delay. */
const INITIALIZATION_MS = 5 * 60_000;
const READINESS_DELAY_MS = 30_000;

/** A Scale's selector is text: `app=web,tier in (a,b)`. */
export function selectorOf(scale: k8s.Scale): k8s.LabelSelector {
  const matchExpressions: k8s.LabelSelectorRequirement[] = [];
  for (const [, part = ""] of (scale.status?.selector ?? "").matchAll(/((?:[^,(]|\([^)]*\))+)/g)) {
    const set = /^(\S+) (in|notin) \(([^)]*)\)$/.exec(part.trim());
    const equal = /^([^=!]+)(!=|==?)(.*)$/.exec(part.trim());
    if (set)
      matchExpressions.push({ key: set[1]!, operator: set[2] === "in" ? "In" : "NotIn", values: set[3]!.split(",") });
    else if (equal)
      matchExpressions.push({ key: equal[1]!, operator: equal[2] === "!=" ? "NotIn" : "In", values: [equal[3]!] });
    else
      matchExpressions.push({
        key: part.trim().replace(/^!/, ""),
        operator: part.trim().startsWith("!") ? "DoesNotExist" : "Exists",
      });
  }
  return { matchExpressions };
}

/** Neither going nor finished: its figures count. */
export function isCounted({ metadata, status }: k8s.Pod): boolean {
  return !metadata.deletionTimestamp && status?.phase !== "Failed" && status?.phase !== "Succeeded";
}

/**
 * Whether a figure says what the pod needs, and not what starting costs. Only CPU is told apart: while a pod is young, a figure counts
 * that was measured wholly after it became ready; later, one that was never ready does not.
 */
export function isSettled(pod: k8s.Pod, resource: string, usage: PodUsage | undefined, nowMs: number): boolean {
  const { phase, startTime, conditions } = pod.status ?? {};
  if (phase === "Pending") return false;
  if (resource !== "cpu") return true;
  const ready = conditions?.find(({ type }) => type === "Ready");
  if (!ready || startTime === undefined) return false;
  const startedMs = Date.parse(startTime);
  const changedMs = Date.parse(ready.lastTransitionTime ?? startTime);
  if (nowMs < startedMs + INITIALIZATION_MS)
    return ready.status === "True" && (usage?.atMs === undefined || usage.atMs >= changedMs + (usage.windowMs ?? 0));
  return ready.status === "True" || changedMs > startedMs + READINESS_DELAY_MS;
}

/** What the pod uses, or one container of it. */
export function usedBy({ milliByContainer }: PodUsage, container: string | undefined): number {
  if (container !== undefined) return milliByContainer[container] ?? 0;
  return Object.values(milliByContainer).reduce((sum, value) => sum + value, 0);
}

/** 0 when a container requests nothing: a share of it has no meaning. */
export function requestOf(pod: k8s.Pod, resource: string, container: string | undefined): number {
  const containers = (pod.spec?.containers ?? []).filter(({ name }) => container === undefined || name === container);
  const amounts = containers.map(({ resources: wanted }) => parseMilli(wanted?.requests?.[resource] ?? "0"));
  return amounts.includes(0) ? 0 : amounts.reduce((sum, amount) => sum + amount, 0);
}
