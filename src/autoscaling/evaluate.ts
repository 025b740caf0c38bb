/** One metric of an autoscaler: its figures now, and how many replicas they call for. */
import type { k8s } from "../api/index.ts";
import { parseMilli } from "../base/index.ts";
import type { Stored } from "../client/index.ts";
import type { MetricsSource } from "./metrics.ts";
import { replicasFor, replicasForTotal, type Sample, type Target } from "./plan.ts";
import { isSettled, requestOf, usedBy } from "./pods.ts";

export interface Situation {
  readonly namespace: string;
  readonly selector: k8s.LabelSelector;
  /** Those of the target whose figures count. */
  readonly pods: readonly Stored<k8s.Pod>[];
  readonly currentReplicas: number;
  readonly metrics: MetricsSource;
  readonly nowMs: number;
  readonly signal: AbortSignal;
}

export interface Evaluation {
  readonly replicas: number;
  /** For events and conditions: `cpu resource utilization (percentage of request)`. */
  readonly label: string;
  /** For status.currentMetrics. */
  readonly report: k8s.MetricStatus;
}

/** Throws, in upstream's words, when there are no figures or nobody serves such metrics. */
export async function evaluate(metric: k8s.MetricSpec, situation: Situation): Promise<Evaluation> {
  const { metrics } = situation;
  const { resource, containerResource, external, object, pods } = metric;
  if (resource) return evaluateResource(resource, undefined, situation);
  if (containerResource) return evaluateResource(containerResource, containerResource.container, situation);
  if (external && metrics.external) return evaluateExternal(external, metrics.external.bind(metrics), situation);
  if (object && metrics.object) return evaluateObject(object, metrics.object.bind(metrics), situation);
  if (pods && metrics.pods) return evaluatePods(pods, metrics.pods.bind(metrics), situation);
  throw new Error(`unable to get ${metric.type.toLowerCase()} metrics: no such metrics API is served`);
}

async function evaluateResource(
  { name, target }: k8s.ResourceMetricSource,
  container: string | undefined,
  { namespace, selector, pods, currentReplicas, metrics, nowMs, signal }: Situation,
): Promise<Evaluation> {
  const usages = new Map(
    (await metrics.resource(namespace, selector, name, signal)).map((usage) => [usage.pod, usage]),
  );
  const samples = pods.map((pod): Sample => {
    const usage = usages.get(pod.metadata.name);
    return {
      pod: pod.metadata.name,
      value: usage && usedBy(usage, container),
      request: requestOf(pod, name, container),
      ready: isSettled(pod, name, usage, nowMs),
    };
  });
  const percent = target.averageUtilization;
  const without = percent === undefined ? undefined : samples.find(({ request }) => request === 0);
  if (without)
    throw new Error(
      `failed to get ${name} utilization: missing request for ${name} in a container of Pod ${without.pod}`,
    );
  const wanted: Target =
    percent === undefined
      ? { kind: "average", value: parseMilli(target.averageValue!) }
      : { kind: "utilization", percent };
  const replicas = replicasFor(samples, wanted, currentReplicas);
  if (replicas === undefined)
    throw new Error(
      `failed to get ${name} utilization: unable to get metrics for resource ${name}: no metrics returned from resource metrics API`,
    );
  const current = averageOf(samples, percent !== undefined);
  return {
    replicas,
    label: `${name} ${container === undefined ? "" : "container "}resource${percent === undefined ? "" : " utilization (percentage of request)"}`,
    report:
      container === undefined
        ? { type: "Resource", resource: { name, current } }
        : { type: "ContainerResource", containerResource: { name, container, current } },
  };
}

function averageOf(samples: readonly Sample[], withUtilization: boolean): k8s.MetricValueStatus {
  const measured = samples.filter(({ value }) => value !== undefined);
  const total = measured.reduce((sum, { value }) => sum + value!, 0);
  const requested = measured.reduce((sum, { request }) => sum + request, 0);
  return {
    averageValue: `${Math.round(total / measured.length)}m`,
    averageUtilization: withUtilization ? Math.floor((100 * total) / requested) : undefined,
  };
}

async function evaluatePods(
  { metric, target }: k8s.PodsMetricSource,
  read: NonNullable<MetricsSource["pods"]>,
  { namespace, selector, pods, currentReplicas, signal }: Situation,
): Promise<Evaluation> {
  const values = new Map((await read(namespace, metric, selector, signal)).map(({ pod, milli }) => [pod, milli]));
  const samples = pods.map(({ metadata, status }): Sample => ({
    pod: metadata.name,
    value: values.get(metadata.name),
    request: 0,
    ready: status?.phase !== "Pending",
  }));
  const replicas = replicasFor(samples, { kind: "average", value: parseMilli(target.averageValue!) }, currentReplicas);
  if (replicas === undefined) throw new Error("no metrics returned from custom metrics API");
  const { averageValue } = averageOf(samples, false);
  return {
    replicas,
    label: `pods metric ${metric.name}`,
    report: { type: "Pods", pods: { metric, current: { averageValue } } },
  };
}

async function evaluateObject(
  { metric, describedObject, target }: k8s.ObjectMetricSource,
  read: NonNullable<MetricsSource["object"]>,
  { namespace, currentReplicas, signal }: Situation,
): Promise<Evaluation> {
  const total = await read(namespace, metric, describedObject, signal);
  return {
    replicas: fromTotal(target, total, currentReplicas),
    label: `${describedObject.kind} metric ${metric.name}`,
    report: { type: "Object", object: { metric, describedObject, current: ofTotal(target, total, currentReplicas) } },
  };
}

async function evaluateExternal(
  { metric, target }: k8s.ExternalMetricSource,
  read: NonNullable<MetricsSource["external"]>,
  { namespace, currentReplicas, signal }: Situation,
): Promise<Evaluation> {
  const total = await read(namespace, metric, signal);
  return {
    replicas: fromTotal(target, total, currentReplicas),
    label: `external metric ${metric.name}`,
    report: { type: "External", external: { metric, current: ofTotal(target, total, currentReplicas) } },
  };
}

function fromTotal({ averageValue, value }: k8s.MetricTarget, total: number, current: number): number {
  const milli = (text: string | undefined) => (text === undefined ? undefined : parseMilli(text));
  return replicasForTotal(total, { value: milli(value), average: milli(averageValue) }, current, current);
}

function ofTotal({ averageValue }: k8s.MetricTarget, total: number, current: number): k8s.MetricValueStatus {
  return averageValue === undefined
    ? { value: `${total}m` }
    : { averageValue: `${Math.ceil(total / Math.max(1, current))}m` };
}
