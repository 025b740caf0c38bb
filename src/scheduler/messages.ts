import type { Diagnosis } from "./cycle.ts";

/** `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: …` */
export function explainUnschedulable(diagnosis: Diagnosis, preemption: string): string {
  if (diagnosis.nodeCount === 0) return "no nodes available to schedule pods";
  let message = `0/${diagnosis.nodeCount} nodes are available:`;
  if (diagnosis.preFilter) message += ` ${diagnosis.preFilter.reasons.join(", ")}.`;
  else {
    const histogram = new Map<string, number>();
    for (const { reasons } of diagnosis.refusals.values()) {
      for (const reason of reasons) histogram.set(reason, (histogram.get(reason) ?? 0) + 1);
    }
    const parts = [...histogram].map(([reason, count]) => `${count} ${reason}`).sort();
    if (parts.length > 0) message += ` ${parts.join(", ")}.`;
  }
  return preemption ? `${message} ${preemption}` : message;
}
