import type { k8s } from "../api/index.ts";
import { rfc3339, type Clock } from "../base/index.ts";
import type { Bounded } from "./plan.ts";

/** An autoscaler's conditions while they are worked out, in upstream's words. */
export class ScalingConditions {
  readonly list: k8s.HorizontalPodAutoscalerCondition[];
  readonly #clock: Clock;

  constructor(known: readonly k8s.HorizontalPodAutoscalerCondition[] | undefined, clock: Clock) {
    this.list = [...(known ?? [])];
    this.#clock = clock;
  }

  set(type: string, status: "True" | "False", reason: string, message: string): void {
    const at = this.list.findIndex((condition) => condition.type === type);
    const old = this.list[at];
    const lastTransitionTime = old?.status === status ? old.lastTransitionTime : rfc3339(this.#clock.nowMs());
    this.list[at < 0 ? this.list.length : at] = { type, status, reason, message, lastTransitionTime };
  }

  /** What came of a wish. */
  setOutcome({ stabilized, limited }: Bounded): void {
    if (stabilized)
      this.set(
        "AbleToScale",
        "True",
        "ScaleDownStabilized",
        "recent recommendations were higher than current one, applying the highest recent recommendation",
      );
    else this.set("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size");
    if (limited) this.set("ScalingLimited", "True", limited.reason, limited.message);
    else this.set("ScalingLimited", "False", "DesiredWithinRange", "the desired count is within the acceptable range");
  }
}
