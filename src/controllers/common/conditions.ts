import { rfc3339 } from "../../base/index.ts";

interface ConditionLike {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

/** The list with `condition` in place of the one of its type. The transition time moves only when the status does. */
export function withCondition<C extends ConditionLike>(
  conditions: readonly C[] | undefined,
  condition: C,
  nowMs: number,
): C[] {
  const old = conditions?.find(({ type }) => type === condition.type);
  const kept = old && old.status === condition.status ? old.lastTransitionTime : rfc3339(nowMs);
  const next = { ...condition, lastTransitionTime: kept };
  if (!old) return [...(conditions ?? []), next];
  return conditions!.map((each) => (each.type === condition.type ? next : each));
}

/** Says why a Pod is made to go, so that what replaces it need not count that as its failure. */
export const disruptionTarget = (reason: string, message: string, nowMs: number): Required<ConditionLike> => ({
  type: "DisruptionTarget",
  status: "True",
  reason,
  message,
  lastTransitionTime: rfc3339(nowMs),
});

export function withoutCondition<C extends ConditionLike>(conditions: readonly C[] | undefined, type: string): C[] {
  return (conditions ?? []).filter((condition) => condition.type !== type);
}

/** A whole number or a percentage of `total`. */
export function intOrPercent(value: number | string | undefined, total: number, roundUp: boolean): number {
  if (value === undefined) return 0;
  if (typeof value === "number") return value;
  const scaled = (Number.parseFloat(value) * total) / 100;
  return roundUp ? Math.ceil(scaled) : Math.floor(scaled);
}
