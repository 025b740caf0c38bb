import type { k8s } from "../api/index.ts";
import { messageOf, parseMilli, rfc3339, type Clock, type Logger, type Random } from "../base/index.ts";
import {
  createEventRecorder,
  defineResource,
  InformerFactory,
  keyOf,
  labelPredicate,
  resources,
  WorkQueue,
  type EventRecorder,
  type KubeClient,
  type Stored,
} from "../client/index.ts";
import type { MetricsSource } from "./metrics.ts";
import {
  bound,
  replicasFor,
  replicasForTotal,
  type Bounded,
  type Recommendation,
  type Sample,
  type ScaleEvent,
  type Target,
} from "./plan.ts";

export interface AutoscalerOptions {
  readonly client: KubeClient;
  readonly informers: InformerFactory;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: MetricsSource;
  readonly workers?: number;
  /** How often each autoscaler is looked at; upstream's --horizontal-pod-autoscaler-sync-period, 15 s by default. */
  readonly syncMs?: number;
}

type Autoscaler_ = Stored<k8s.HorizontalPodAutoscaler>;
type Conditions = k8s.HorizontalPodAutoscalerCondition[];
interface Wish {
  readonly replicas: number;
  readonly metric: string;
}

const SYNC_MS = 15_000;
const REMEMBER_MS = 3_600_000;
const WORKERS = 5;

/** Keeps targets at the size their metrics call for, until the signal aborts. */
export class Autoscaler {
  readonly #options: AutoscalerOptions;
  readonly #queue: WorkQueue;
  readonly #events: EventRecorder;
  readonly #recommendations = new Map<string, Recommendation[]>();
  readonly #changes = new Map<string, ScaleEvent[]>();

  constructor(options: AutoscalerOptions) {
    this.#options = options;
    this.#queue = new WorkQueue(options);
    this.#events = createEventRecorder({ ...options, component: "horizontal-pod-autoscaler" });
    options.informers.for(resources.horizontalPodAutoscalers).onChange({
      added: (autoscaler) => this.#queue.add(keyOf(autoscaler)),
      updated: (autoscaler, old) =>
        autoscaler.spec !== old.spec &&
        autoscaler.metadata.generation !== old.metadata.generation &&
        this.#queue.add(keyOf(autoscaler)),
      deleted: (autoscaler) => {
        this.#recommendations.delete(keyOf(autoscaler));
        this.#changes.delete(keyOf(autoscaler));
      },
    });
    options.informers.for(resources.pods);
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#options.informers.start(signal);
    await this.#options.informers.whenSynced();
    const handle = async (key: string) => {
      const autoscaler = this.#options.informers.for(resources.horizontalPodAutoscalers).get(key);
      if (!autoscaler) return;
      this.#queue.addAfter(key, this.#options.syncMs ?? SYNC_MS);
      await this.#reconcile(autoscaler, signal);
    };
    await this.#queue.run(this.#options.workers ?? WORKERS, handle, signal);
  }

