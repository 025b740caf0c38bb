import type { k8s } from "../api/index.ts";
import {
  hasCode,
  messageOf,
  randomInt,
  rfc3339,
  settle,
  type Clock,
  type Logger,
  type Metrics,
  type Random,
} from "../base/index.ts";
import {
  createEventRecorder,
  resources,
  type EventRecorder,
  type InformerFactory,
  type KubeClient,
  type Stored,
} from "../client/index.ts";
import { withAdvice } from "./advice.ts";
import { Cluster } from "./cluster.ts";
import { Chooser, type Diagnosis } from "./cycle.ts";
import type { ClusterEvent, Plugin } from "./framework.ts";
import { explainUnschedulable } from "./messages.ts";
import type { NodeInfo } from "./node-info.ts";
import { SchedulerMetrics, type AttemptResult } from "./metrics.ts";
import { podInfo, type Pod, type PodInfo } from "./pod-info.ts";
import { planPreemption } from "./preemption.ts";
import { defaultProfile, pluginsOf, sharedPlugins, type Profile, type SharedPlugins } from "./profile.ts";
import { SchedulingQueue, type QueuedPod } from "./queue.ts";

export interface SchedulerOptions {
  readonly client: KubeClient;
  readonly informers: InformerFactory;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly profiles?: readonly Profile[];
  readonly metrics?: Metrics;
}

/** Bindings on their way to the API at once; more would only wait there. */
const MAX_BINDING = 256;
/** Placed in one turn of the event loop, so that watches and answers get theirs. */
const PODS_PER_TURN = 16;

interface Prepared {
  readonly plugins: readonly Plugin[];
  readonly chooser: Chooser;
  readonly events: EventRecorder;
}

