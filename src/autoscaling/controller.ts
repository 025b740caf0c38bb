import type { k8s } from "../api/index.ts";
import { messageOf, rfc3339, type Clock, type Logger, type Random } from "../base/index.ts";
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
import { ScalingConditions } from "./conditions.ts";
import { evaluate, type Evaluation, type Situation } from "./evaluate.ts";
import type { MetricsSource } from "./metrics.ts";
import { bound, type Bounded, type Recommendation, type ScaleEvent } from "./plan.ts";
import { isCounted, selectorOf } from "./pods.ts";

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

type HorizontalPodAutoscaler = Stored<k8s.HorizontalPodAutoscaler>;
type Scale = Stored<k8s.Scale>;

/** One look at one autoscaler; `status` and `conditions` become what is written. */
interface Look {
  readonly autoscaler: HorizontalPodAutoscaler;
  readonly status: k8s.HorizontalPodAutoscalerStatus;
  readonly conditions: ScalingConditions;
  readonly signal: AbortSignal;
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

  async #reconcile(autoscaler: HorizontalPodAutoscaler, signal: AbortSignal): Promise<void> {
    const conditions = new ScalingConditions(autoscaler.status?.conditions, this.#options.clock);
    const status: k8s.HorizontalPodAutoscalerStatus = {
      ...autoscaler.status,
      desiredReplicas: autoscaler.status?.desiredReplicas ?? 0,
      conditions: conditions.list,
      observedGeneration: autoscaler.metadata.generation,
    };
    try {
      await this.#scale({ autoscaler, status, conditions, signal });
    } finally {
      if (!signal.aborted && JSON.stringify(status) !== JSON.stringify(autoscaler.status)) {
        await this.#options.client
          .of(resources.horizontalPodAutoscalers)
          .updateStatus({ ...autoscaler, status }, { signal });
      }
    }
  }

  async #scale(look: Look): Promise<void> {
    const { autoscaler, status, conditions } = look;
    const scale = await this.#readScale(look);
    if (!scale) return;
    const current = scale.spec?.replicas ?? 0;
    status.currentReplicas = scale.status?.replicas ?? 0;
    status.desiredReplicas = current;
    if (current === 0) {
      const message = "scaling is disabled since the replica count of the target is zero";
      conditions.set("ScalingActive", "False", "ScalingDisabled", message);
      return;
    }
    const wish = await this.#wish(look, scale, current);
    if (!wish) return;
    const result = this.#bounded(autoscaler, current, wish.replicas);
    conditions.setOutcome(result);
    status.desiredReplicas = result.replicas;
    if (result.replicas === current) return;
    await this.#writeScale(look, scale, result.replicas);
    this.#remember(this.#changes, keyOf(autoscaler), { atMs: this.#now, change: result.replicas - current });
    status.lastScaleTime = rfc3339(this.#now);
    const reason = result.replicas > current ? `${wish.label} above target` : "All metrics below target";
    this.#events.event(autoscaler, "Normal", "SuccessfulRescale", `New size: ${result.replicas}; reason: ${reason}`);
  }

  get #now(): number {
    return this.#options.clock.nowMs();
  }

  #target(autoscaler: HorizontalPodAutoscaler) {
    const { apiVersion = "v1", kind, name } = autoscaler.spec!.scaleTargetRef;
    const plural = `${kind.toLowerCase()}${kind.endsWith("s") ? "es" : "s"}`;
    const client = this.#options.client.of(defineResource<k8s.Scale>(apiVersion, plural, kind));
    return { client, ref: { name, namespace: autoscaler.metadata.namespace } };
  }

  async #readScale({ autoscaler, conditions, signal }: Look): Promise<Scale | undefined> {
    const { client, ref } = this.#target(autoscaler);
    try {
      const scale = await client.get(ref, { subresource: "scale", signal });
      const message = "the HPA controller was able to get the target's current scale";
      conditions.set("AbleToScale", "True", "SucceededGetScale", message);
      return scale;
    } catch (error) {
      const message = `the HPA controller was unable to get the target's current scale: ${messageOf(error)}`;
      conditions.set("AbleToScale", "False", "FailedGetScale", message);
      this.#events.event(autoscaler, "Warning", "FailedGetScale", messageOf(error));
      return undefined;
    }
  }

  async #writeScale({ autoscaler, signal }: Look, scale: Scale, replicas: number): Promise<void> {
    const { client, ref } = this.#target(autoscaler);
    const changed = { ...scale, metadata: { ...scale.metadata, ...ref }, spec: { ...scale.spec, replicas } };
    try {
      await client.update(changed, { subresource: "scale", signal });
    } catch (error) {
      this.#events.event(autoscaler, "Warning", "FailedRescale", `New size: ${replicas}; error: ${messageOf(error)}`);
      throw error;
    }
  }

  /** The largest of what the metrics call for. A metric that fails forbids shrinking. */
  async #wish(look: Look, scale: Scale, current: number): Promise<Evaluation | undefined> {
    const { autoscaler, status, conditions, signal } = look;
    const situation = this.#situation(autoscaler, scale, current, signal);
    const found: Evaluation[] = [];
    let failure: { reason: string; message: string } | undefined;
    for (const metric of autoscaler.spec?.metrics ?? []) {
      try {
        found.push(await evaluate(metric, situation));
      } catch (error) {
        failure ??= { reason: `FailedGet${metric.type}Metric`, message: messageOf(error) };
      }
    }
    status.currentMetrics = found.length > 0 ? found.map(({ report }) => report) : undefined;
    const best = found.toSorted((left, right) => right.replicas - left.replicas)[0];
    if (failure && (!best || best.replicas < current)) {
      const message = `the HPA was unable to compute the replica count: ${failure.message}`;
      conditions.set("ScalingActive", "False", failure.reason, message);
      this.#events.event(autoscaler, "Warning", failure.reason, failure.message);
      return undefined;
    }
    if (best) {
      const message = `the HPA was able to successfully calculate a replica count from ${best.label}`;
      conditions.set("ScalingActive", "True", "ValidMetricFound", message);
    }
    return best;
  }

  #situation(
    { metadata }: HorizontalPodAutoscaler,
    scale: Scale,
    currentReplicas: number,
    signal: AbortSignal,
  ): Situation {
    const namespace = metadata.namespace!;
    const selector = selectorOf(scale);
    const matches = labelPredicate(selector);
    const pods = this.#options.informers
      .for(resources.pods)
      .inNamespace(namespace)
      .filter((pod) => matches(pod.metadata.labels) && isCounted(pod));
    return { namespace, selector, pods, currentReplicas, metrics: this.#options.metrics, nowMs: this.#now, signal };
  }

  #bounded(autoscaler: HorizontalPodAutoscaler, current: number, wish: number): Bounded {
    const key = keyOf(autoscaler);
    const recommendations = this.#recommendations.get(key) ?? [];
    const result = bound(autoscaler.spec!, current, wish, recommendations, this.#changes.get(key) ?? [], this.#now);
    this.#remember(this.#recommendations, key, { atMs: this.#now, replicas: wish });
    return result;
  }

  #remember<E extends { atMs: number }>(map: Map<string, E[]>, key: string, entry: E): void {
    const kept = (map.get(key) ?? []).filter(({ atMs }) => atMs > this.#now - REMEMBER_MS);
    map.set(key, [...kept, entry]);
  }
}
