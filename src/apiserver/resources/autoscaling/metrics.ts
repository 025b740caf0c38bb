import type { k8s } from "../../../api/index.ts";

type Hpa = k8s.HorizontalPodAutoscaler;
const shownAtMost = 2;

/** The TARGETS column: `cpu: 10%/50%, memory: 1Gi/2Gi + 1 more...`. */
export function formatTargets({ spec, status }: Hpa): string {
  const metrics = spec?.metrics ?? [];
  if (metrics.length === 0) return "<none>";
  const all = metrics.map((metric, index) => formatMetric(metric, status?.currentMetrics?.[index]));
  const more = all.length - shownAtMost;
  return all.slice(0, shownAtMost).join(", ") + (more > 0 ? ` + ${more} more...` : "");
}

const unknown = "<unknown>";

function formatMetric(metric: k8s.MetricSpec, current: k8s.MetricStatus | undefined): string {
  switch (metric.type) {
    case "Resource":
      return `${metric.resource?.name}: ${ratio(current?.resource?.current, metric.resource?.target)}`;
    case "ContainerResource":
      return `${metric.containerResource?.name}: ${ratio(current?.containerResource?.current, metric.containerResource?.target)}`;
    case "Pods":
      return ratio(current?.pods?.current, metric.pods?.target);
    case "Object":
      return ratio(current?.object?.current, metric.object?.target);
    case "External":
      return ratio(current?.external?.current, metric.external?.target);
    default:
      return "<unknown type>";
  }
}

function ratio(current: k8s.MetricValueStatus | undefined, target: k8s.MetricTarget | undefined): string {
  if (target?.averageUtilization !== undefined) {
    const now = current?.averageUtilization;
    return `${now === undefined ? unknown : `${now}%`}/${target.averageUtilization}%`;
  }
  if (target?.averageValue !== undefined) return `${current?.averageValue ?? unknown}/${target.averageValue}`;
  return `${current?.value ?? unknown}/${target?.value ?? "<auto>"}`;
}
