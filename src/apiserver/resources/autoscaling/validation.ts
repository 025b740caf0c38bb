import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { each, nano, requiredName } from "../shared/checks.ts";
import { invalid, notSupported, oneOf, required } from "../shared/field-errors.ts";
import { isPathSegment } from "../shared/names.ts";
import { validateLabelSelector } from "../shared/object-meta.ts";

/** Upstream's pkg/apis/autoscaling/validation. */

type Spec = k8s.HorizontalPodAutoscalerSpec;
const maxStabilizationSeconds = 3600;
const maxPeriodSeconds = 1800;

function validateReference(ref: k8s.CrossVersionObjectReference | undefined, at: string): FieldError[] {
  return [
    ...requiredName(`${at}.kind`, ref?.kind, isPathSegment),
    ...requiredName(`${at}.name`, ref?.name, isPathSegment),
  ];
}

export function validateAutoscaler(object: KubeObject): FieldError[] {
  const spec = (object as k8s.HorizontalPodAutoscaler).spec ?? ({} as Spec);
  const low = spec.minReplicas;
  const high = Number(spec.maxReplicas ?? 0);
  const errors: FieldError[] = [];
  if (low !== undefined && low < 1) errors.push(invalid("spec.minReplicas", low, "must be greater than or equal to 1"));
  if (high < 1) errors.push(invalid("spec.maxReplicas", high, "must be greater than 0"));
  if (low !== undefined && high < low)
    errors.push(invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"));
  return [
    ...errors,
    ...validateReference(spec.scaleTargetRef, "spec.scaleTargetRef"),
    ...each(spec.metrics, "spec.metrics", validateMetric),
    ...validateDirection(spec.behavior?.scaleUp, "spec.behavior.scaleUp"),
    ...validateDirection(spec.behavior?.scaleDown, "spec.behavior.scaleDown"),
  ];
}

const metricTypes = ["ContainerResource", "External", "Object", "Pods", "Resource"];
const sourceOf: Readonly<Record<string, keyof k8s.MetricSpec>> = {
  ContainerResource: "containerResource",
  External: "external",
  Object: "object",
  Pods: "pods",
  Resource: "resource",
};

function validateMetric(metric: k8s.MetricSpec, at: string): FieldError[] {
  if (!metric.type) return [required(`${at}.type`, "must specify a metric source type")];
  if (!metricTypes.includes(metric.type)) return [notSupported(`${at}.type`, metric.type, metricTypes)];
  const key = sourceOf[metric.type]!;
  const source = metric[key] as
    | { name?: string; container?: string; target?: k8s.MetricTarget; metric?: k8s.MetricIdentifier }
    | undefined;
  const here = `${at}.${key}`;
  if (source === undefined) return [required(here, "must populate information for the given metric source")];
  const errors: FieldError[] = [];
  if (metric.object) errors.push(...validateReference(metric.object.describedObject, `${here}.describedObject`));
  if (metric.type === "Resource" || metric.type === "ContainerResource") {
    if (!source.name) errors.push(required(`${here}.name`, "must specify a resource name"));
    if (metric.type === "ContainerResource" && !source.container)
      errors.push(required(`${here}.container`, "must specify a container"));
  } else {
    errors.push(...requiredName(`${here}.metric.name`, source.metric?.name, isPathSegment));
    errors.push(...validateLabelSelector(source.metric?.selector, `${here}.metric.selector`));
  }
  return [...errors, ...validateTarget(metric.type, source.target, `${here}.target`)];
}

function validateTarget(type: string, target: k8s.MetricTarget | undefined, at: string): FieldError[] {
  const { averageUtilization: percent, averageValue, value } = target ?? {};
  const errors: FieldError[] = [];
  if (!target?.type) errors.push(required(`${at}.type`, "must specify a metric target type"));
  else errors.push(...oneOf(`${at}.type`, target.type, ["AverageValue", "Utilization", "Value"]));
  const quantities = { value, averageValue };
  for (const [field, quantity] of Object.entries(quantities))
    if (quantity !== undefined && (nano(quantity) ?? 0n) <= 0n)
      errors.push(invalid(`${at}.${field}`, quantity, "must be positive"));
  if (percent !== undefined && percent < 1)
    errors.push(invalid(`${at}.averageUtilization`, percent, "must be greater than 0"));
  if (type === "Resource" || type === "ContainerResource") {
    if (percent === undefined && averageValue === undefined)
      errors.push(required(`${at}.averageUtilization`, "must set either a target raw value or a target utilization"));
  } else if (type === "Pods") {
    if (averageValue === undefined || (nano(averageValue) ?? 0n) <= 0n)
      errors.push(required(`${at}.averageValue`, "must specify a positive target averageValue"));
  } else if (value === undefined && averageValue === undefined) {
    errors.push(
      required(
        `${at}.averageValue`,
        type === "External"
          ? "must set either a target value for metric or a per-pod target"
          : "must set either a target value or averageValue",
      ),
    );
  }
  return errors;
}

function validateDirection(rules: k8s.HPAScalingRules | undefined, at: string): FieldError[] {
  if (rules === undefined) return [];
  const errors: FieldError[] = [];
  const window = rules.stabilizationWindowSeconds;
  if (window !== undefined && window < 0)
    errors.push(invalid(`${at}.stabilizationWindowSeconds`, window, "must be greater than or equal to zero"));
  if (window !== undefined && window > maxStabilizationSeconds)
    errors.push(
      invalid(`${at}.stabilizationWindowSeconds`, window, `must be less than or equal to ${maxStabilizationSeconds}`),
    );
  errors.push(...oneOf(`${at}.selectPolicy`, rules.selectPolicy, ["Disabled", "Max", "Min"]));
  if (rules.policies !== undefined && rules.policies.length === 0)
    errors.push(required(`${at}.policies`, "must specify at least one Policy"));
  return [
    ...errors,
    ...each(rules.policies, `${at}.policies`, ({ type, value, periodSeconds }, here) => [
      ...oneOf(`${here}.type`, type, ["Percent", "Pods"]),
      ...(value > 0 ? [] : [invalid(`${here}.value`, value ?? 0, "must be greater than zero")]),
      ...(periodSeconds > 0 ? [] : [invalid(`${here}.periodSeconds`, periodSeconds ?? 0, "must be greater than zero")]),
      ...(periodSeconds > maxPeriodSeconds
        ? [invalid(`${here}.periodSeconds`, periodSeconds, `must be less than or equal to ${maxPeriodSeconds}`)]
        : []),
    ]),
  ];
}