  async #reconcile(autoscaler: Autoscaler_, signal: AbortSignal): Promise<void> {
    const conditions: Conditions = [...(autoscaler.status?.conditions ?? [])];
    const status: k8s.HorizontalPodAutoscalerStatus = {
      ...autoscaler.status,
      desiredReplicas: autoscaler.status?.desiredReplicas ?? 0,
      conditions,
    };
    status.observedGeneration = autoscaler.metadata.generation;
    try {
      await this.#scale(autoscaler, status, conditions, signal);
    } finally {
      if (!signal.aborted && JSON.stringify(status) !== JSON.stringify(autoscaler.status)) {
        await this.#options.client
          .of(resources.horizontalPodAutoscalers)
          .updateStatus({ ...autoscaler, status }, { signal });
      }
    }
  }

  async #scale(
    autoscaler: Autoscaler_,
    status: k8s.HorizontalPodAutoscalerStatus,
    conditions: Conditions,
    signal: AbortSignal,
  ): Promise<void> {
    const scale = await this.#readScale(autoscaler, conditions, signal);
    if (!scale) return;
    const current = scale.spec?.replicas ?? 0;
    status.currentReplicas = scale.status?.replicas ?? 0;
    status.desiredReplicas = current;
    if (current === 0) {
      this.#set(
        conditions,
        "ScalingActive",
        "False",
        "ScalingDisabled",
        "scaling is disabled since the replica count of the target is zero",
      );
      return;
    }
    const wish = await this.#wish(autoscaler, scale, current, status, conditions, signal);
    if (!wish) return;
    const result = this.#bounded(autoscaler, current, wish.replicas);
    this.#describe(conditions, result);
    status.desiredReplicas = result.replicas;
    if (result.replicas === current) return;
    await this.#writeScale(autoscaler, scale, result.replicas, signal);
    this.#remember(this.#changes, keyOf(autoscaler), { atMs: this.#now, change: result.replicas - current });
    status.lastScaleTime = rfc3339(this.#now);
    const reason = result.replicas > current ? `${wish.metric} above target` : "All metrics below target";
    this.#events.event(autoscaler, "Normal", "SuccessfulRescale", `New size: ${result.replicas}; reason: ${reason}`);
  }

  get #now(): number {
    return this.#options.clock.nowMs();
  }

  #target(autoscaler: Autoscaler_) {
    const { apiVersion = "v1", kind } = autoscaler.spec!.scaleTargetRef;
    const plural = `${kind.toLowerCase()}${kind.endsWith("s") ? "es" : "s"}`;
    return this.#options.client.of(defineResource<k8s.Scale>(apiVersion, plural, kind));
  }

  async #readScale(
    autoscaler: Autoscaler_,
    conditions: Conditions,
    signal: AbortSignal,
  ): Promise<Stored<k8s.Scale> | undefined> {
    const { name } = autoscaler.spec!.scaleTargetRef;
    try {
      const scale = await this.#target(autoscaler).get(
        { name, namespace: autoscaler.metadata.namespace },
        { subresource: "scale", signal },
      );
      this.#set(
        conditions,
        "AbleToScale",
        "True",
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale",
      );
      return scale;
    } catch (error) {
      const message = `the HPA controller was unable to get the target's current scale: ${messageOf(error)}`;
      this.#set(conditions, "AbleToScale", "False", "FailedGetScale", message);
      this.#events.event(autoscaler, "Warning", "FailedGetScale", messageOf(error));
      return undefined;
    }
  }

  async #writeScale(
    autoscaler: Autoscaler_,
    scale: Stored<k8s.Scale>,
    replicas: number,
    signal: AbortSignal,
  ): Promise<void> {
    const changed = { ...scale, spec: { ...scale.spec, replicas } };
    const ref = { name: autoscaler.spec!.scaleTargetRef.name, namespace: autoscaler.metadata.namespace };
    try {
      await this.#target(autoscaler).update(
        { ...changed, metadata: { ...scale.metadata, ...ref } },
        { subresource: "scale", signal },
      );
    } catch (error) {
      this.#events.event(autoscaler, "Warning", "FailedRescale", `New size: ${replicas}; error: ${messageOf(error)}`);
      throw error;
    }
  }

  /** The largest of what the metrics call for. A metric that fails forbids shrinking. */
  async #wish(
    autoscaler: Autoscaler_,
    scale: Stored<k8s.Scale>,
    current: number,
    status: k8s.HorizontalPodAutoscalerStatus,
    conditions: Conditions,
    signal: AbortSignal,
  ): Promise<Wish | undefined> {
    const found: Wish[] = [];
    let failure: { reason: string; message: string } | undefined;
    const reports: k8s.MetricStatus[] = [];
    for (const metric of autoscaler.spec?.metrics ?? []) {
      try {
        const { wish, report } = await this.#evaluate(autoscaler, metric, scale, current, signal);
        found.push(wish);
        reports.push(report);
      } catch (error) {
        failure ??= { reason: `FailedGet${metric.type}Metric`, message: messageOf(error) };
      }
    }
    status.currentMetrics = reports.length > 0 ? reports : undefined;
    const best = found.toSorted((left, right) => right.replicas - left.replicas)[0];
    if (failure && (!best || best.replicas < current)) {
      const message = `the HPA was unable to compute the replica count: ${failure.message}`;
      this.#set(conditions, "ScalingActive", "False", failure.reason, message);
      this.#events.event(autoscaler, "Warning", failure.reason, failure.message);
      return undefined;
    }
    if (best)
      this.#set(
        conditions,
        "ScalingActive",
        "True",
        "ValidMetricFound",
        `the HPA was able to successfully calculate a replica count from ${best.metric}`,
      );
    return best;
  }

  async #evaluate(
    autoscaler: Autoscaler_,
    metric: k8s.MetricSpec,
    scale: Stored<k8s.Scale>,
    current: number,
    signal: AbortSignal,
  ): Promise<{ wish: Wish; report: k8s.MetricStatus }> {
    const namespace = autoscaler.metadata.namespace!;
    const { metrics } = this.#options;
    const source = metric.resource ?? metric.containerResource;
    if (source) return this.#evaluateResource(autoscaler, metric, source, scale, current, signal);
    if (metric.external && metrics.external) {
      const total = await metrics.external(namespace, metric.external.metric, signal);
      const report = {
        type: "External",
        external: { metric: metric.external.metric, current: { value: `${total}m` } },
      };
      return {
        wish: {
          replicas: this.#fromTotal(metric.external.target, total, current),
          metric: `external metric ${metric.external.metric.name}`,
        },
        report,
      };
    }
    if (metric.object && metrics.object) {
      const total = await metrics.object(namespace, metric.object.metric, metric.object.describedObject, signal);
      const report = {
        type: "Object",
        object: {
          metric: metric.object.metric,
          describedObject: metric.object.describedObject,
          current: { value: `${total}m` },
        },
      };
      return {
        wish: {
          replicas: this.#fromTotal(metric.object.target, total, current),
          metric: `${metric.object.describedObject.kind} metric ${metric.object.metric.name}`,
        },
        report,
      };
    }
    if (metric.pods && metrics.pods) {
      const values = new Map(
        (await metrics.pods(namespace, metric.pods.metric, selectorOf(scale), signal)).map(({ pod, milli }) => [
          pod,
          milli,
        ]),
      );
      const samples = this.#pods(scale, namespace).map((pod) => ({
        pod: pod.metadata.name,
        value: values.get(pod.metadata.name),
        request: 0,
        ready: isReady(pod),
      }));
      const replicas = replicasFor(
        samples,
        { kind: "average", value: parseMilli(metric.pods.target.averageValue!) },
        current,
      );
      if (replicas === undefined) throw new Error(`no metrics returned from custom metrics API`);
      return {
        wish: { replicas, metric: `pods metric ${metric.pods.metric.name}` },
        report: { type: "Pods", pods: { metric: metric.pods.metric, current: {} } },
      };
    }
    throw new Error(`unable to get ${metric.type.toLowerCase()} metrics: no such metrics API is served`);
  }

  #fromTotal(target: k8s.MetricTarget, total: number, current: number): number {
    const average = target.averageValue === undefined ? undefined : parseMilli(target.averageValue);
    const value = target.value === undefined ? undefined : parseMilli(target.value);
    return replicasForTotal(total, { value, average }, current, current);
  }

  async #evaluateResource(
    autoscaler: Autoscaler_,
    metric: k8s.MetricSpec,
    source: k8s.ResourceMetricSource & { container?: string },
    scale: Stored<k8s.Scale>,
    current: number,
    signal: AbortSignal,
  ): Promise<{ wish: Wish; report: k8s.MetricStatus }> {
    const namespace = autoscaler.metadata.namespace!;
    const usage = await this.#options.metrics.resource(namespace, selectorOf(scale), source.name, signal);
    const used = new Map(usage.map(({ pod, milliByContainer }) => [pod, sumOf(milliByContainer, source.container)]));
    const samples: Sample[] = this.#pods(scale, namespace).map((pod) => ({
      pod: pod.metadata.name,
      value: used.get(pod.metadata.name),
      request: requestOf(pod, source.name, source.container),
      ready: isReady(pod),
    }));
    const percent = source.target.averageUtilization;
    if (percent !== undefined && samples.some(({ request }) => request === 0)) {
      throw new Error(
        `failed to get ${source.name} utilization: missing request for ${source.name} in a container of Pod ${samples.find(({ request }) => request === 0)!.pod}`,
      );
    }
    const target: Target =
      percent === undefined
        ? { kind: "average", value: parseMilli(source.target.averageValue!) }
        : { kind: "utilization", percent };
    const replicas = replicasFor(samples, target, current);
    if (replicas === undefined)
      throw new Error(
        `failed to get ${source.name} utilization: unable to get metrics for resource ${source.name}: no metrics returned from resource metrics API`,
      );
    const measured = samples.filter(({ value }) => value !== undefined);
    const total = measured.reduce((sum, { value }) => sum + value!, 0);
    const requested = measured.reduce((sum, { request }) => sum + request, 0);
    const values = {
      averageValue: `${Math.round(total / measured.length)}m`,
      averageUtilization: percent === undefined ? undefined : Math.floor((100 * total) / requested),
    };
    const report = source.container
      ? { type: metric.type, containerResource: { name: source.name, container: source.container, current: values } }
      : { type: metric.type, resource: { name: source.name, current: values } };
    const label =
      `${source.name} resource ${percent === undefined ? "" : "utilization (percentage of request)"}`.trim();
    return { wish: { replicas, metric: label }, report };
  }

  #pods(scale: Stored<k8s.Scale>, namespace: string): Stored<k8s.Pod>[] {
    const matches = labelPredicate(selectorOf(scale));
    return this.#options.informers
      .for(resources.pods)
      .inNamespace(namespace)
      .filter(
        (pod) =>
          matches(pod.metadata.labels) &&
          !pod.metadata.deletionTimestamp &&
          pod.status?.phase !== "Failed" &&
          pod.status?.phase !== "Succeeded",
      );
  }

  #bounded(autoscaler: Autoscaler_, current: number, wish: number): Bounded {
    const key = keyOf(autoscaler);
    const result = bound(
      autoscaler.spec!,
      current,
      wish,
      this.#recommendations.get(key) ?? [],
      this.#changes.get(key) ?? [],
      this.#now,
    );
    this.#remember(this.#recommendations, key, { atMs: this.#now, replicas: wish });
    return result;
  }

  #remember<E extends { atMs: number }>(map: Map<string, E[]>, key: string, entry: E): void {
    const kept = (map.get(key) ?? []).filter(({ atMs }) => atMs > this.#now - REMEMBER_MS);
    map.set(key, [...kept, entry]);
  }

  #describe(conditions: Conditions, result: Bounded): void {
    if (result.stabilized)
      this.#set(
        conditions,
        "AbleToScale",
        "True",
        "ScaleDownStabilized",
        "recent recommendations were higher than current one, applying the highest recent recommendation",
      );
    else this.#set(conditions, "AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size");
    if (result.limited) this.#set(conditions, "ScalingLimited", "True", result.limited.reason, result.limited.message);
    else
      this.#set(
        conditions,
        "ScalingLimited",
        "False",
        "DesiredWithinRange",
        "the desired count is within the acceptable range",
      );
  }

  #set(conditions: Conditions, type: string, status: string, reason: string, message: string): void {
    const at = conditions.findIndex((condition) => condition.type === type);
    const old = conditions[at];
    const lastTransitionTime = old?.status === status ? old.lastTransitionTime : rfc3339(this.#now);
    conditions[at < 0 ? conditions.length : at] = { type, status, reason, message, lastTransitionTime };
  }
}

/** A Scale's selector is text: `app=web,tier in (a,b)`. */
function selectorOf(scale: k8s.Scale): k8s.LabelSelector {
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

function isReady(pod: k8s.Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

function sumOf(byContainer: Readonly<Record<string, number>>, container: string | undefined): number {
  if (container !== undefined) return byContainer[container] ?? 0;
  return Object.values(byContainer).reduce((sum, value) => sum + value, 0);
}

/** 0 when a container requests nothing: a share of it has no meaning. */
function requestOf(pod: k8s.Pod, resource: string, container: string | undefined): number {
  const containers = (pod.spec?.containers ?? []).filter(({ name }) => container === undefined || name === container);
  const amounts = containers.map(({ resources: wanted }) => parseMilli(wanted?.requests?.[resource] ?? "0"));
  return amounts.includes(0) ? 0 : amounts.reduce((sum, amount) => sum + amount, 0);
}
