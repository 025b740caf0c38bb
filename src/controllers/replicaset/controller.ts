import type { k8s } from "../../api/index.ts";
import { messageOf } from "../../base/index.ts";
import {
  isNamespaceTerminating,
  keyOf,
  labelPredicate,
  resources,
  splitKey,
  type LabelSelectorLike,
  type Resource,
  type Stored,
} from "../../client/index.ts";
import {
  claim,
  controllerOf,
  createPod,
  deletePod,
  Expectations,
  indexByController,
  podFromTemplate,
  sameJson,
  isPodActive,
  slowStart,
  type Pod,
} from "../common/index.ts";
import type { Controller, ControllerContext, Reconciler } from "../controller.ts";
import { nextAvailableMs, planReplicas, statusOf, type ReplicaOwner } from "./plan.ts";

/** Pods created or deleted in one go (upstream's BurstReplicas). */
const BURST = 500;
/**
 * A look at a set costs as much as it has Pods, and each Pod changes several times while it starts. Large sets wait for more changes to look at together, the longer
 * the more Pods the cluster has (a second at most), so that the controller looks at about 100,000 Pods a second: with 150,000 in sets of 1,000
 * it took half the processor.
 */
const LOOKS_AT_PODS_PER_MS = 100;
const SMALL_SET = 100;
const MAX_BATCH_MS = 1000;

/** ReplicaSets and ReplicationControllers differ in their selector's form only. */
export interface ReplicaKind<T extends ReplicaOwner> {
  readonly name: string;
  readonly resource: Resource<T>;
  selectorOf(owner: T): LabelSelectorLike | undefined;
}

function replicaController<T extends ReplicaOwner>(kind: ReplicaKind<T>): Controller {
  return { name: kind.name, setup: (context) => new ReplicaReconciler(kind, context) };
}

export const replicaSetController = replicaController<k8s.ReplicaSet>({
  name: "replicaset-controller",
  resource: resources.replicaSets,
  selectorOf: (owner) => owner.spec?.selector,
});

export const replicationController = replicaController<k8s.ReplicationController>({
  name: "replication-controller",
  resource: resources.replicationControllers,
  selectorOf: (owner) => owner.spec?.selector && { matchLabels: owner.spec.selector },
});

class ReplicaReconciler<T extends ReplicaOwner> implements Reconciler {
  readonly #kind: ReplicaKind<T>;
  readonly #context: ControllerContext;
  readonly #expectations: Expectations;

  constructor(kind: ReplicaKind<T>, context: ControllerContext) {
    this.#kind = kind;
    this.#context = context;
    this.#expectations = new Expectations(context.clock, (key) => context.enqueue(key));
    const owners = context.informer(kind.resource);
    const pods = context.informer(resources.pods);
    indexByController(pods);
    owners.onChange({
      added: (owner) => context.enqueue(keyOf(owner)),
      updated: (owner) => context.enqueue(keyOf(owner)),
      deleted: (owner) => {
        this.#expectations.forget(keyOf(owner));
        context.enqueue(keyOf(owner));
      },
    });
    pods.onChange({
      added: (pod) => this.#podAdded(pod),
      updated: (pod, old) => this.#podUpdated(pod, old),
      deleted: (pod) => this.#podDeleted(pod),
    });
  }

