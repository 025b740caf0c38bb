import type { k8s, KubeObject } from "../../../api/index.ts";

/** What v1 cannot say travels in annotations, as upstream does it, so that nothing is lost between versions. */
const metricsAnnotation = "autoscaling.alpha.kubernetes.io/metrics";
const behaviorAnnotation = "autoscaling.alpha.kubernetes.io/behavior";

type V1 = k8s.HorizontalPodAutoscalerV1;
type V2 = k8s.HorizontalPodAutoscaler;

const isPlainCpu = (metric: k8s.MetricSpec): boolean =>
  metric.type === "Resource" &&
  metric.resource?.name === "cpu" &&
  metric.resource.target.averageUtilization !== undefined;

/** What an autoscaler goes by that names nothing: 80 % of the CPU asked for. */
export function defaultMetric(): k8s.MetricSpec {
  return { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 80 } } };
}

export function hpaToV1(object: KubeObject): KubeObject {
  const { spec, status, metadata, ...rest } = object as V2;
  const { metrics = [], behavior, ...same } = spec ?? ({} as k8s.HorizontalPodAutoscalerSpec);
  const cpu = metrics.find(isPlainCpu);
  const others = metrics.filter((metric) => metric !== cpu);
  const annotations = { ...metadata.annotations };
  if (others.length > 0) annotations[metricsAnnotation] = JSON.stringify(others);
  if (behavior !== undefined) annotations[behaviorAnnotation] = JSON.stringify(behavior);
  const v1Spec: k8s.HorizontalPodAutoscalerSpecV1 = { ...same };
  if (cpu !== undefined) v1Spec.targetCPUUtilizationPercentage = cpu.resource!.target.averageUtilization!;
  const {
    currentMetrics,
    conditions: _conditions,
    ...sameStatus
  } = status ?? ({} as k8s.HorizontalPodAutoscalerStatus);
  const measured = currentMetrics?.find(({ resource }) => resource?.name === "cpu")?.resource?.current
    .averageUtilization;
  return {
    ...rest,
    apiVersion: "autoscaling/v1",
    metadata: Object.keys(annotations).length > 0 ? { ...metadata, annotations } : metadata,
    spec: v1Spec,
    status: {
      ...sameStatus,
      currentReplicas: sameStatus.currentReplicas ?? 0,
      ...(measured === undefined ? {} : { currentCPUUtilizationPercentage: measured }),
    },
  };
}

export function hpaFromV1(object: KubeObject): KubeObject {
  const { spec, status, metadata, ...rest } = object as V1;
  const { targetCPUUtilizationPercentage: cpu, ...same } = spec ?? ({} as k8s.HorizontalPodAutoscalerSpecV1);
  const { [metricsAnnotation]: others, [behaviorAnnotation]: behavior, ...annotations } = metadata.annotations ?? {};
  const metrics: k8s.MetricSpec[] = others === undefined ? [] : (JSON.parse(others) as k8s.MetricSpec[]);
  if (cpu !== undefined)
    metrics.push({
      type: "Resource",
      resource: { name: "cpu", target: { type: "Utilization", averageUtilization: cpu } },
    });
  const { currentCPUUtilizationPercentage: measured, ...sameStatus } =
    status ?? ({} as k8s.HorizontalPodAutoscalerStatusV1);
  if (metrics.length === 0) metrics.push(defaultMetric());
  const newSpec: k8s.HorizontalPodAutoscalerSpec = { ...same, metrics };
  if (behavior !== undefined) newSpec.behavior = JSON.parse(behavior) as k8s.HorizontalPodAutoscalerBehavior;
  const newStatus = { ...sameStatus } as k8s.HorizontalPodAutoscalerStatus;
  if (measured !== undefined)
    newStatus.currentMetrics = [
      { type: "Resource", resource: { name: "cpu", current: { averageUtilization: measured } } },
    ];
  const newMeta = { ...metadata };
  if (metadata.annotations !== undefined) newMeta.annotations = annotations;
  return { ...rest, apiVersion: "autoscaling/v2", metadata: newMeta, spec: newSpec, status: newStatus };
}