/** Places pods until the signal aborts. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #cluster: Cluster;
  readonly #queue: SchedulingQueue;
  readonly #profiles = new Map<string, Prepared>();
  readonly #metrics: SchedulerMetrics | undefined;
  /** Pods that a plugin holds back, by uid. */
  readonly #heldBack = new Map<string, Pod>();
  #wake: (() => void) | undefined;
  #binding = 0;
  #cycles = 0;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    const shared = sharedPlugins(options.client, (claim, node, signal) => this.#selectNode(claim, node, signal));
    for (const profile of options.profiles ?? [defaultProfile])
      this.#profiles.set(profile.schedulerName, this.#prepare(profile, shared));
    const plugins = new Map(
      [...this.#profiles.values()].flatMap(({ plugins: all }) => all.map((plugin) => [plugin.name, plugin] as const)),
    );
    this.#queue = new SchedulingQueue({
      clock: options.clock,
      mayHelp: (name, pod, event) => plugins.get(name)?.mayHelp?.(pod, event) ?? true,
      wake: () => this.#wake?.(),
    });
    this.#metrics = options.metrics && new SchedulerMetrics(options.metrics, this.#queue);
    const { informers } = options;
    this.#cluster = new Cluster({
      namespaces: informers.for(resources.namespaces),
      services: informers.for(resources.services),
      replicaSets: informers.for(resources.replicaSets),
      statefulSets: informers.for(resources.statefulSets),
      replicationControllers: informers.for(resources.replicationControllers),
      claims: informers.for(resources.persistentVolumeClaims),
      volumes: informers.for(resources.persistentVolumes),
      storageClasses: informers.for(resources.storageClasses),
      budgets: informers.for(resources.podDisruptionBudgets),
      csiNodes: informers.for(resources.csiNodes),
      csiDrivers: informers.for(resources.csiDrivers),
      storageCapacities: informers.for(resources.csiStorageCapacities),
      deviceClasses: informers.for(resources.deviceClasses),
      resourceClaims: informers.for(resources.resourceClaims),
      resourceSlices: informers.for(resources.resourceSlices),
    });
    this.#subscribe();
  }

  /** Pods waiting, by why. */
  pending(): ReturnType<SchedulingQueue["counts"]> {
    return this.#queue.counts();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { informers } = this.#options;
    informers.start(signal);
    await informers.whenSynced();
    signal.addEventListener("abort", () => this.#wake?.(), { once: true });
    while (!signal.aborted) {
      for (let turn = 0; turn < PODS_PER_TURN && this.#binding < MAX_BINDING; turn++) {
        const queued = this.#queue.pop();
        if (!queued) break;
        this.#scheduleOne(queued, signal);
      }
      if (this.#queue.hasReady && this.#binding < MAX_BINDING) await settle();
      else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = undefined;
      }
    }
    this.#queue.close();
  }

  #prepare(profile: Profile, shared: SharedPlugins): Prepared {
    const plugins = pluginsOf(profile, shared);
    const pick = (count: number) => randomInt(this.#options.random, count);
    return {
      plugins,
      chooser: new Chooser(plugins, profile.percentageOfNodesToScore, pick),
      events: createEventRecorder({ ...this.#options, component: profile.schedulerName, api: "events" }),
    };
  }

  async #selectNode(claim: Stored<k8s.PersistentVolumeClaim>, node: string, signal: AbortSignal): Promise<void> {
    const patch = { metadata: { annotations: { "volume.kubernetes.io/selected-node": node } } };
    await this.#options.client.of(resources.persistentVolumeClaims).patch(claim.metadata, patch, { signal });
  }

  // ---- What happens in the cluster

  #subscribe(): void {
    const { informers } = this.#options;
    informers.for(resources.nodes).onChange({
      added: (node) => {
        this.#cluster.setNode(node);
        this.#queue.event({ kind: "node", action: "add", object: node });
      },
      updated: (node, old) => {
        this.#cluster.setNode(node);
        this.#queue.event({ kind: "node", action: "update", object: node, old });
      },
      deleted: (node) => {
        this.#cluster.removeNode(node.metadata.name);
        this.#queue.event({ kind: "node", action: "delete", object: node });
      },
    });
    informers.for(resources.pods).onChange({
      added: (pod) => this.#podChanged(pod, undefined),
      updated: (pod, old) => this.#podChanged(pod, old),
      deleted: (pod) => this.#podGone(pod),
    });
    this.#relay("claim", resources.persistentVolumeClaims);
    this.#relay("volume", resources.persistentVolumes);
    this.#relay("storageClass", resources.storageClasses);
    this.#relay("csiNode", resources.csiNodes);
    this.#relay("storageCapacity", resources.csiStorageCapacities);
    this.#relay("device", resources.deviceClasses);
    this.#relay("device", resources.resourceSlices);
    this.#relay("device", resources.resourceClaims);
    const lookAgain = () => [...this.#heldBack.values()].forEach((pod) => this.#podChanged(pod, pod));
    informers.for(resources.resourceClaims).onChange({ added: lookAgain, updated: lookAgain });
  }

  #relay(
    kind: ClusterEvent["kind"],
    resource: (typeof resources)[
      | "persistentVolumeClaims"
      | "persistentVolumes"
      | "storageClasses"
      | "csiNodes"
      | "csiStorageCapacities"
      | "deviceClasses"
      | "resourceSlices"
      | "resourceClaims"],
  ): void {
    const tell = (action: ClusterEvent["action"]) => (object: unknown) => this.#queue.event({ kind, action, object });
    this.#options.informers.for<{ metadata: k8s.ObjectMeta }>(resource).onChange({
      added: tell("add"),
      updated: tell("update"),
      deleted: tell("delete"),
    });
  }

  #podChanged(pod: Pod, old: Pod | undefined): void {
    if (isFinished(pod)) return this.#podGone(pod);
    if (pod.spec?.nodeName) {
      this.#queue.remove(pod.metadata.uid);
      this.#cluster.unnominate(pod.metadata.uid);
      this.#cluster.updatePod(pod);
      const isNew = !old?.spec?.nodeName;
      this.#queue.event({ kind: "assignedPod", action: isNew ? "add" : "update", object: pod, old });
      return;
    }
    const profile = this.#profiles.get(pod.spec?.schedulerName ?? "default-scheduler");
    this.#heldBack.delete(pod.metadata.uid);
    if (profile === undefined) return;
    if (pod.metadata.deletionTimestamp) return this.#queue.remove(pod.metadata.uid);
    // Already on its way to a node.
    if (this.#cluster.placement(pod.metadata.uid)) return;
    const info = podInfo(pod);
    if (pod.status?.nominatedNodeName) this.#cluster.nominate(info, pod.status.nominatedNodeName);
    if (this.#isHeldBack(info, profile)) return this.#queue.remove(pod.metadata.uid);
    this.#queue.add(info);
  }

  #isHeldBack(info: PodInfo, { plugins }: Prepared): boolean {
    const holding = plugins.find((plugin) => plugin.isHeldBack?.(info, this.#cluster));
    if (holding === undefined) return false;
    this.#heldBack.set(info.uid, info.pod);
    void holding.ready?.(info).then(() => {
      const pod = this.#heldBack.get(info.uid);
      if (pod !== undefined && !holding.isHeldBack!(podInfo(pod), this.#cluster)) this.#podChanged(pod, pod);
    });
    return true;
  }

  #podGone(pod: Pod): void {
    this.#heldBack.delete(pod.metadata.uid);
    this.#queue.remove(pod.metadata.uid);
    this.#cluster.unnominate(pod.metadata.uid);
    if (!this.#cluster.placement(pod.metadata.uid)) return;
    this.#cluster.removePod(pod.metadata.uid);
    this.#queue.event({ kind: "assignedPod", action: "delete", object: pod });
  }

  // ---- One pod

  #scheduleOne(queued: QueuedPod, signal: AbortSignal): void {
    const { info } = queued;
    const profile = this.#profiles.get(info.pod.spec?.schedulerName ?? "default-scheduler")!;
    this.#cycles++;
    const startedMs = this.#options.clock.monotonicMs();
    const attempted = (result: AttemptResult) =>
      this.#metrics?.attempted(
        info.pod.spec?.schedulerName ?? "default-scheduler",
        result,
        this.#options.clock.monotonicMs() - startedMs,
      );
    let outcome: ReturnType<Chooser["choose"]>;
    try {
      outcome = profile.chooser.choose(info, this.#cluster);
    } catch (error) {
      this.#options.log.error("scheduling failed", { pod: info.key, error });
      attempted("error");
      this.#queue.retry(queued);
      return;
    }
    if ("node" in outcome) {
      this.#cluster.assume(info, outcome.node.name);
      for (const plugin of profile.plugins) plugin.reserve?.(info, outcome.node, this.#cluster);
      this.#binding++;
      void this.#bind(queued, outcome.node, profile, signal)
        .then((bound) => attempted(bound ? "scheduled" : "error"))
        .finally(() => {
          this.#binding--;
          this.#wake?.();
        });
    } else {
      attempted("unschedulable");
      this.#unschedulable(queued, outcome.diagnosis, profile, signal);
    }
  }

  /** False when it was not to be. */
  async #bind(queued: QueuedPod, node: NodeInfo, profile: Prepared, signal: AbortSignal): Promise<boolean> {
    const { info } = queued;
    const { name, namespace, uid } = info.pod.metadata;
    try {
      for (const plugin of profile.plugins) await plugin.preBind?.(info, node, this.#cluster, signal);
      const target = { apiVersion: "v1", kind: "Node", name: node.name };
      const binding: k8s.Binding = { apiVersion: "v1", kind: "Binding", metadata: { name, namespace, uid }, target };
      await this.#options.client.of(resources.pods).post({ name, namespace }, "binding", binding, { signal });
    } catch (error) {
      await this.#bindingFailed(queued, profile, error, signal);
      return false;
    }
    this.#queue.done(uid);
    this.#cluster.unnominate(uid);
    const message = `Successfully assigned ${info.key} to ${node.name}`;
    profile.events.event(info.pod, "Normal", "Scheduled", message, "Binding");
    return true;
  }

  async #bindingFailed(queued: QueuedPod, profile: Prepared, error: unknown, signal: AbortSignal): Promise<void> {
    const { info } = queued;
    if (signal.aborted) return;
    this.#cluster.forget(info.uid);
    for (const plugin of profile.plugins) plugin.unreserve?.(info);
    this.#queue.event({ kind: "assignedPod", action: "delete", object: info.pod });
    // Gone, or bound by somebody else: the informer says so in a moment. The backoff covers what is neither.
    if (hasCode(error, "notFound")) return this.#queue.remove(info.uid);
    this.#queue.retry(queued);
    if (hasCode(error, "conflict")) return;
    await this.#tellFailure(info, profile, "SchedulerError", messageOf(error), undefined, signal);
  }

  #unschedulable(queued: QueuedPod, diagnosis: Diagnosis, profile: Prepared, signal: AbortSignal): void {
    const { info } = queued;
    const refusedBy = new Set([...diagnosis.refusals.values()].map(({ plugin }) => plugin));
    let preemption = "";
    let nominated: string | undefined;
    if (diagnosis.nodeCount > 0 && !diagnosis.preFilter) {
      const result = planPreemption(profile.plugins, info, this.#cluster, diagnosis, this.#cycles);
      if ("message" in result) preemption = result.message;
      else {
        nominated = result.chosen.node;
        this.#metrics?.preempted(result.chosen.victims.length);
        this.#cluster.nominate(info, nominated);
        void this.#evict(result.chosen.victims, info, nominated, profile, signal);
      }
    }
    // A cluster without nodes has refused nothing: any new node may help.
    if (diagnosis.nodeCount === 0) refusedBy.add("NodeResourcesFit");
    this.#queue.unschedulable(queued, refusedBy);
    const message = explainUnschedulable(diagnosis, preemption);
    void this.#tellFailure(info, profile, "Unschedulable", message, nominated, signal, withAdvice(message, diagnosis));
    for (const plugin of profile.plugins)
      plugin.postFilter?.(info, signal).catch((error: unknown) => {
        if (!hasCode(error, "conflict", "notFound") && !signal.aborted)
          this.#options.log.warn("a plugin could not make room", { plugin: plugin.name, error: messageOf(error) });
      });
  }

  async #evict(
    victims: readonly PodInfo[],
    by: PodInfo,
    node: string,
    profile: Prepared,
    signal: AbortSignal,
  ): Promise<void> {
    const pods = this.#options.client.of(resources.pods);
    const message = `${by.pod.spec?.schedulerName ?? "default-scheduler"}: preempting to accommodate a higher priority pod`;
    const condition = { type: "DisruptionTarget", status: "True", reason: "PreemptionByScheduler", message };
    for (const { pod } of victims) {
      if (pod.metadata.deletionTimestamp) continue;
      try {
        const conditions = [{ ...condition, lastTransitionTime: rfc3339(this.#options.clock.nowMs()) }];
        await pods.patch(
          pod.metadata,
          { status: { conditions } },
          { kind: "strategic", subresource: "status", signal },
        );
        await pods.delete(pod.metadata, { preconditions: { uid: pod.metadata.uid }, signal });
        const note = `Preempted by pod ${by.uid} on node ${node}`;
        profile.events.event(pod, "Normal", "Preempted", note, "Preempting");
      } catch (error) {
        if (!hasCode(error, "notFound"))
          this.#options.log.warn("a victim was not evicted", { error: messageOf(error) });
      }
    }
  }

  /** The event, the PodScheduled condition and the nomination. `note` is what the event says; the condition has upstream's words alone. */
  async #tellFailure(
    info: PodInfo,
    profile: Prepared,
    reason: "Unschedulable" | "SchedulerError",
    message: string,
    nominatedNodeName: string | undefined,
    signal: AbortSignal,
    note = message,
  ): Promise<void> {
    const { pod } = info;
    profile.events.event(pod, "Warning", "FailedScheduling", note, "Scheduling");
    const old = pod.status?.conditions?.find(({ type }) => type === "PodScheduled");
    const keepsNomination = nominatedNodeName === undefined || pod.status?.nominatedNodeName === nominatedNodeName;
    if (old?.status === "False" && old.reason === reason && old.message === message && keepsNomination) return;
    const now = rfc3339(this.#options.clock.nowMs());
    const lastTransitionTime = old?.status === "False" ? old.lastTransitionTime : now;
    const condition = { type: "PodScheduled", status: "False", reason, message, lastTransitionTime };
    try {
      const status = { conditions: [condition], ...(nominatedNodeName ? { nominatedNodeName } : {}) };
      const { name, namespace, uid } = pod.metadata;
      await this.#options.client
        .of(resources.pods)
        .patch(
          { name, namespace },
          { metadata: { uid }, status },
          { kind: "strategic", subresource: "status", signal },
        );
    } catch (error) {
      if (!hasCode(error, "notFound", "conflict") && !signal.aborted) {
        this.#options.log.debug("a pod's condition was not written", { pod: info.key, error: messageOf(error) });
      }
    }
  }
}

function isFinished(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}