  #ownerKey(pod: Pod): string | undefined {
    const owner = controllerOf(pod);
    return owner?.kind === this.#kind.resource.kind ? `${pod.metadata.namespace}/${owner.name}` : undefined;
  }

  #podAdded(pod: Pod): void {
    if (pod.metadata.deletionTimestamp) return this.#podDeleted(pod);
    const key = this.#ownerKey(pod);
    if (key) {
      this.#expectations.creationObserved(key);
      this.#enqueueObserved(key);
    } else if (!controllerOf(pod)) this.#enqueueMatching(pod);
  }

  #podUpdated(pod: Pod, old: Pod): void {
    if (pod.metadata.deletionTimestamp) return this.#podDeleted(pod);
    const key = this.#ownerKey(pod);
    const oldKey = this.#ownerKey(old);
    if (oldKey && oldKey !== key) this.#context.enqueue(oldKey);
    if (key) this.#enqueueBatched(key);
    else if (!controllerOf(pod) && (oldKey || !sameJson(pod.metadata.labels, old.metadata.labels)))
      this.#enqueueMatching(pod);
  }

  #podDeleted(pod: Pod): void {
    const key = this.#ownerKey(pod);
    if (!key) return;
    this.#expectations.deletionObserved(key, pod.metadata.uid);
    this.#enqueueObserved(key);
  }

  /** Nothing is made or deleted before all that was asked for has been seen; then at once. */
  #enqueueObserved(key: string): void {
    if (this.#expectations.satisfied(key)) this.#context.enqueue(key);
    else this.#enqueueBatched(key);
  }

  #enqueueBatched(key: string): void {
    const { informer, enqueueAfter } = this.#context;
    const replicas = informer(this.#kind.resource).get(key)?.spec?.replicas ?? 0;
    const batchMs = Math.min(informer(resources.pods).size / LOOKS_AT_PODS_PER_MS, MAX_BATCH_MS);
    enqueueAfter(key, replicas < SMALL_SET ? 0 : batchMs);
  }

  /** An orphan may be adopted by any set that selects it. */
  #enqueueMatching(pod: Pod): void {
    for (const owner of this.#context.informer(this.#kind.resource).inNamespace(pod.metadata.namespace!)) {
      if (labelPredicate(this.#kind.selectorOf(owner))(pod.metadata.labels)) this.#context.enqueue(keyOf(owner));
    }
  }

  async reconcile(key: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number } | void> {
    const { informer, client, clock } = this.#context;
    const owner = informer(this.#kind.resource).get(key);
    if (!owner) return this.#expectations.forget(key);
    const needsSync = this.#expectations.satisfied(key);
    const pods = await this.#claim(owner, key);
    const active = pods.filter(isPodActive);
    const failure =
      needsSync && !owner.metadata.deletionTimestamp ? await this.#manage(owner, key, active, signal) : undefined;
    const status = statusOf(owner, active, clock.nowMs(), failure);
    if (!sameJson(status, owner.status)) {
      await client.of(this.#kind.resource).updateStatus({ ...owner, status } as T, { signal });
    }
    if (failure !== undefined && !isNamespaceTerminating(failure)) throw failure;
    const requeueAfterMs = nextAvailableMs(owner, active, clock.nowMs());
    if (requeueAfterMs !== undefined) return { requeueAfterMs };
  }

  #claim(owner: Stored<T>, key: string): Promise<Pod[]> {
    const { informer, client } = this.#context;
    const { resource } = this.#kind;
    const pods = informer(resources.pods);
    return claim({
      owner,
      resource,
      selector: this.#kind.selectorOf(owner),
      informer: pods,
      client: client.of(resources.pods),
      freshOwner: () => client.of(resource).get(splitKey(key)),
    });
  }

  /** Creates or deletes the difference; returns the error that stopped it. */
  async #manage(owner: Stored<T>, key: string, active: readonly Pod[], signal: AbortSignal): Promise<unknown> {
    const plan = planReplicas(owner.spec?.replicas ?? 1, active, this.#context.clock.nowMs(), BURST);
    if (plan.create > 0) return this.#create(owner, key, plan.create, signal);
    if (plan.remove.length > 0) return this.#remove(owner, key, plan.remove, signal);
    return undefined;
  }

  async #create(owner: Stored<T>, key: string, count: number, signal: AbortSignal): Promise<unknown> {
    this.#expectations.expectCreations(key, count);
    const pod = podFromTemplate(owner.spec!.template!, owner, this.#kind.resource);
    const { succeeded, error } = await slowStart(count, () => createPod(this.#context, owner, pod, signal));
    for (let skipped = count - succeeded; skipped > 0; skipped--) this.#expectations.creationObserved(key);
    return error;
  }

  async #remove(owner: Stored<T>, key: string, pods: readonly Pod[], signal: AbortSignal): Promise<unknown> {
    this.#expectations.expectDeletions(
      key,
      pods.map((pod) => pod.metadata.uid),
    );
    let failure: unknown;
    const removeOne = async (pod: Pod) => {
      try {
        await deletePod(this.#context, owner, pod, signal);
      } catch (error) {
        this.#expectations.deletionObserved(key, pod.metadata.uid);
        failure ??= error;
        this.#context.log.debug("a pod was not deleted", { key, error: messageOf(error) });
      }
    };
    await Promise.all(pods.map(removeOne));
    return failure;
  }
}
