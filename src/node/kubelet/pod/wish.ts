import type { Pod } from "./imports.ts";

/** Whether anything but the kubelet's own part of status differs. */
export function wakesWorker(next: Pod, old: Pod): boolean {
  const wish = (pod: Pod) =>
    JSON.stringify([
      pod.spec,
      pod.metadata.labels,
      pod.metadata.annotations,
      pod.metadata.deletionTimestamp,
      pod.metadata.deletionGracePeriodSeconds,
      gateConditions(pod),
    ]);
  return wish(next) !== wish(old);
}

/** Conditions that others set and readiness gates wait for. */
function gateConditions(pod: Pod): unknown {
  const gates = new Set((pod.spec?.readinessGates ?? []).map((gate) => gate.conditionType));
  return (pod.status?.conditions ?? [])
    .filter((condition) => gates.has(condition.type))
    .map((condition) => condition.status);
}
