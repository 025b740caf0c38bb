import type { k8s } from "../api/index.ts";

/** Ratios this close to 1 change nothing (upstream's --horizontal-pod-autoscaler-tolerance). */
const TOLERANCE = 0.1;
const DEFAULT_DOWN_WINDOW_SECONDS = 300;

/** One pod as a metric sees it. `value` undefined: no figure. */
export interface Sample {
  readonly pod: string;
  readonly value: number | undefined;
  /** What a utilization is a share of; the same unit as `value`. */
  readonly request: number;
  readonly ready: boolean;
}

export type Target =
  | { readonly kind: "utilization"; readonly percent: number }
  | { readonly kind: "average"; readonly value: number };

/**
 * How many replicas would bring the average to the target. Pods without a figure count as using nothing when scaling up and as exactly on
 * target when scaling down; pods that are not ready yet as using nothing when scaling up.
 */
export function replicasFor(samples: readonly Sample[], target: Target, current: number): number | undefined {
  const perPod = (sample: Sample) =>
    target.kind === "utilization" ? (sample.request * target.percent) / 100 : target.value;
  const measured = samples.filter(({ value, ready }) => value !== undefined && ready);
  if (measured.length === 0) return undefined;
  const ratioOf = (rows: readonly { used: number; wanted: number }[]) => {
    const wanted = rows.reduce((sum, row) => sum + row.wanted, 0);
    return wanted === 0 ? 1 : rows.reduce((sum, row) => sum + row.used, 0) / wanted;
  };
  const rows = measured.map((sample) => ({ used: sample.value!, wanted: perPod(sample) }));
  const ratio = ratioOf(rows);
  const others = samples.filter((sample) => !measured.includes(sample));
  if (others.length === 0) return isClose(ratio) ? current : Math.ceil(ratio * measured.length);
  const guessed = others.flatMap((sample) => {
    const wanted = perPod(sample);
    if (ratio > 1) return [{ used: 0, wanted }];
    return sample.value === undefined ? [{ used: wanted, wanted }] : [];
  });
  const cautious = ratioOf([...rows, ...guessed]);
  // The guess must not turn the direction round.
  if (isClose(cautious) || (ratio < 1 && cautious > 1) || (ratio > 1 && cautious < 1)) return current;
  const replicas = Math.ceil(cautious * (rows.length + guessed.length));
  return (cautious < 1 && replicas > current) || (cautious > 1 && replicas < current) ? current : replicas;
}

function isClose(ratio: number): boolean {
  return Math.abs(1 - ratio) <= TOLERANCE + 1e-9;
}

/** For metrics that are one number: its ratio to the target, or divided among the replicas. */
export function replicasForTotal(
  total: number,
  target: { value?: number; average?: number },
  current: number,
  ready: number,
): number {
  if (target.average !== undefined) {
    const ratio = total / (target.average * Math.max(1, current));
    return isClose(ratio) ? current : Math.ceil(total / target.average);
  }
  const ratio = total / target.value!;
  return isClose(ratio) ? current : Math.ceil(ratio * ready);
}

export interface Recommendation {
  readonly atMs: number;
  readonly replicas: number;
}
export interface ScaleEvent {
  readonly atMs: number;
  /** Positive when it grew. */
  readonly change: number;
}
export interface Bounded {
  readonly replicas: number;
  readonly limited?: { readonly reason: string; readonly message: string };
  readonly stabilized: boolean;
}

const UP_DEFAULT: k8s.HPAScalingRules = {
  stabilizationWindowSeconds: 0,
  selectPolicy: "Max",
  policies: [
    { type: "Pods", value: 4, periodSeconds: 15 },
    { type: "Percent", value: 100, periodSeconds: 15 },
  ],
};
const DOWN_DEFAULT: k8s.HPAScalingRules = {
  selectPolicy: "Max",
  policies: [{ type: "Percent", value: 100, periodSeconds: 15 }],
};

/** The wish, held back by the stabilization windows, the policies, and the least and greatest size. */
export function bound(
  spec: k8s.HorizontalPodAutoscalerSpec,
  current: number,
  wish: number,
  recommendations: readonly Recommendation[],
  events: readonly ScaleEvent[],
  nowMs: number,
): Bounded {
  const up = { ...UP_DEFAULT, ...spec.behavior?.scaleUp };
  const down = { ...DOWN_DEFAULT, ...spec.behavior?.scaleDown };
  const within = (seconds: number) => [
    wish,
    ...recommendations.filter(({ atMs }) => atMs > nowMs - seconds * 1000).map(({ replicas }) => replicas),
  ];
  const lowest = Math.min(...within(up.stabilizationWindowSeconds ?? 0));
  const highest = Math.max(...within(down.stabilizationWindowSeconds ?? DEFAULT_DOWN_WINDOW_SECONDS));
  const stable = Math.min(Math.max(current, lowest), highest);
  const min = spec.minReplicas ?? 1;
  if (stable > current) {
    const limit = Math.max(current, scaleLimit(up, current, events, nowMs, 1));
    if (stable > Math.min(limit, spec.maxReplicas)) {
      return limit < spec.maxReplicas
        ? limited(
            limit,
            "ScaleUpLimit",
            "the desired replica count is increasing faster than the maximum scale rate",
            stable !== wish,
          )
        : limited(
            spec.maxReplicas,
            "TooManyReplicas",
            "the desired replica count is more than the maximum replica count",
            stable !== wish,
          );
    }
  } else if (stable < current) {
    const limit = Math.min(current, scaleLimit(down, current, events, nowMs, -1));
    if (stable < Math.max(limit, min)) {
      return limit > min
        ? limited(
            limit,
            "ScaleDownLimit",
            "the desired replica count is decreasing faster than the maximum scale rate",
            stable !== wish,
          )
        : limited(
            min,
            "TooFewReplicas",
            "the desired replica count is less than the minimum replica count",
            stable !== wish,
          );
    }
  }
  if (stable > spec.maxReplicas)
    return limited(
      spec.maxReplicas,
      "TooManyReplicas",
      "the desired replica count is more than the maximum replica count",
      false,
    );
  if (stable < min)
    return limited(min, "TooFewReplicas", "the desired replica count is less than the minimum replica count", false);
  return { replicas: stable, stabilized: stable !== wish };
}

function limited(replicas: number, reason: string, message: string, stabilized: boolean): Bounded {
  return { replicas, limited: { reason, message }, stabilized };
}

/** How far the policies allow to go, counting what has changed within their periods. */
function scaleLimit(
  rules: k8s.HPAScalingRules,
  current: number,
  events: readonly ScaleEvent[],
  nowMs: number,
  direction: 1 | -1,
): number {
  if (rules.selectPolicy === "Disabled") return current;
  const limits = (rules.policies ?? []).map(({ type, value, periodSeconds }) => {
    const changed = events
      .filter(({ atMs, change }) => atMs > nowMs - periodSeconds * 1000 && Math.sign(change) === direction)
      .reduce((sum, { change }) => sum + change, 0);
    const start = current - changed;
    if (type === "Pods") return start + direction * value;
    return direction > 0 ? Math.ceil(start * (1 + value / 100)) : Math.floor(start * (1 - value / 100));
  });
  const furthest = (rules.selectPolicy ?? "Max") === "Max";
  return furthest === direction > 0 ? Math.max(...limits) : Math.min(...limits);
}
