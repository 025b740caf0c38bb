import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf } from "../../base/index.ts";
import { isNamespaceTerminating, keyOf, labelPredicate, resources, splitKey } from "../../client/index.ts";
import {
  claim,
  controlledBy,
  controllerOf,
  indexByController,
  isControlledBy,
  isPodTerminal,
  ownerReference,
  sameJson,
} from "../common/index.ts";
import type { Controller, ControllerContext, ReconcileResult, Reconciler } from "../controller.ts";
import * as revisions from "./revisions.ts";
import { isRolling, newSetReplicas, planOldSets, planProportional, type Resize, type SetSize } from "./rolling.ts";
import {
  conditionOf,
  countStatus,
  deadlineInMs,
  hasDeadline,
  isComplete,
  rolloutStatus,
  setCondition,
} from "./status.ts";

type Deployment = revisions.Deployment;
type ReplicaSet = revisions.ReplicaSet;

/** A deployment's sets: the one with its template, if there is one yet, and the others. */
interface Sets {
  readonly all: ReplicaSet[];
  readonly old: ReplicaSet[];
  newSet: ReplicaSet | undefined;
}

/** https://kubernetes.io/docs/concepts/workloads/controllers/deployment/ */
export const deploymentController: Controller = {
  name: "deployment-controller",
  setup(context) {
    const sets = context.informer(resources.replicaSets);
    const deployments = context.informer(resources.deployments);
    indexByController(sets);
    indexByController(context.informer(resources.pods));
    const enqueueOwner = (set: ReplicaSet) => {
      const owner = controllerOf(set);
      if (owner?.kind === "Deployment") context.enqueue(`${set.metadata.namespace}/${owner.name}`);
      else if (!owner) {
        for (const deployment of deployments.inNamespace(set.metadata.namespace!)) {
          if (labelPredicate(deployment.spec?.selector)(set.metadata.labels)) context.enqueue(keyOf(deployment));
        }
      }
    };
    deployments.onChange({
      added: (deployment) => context.enqueue(keyOf(deployment)),
      updated: (deployment) => context.enqueue(keyOf(deployment)),
      deleted: (deployment) => context.enqueue(keyOf(deployment)),
    });
    sets.onChange({ added: enqueueOwner, updated: enqueueOwner, deleted: enqueueOwner });
    // Recreate waits for the last old pod to be gone.
    context.informer(resources.pods).onChange({
      deleted: (pod) => {
        const set = sets.get(`${pod.metadata.namespace}/${controllerOf(pod)?.name}`);
        if (set) enqueueOwner(set);
      },
    });
    return new DeploymentReconciler(context);
  },
};

class DeploymentReconciler implements Reconciler {
  readonly #context: ControllerContext;

  constructor(context: ControllerContext) {
    this.#context = context;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<ReconcileResult | void> {
    const deployment = this.#context.informer(resources.deployments).get(key);
    if (!deployment) return;
    const selector = deployment.spec?.selector;
    if (!selector?.matchExpressions?.length && Object.keys(selector?.matchLabels ?? {}).length === 0) {
      this.#context.events.event(
        deployment,
        "Warning",
        "SelectingAll",
        "This deployment is selecting all pods. A non-empty selector is required.",
      );
      return;
    }
    const claimed = await this.#claim(deployment);
    const sets = split(deployment, claimed);
    if (deployment.metadata.deletionTimestamp) return this.#syncCounts(deployment, sets, signal);
    const current = await this.#markPaused(deployment, signal);
    if (current.spec?.paused || isScaling(current, sets)) return this.#resize(current, sets, signal);
    return isRolling(current) ? this.#roll(current, sets, signal) : this.#recreate(current, sets, signal);
  }

  #claim(deployment: Deployment): Promise<ReplicaSet[]> {
    const { client, informer } = this.#context;
    return claim({
      owner: deployment,
      resource: resources.deployments,
      selector: deployment.spec?.selector,
      informer: informer(resources.replicaSets),
      client: client.of(resources.replicaSets),
      freshOwner: () => client.of(resources.deployments).get(splitKey(keyOf(deployment))),
    });
  }

  /** Says in the Progressing condition that a deployment was paused or resumed. */
  async #markPaused(deployment: Deployment, signal: AbortSignal): Promise<Deployment> {
    if (!hasDeadline(deployment)) return deployment;
    const condition = conditionOf(deployment.status, "Progressing");
    if (condition?.reason === "ProgressDeadlineExceeded") return deployment;
    const paused = deployment.spec?.paused ?? false;
    const saysPaused = condition?.reason === "DeploymentPaused";
    if (paused === saysPaused) return deployment;
    const [reason, message] = paused
      ? ["DeploymentPaused", "Deployment is paused"]
      : ["DeploymentResumed", "Deployment is resumed"];
    return this.#setProgress(deployment, "Unknown", reason!, message!, signal);
  }

  #setProgress(
    deployment: Deployment,
    status: string,
    reason: string,
    message: string,
    signal: AbortSignal,
  ): Promise<Deployment> {
    const nowMs = this.#context.clock.nowMs();
    const conditions = setCondition(deployment.status?.conditions, "Progressing", status, reason, message, nowMs);
    return this.#writeStatus(deployment, { ...deployment.status, conditions }, signal);
  }

  async #writeStatus(deployment: Deployment, status: k8s.DeploymentStatus, signal: AbortSignal): Promise<Deployment> {
    if (sameJson(status, deployment.status)) return deployment;
    return this.#context.client.of(resources.deployments).updateStatus({ ...deployment, status }, { signal });
  }

  async #syncCounts(deployment: Deployment, sets: Sets, signal: AbortSignal): Promise<void> {
    await this.#writeStatus(
      deployment,
      countStatus(deployment, sets.all, sets.newSet, this.#context.clock.nowMs()),
      signal,
    );
  }

  async #syncRollout(deployment: Deployment, sets: Sets, signal: AbortSignal): Promise<ReconcileResult | void> {
    const nowMs = this.#context.clock.nowMs();
    const status = rolloutStatus(deployment, sets.all, sets.newSet, nowMs);
    await this.#writeStatus(deployment, status, signal);
    const requeueAfterMs = deadlineInMs(deployment, status, nowMs);
    if (requeueAfterMs !== undefined) return { requeueAfterMs };
  }

  async #resize(deployment: Deployment, sets: Sets, signal: AbortSignal): Promise<void> {
    const steps = planProportional(deployment, sets.newSet && sizeOf(sets.newSet), sets.old.map(sizeOf));
    await this.#apply(deployment, sets, steps, signal);
    if (deployment.spec?.paused) await this.#cleanUp(deployment, sets.old, signal);
    await this.#syncCounts(deployment, sets, signal);
  }

  async #roll(observed: Deployment, sets: Sets, signal: AbortSignal): Promise<ReconcileResult | void> {
    const deployment = await this.#ensureNewSet(observed, sets, signal);
    const newSet = sizeOf(sets.newSet!);
    const replicas = newSetReplicas(deployment, newSet.replicas, sets.old.map(sizeOf));
    const grown = await this.#apply(deployment, sets, [{ name: newSet.name, replicas }], signal);
    if (!grown) {
      const shrunk = await this.#apply(deployment, sets, planOldSets(deployment, newSet, sets.old.map(sizeOf)), signal);
      if (!shrunk && isComplete(deployment, deployment.status ?? {})) await this.#cleanUp(deployment, sets.old, signal);
    }
    return this.#syncRollout(deployment, sets, signal);
  }

  async #recreate(deployment: Deployment, sets: Sets, signal: AbortSignal): Promise<ReconcileResult | void> {
    const active = sets.old.filter((set) => (set.spec?.replicas ?? 0) > 0);
    const down = active.map((set) => ({ name: set.metadata.name, replicas: 0 }));
    if (await this.#apply(deployment, sets, down, signal)) return this.#syncRollout(deployment, sets, signal);
    if (this.#oldPodsRun(sets)) return this.#syncRollout(deployment, sets, signal);
    const current = await this.#ensureNewSet(deployment, sets, signal);
    await this.#apply(
      current,
      sets,
      [{ name: sets.newSet!.metadata.name, replicas: current.spec?.replicas ?? 1 }],
      signal,
    );
    if (isComplete(current, current.status ?? {})) await this.#cleanUp(current, sets.old, signal);
    return this.#syncRollout(current, sets, signal);
  }

  #oldPodsRun(sets: Sets): boolean {
    const pods = this.#context.informer(resources.pods);
    return sets.old.some((set) => controlledBy(pods, set).some((pod) => !isPodTerminal(pod)));
  }

  /** Sets the sizes and their annotations; true when a size changed. */
  async #apply(deployment: Deployment, sets: Sets, steps: readonly Resize[], signal: AbortSignal): Promise<boolean> {
    let changed = false;
    for (const { name, replicas } of steps) {
      const at = sets.all.findIndex((set) => set.metadata.name === name);
      const set = sets.all[at]!;
      const annotations = { ...set.metadata.annotations, ...revisions.replicaAnnotations(deployment) };
      const before = set.spec?.replicas ?? 0;
      if (before === replicas && sameJson(annotations, set.metadata.annotations)) continue;
      const updated = await this.#context.client
        .of(resources.replicaSets)
        .update({ ...set, metadata: { ...set.metadata, annotations }, spec: { ...set.spec!, replicas } }, { signal });
      replaceSet(sets, at, updated);
      if (before === replicas) continue;
      changed = true;
      this.#tellScaled(deployment, name, before, replicas);
    }
    return changed;
  }

  #tellScaled(deployment: Deployment, name: string, from: number, to: number): void {
    const message = `Scaled ${to > from ? "up" : "down"} replica set ${name} from ${from} to ${to}`;
    this.#context.events.event(deployment, "Normal", "ScalingReplicaSet", message);
  }

  /** Finds the set of the current template and brings its annotations up to date, or creates it. Returns the deployment as it is then. */
  async #ensureNewSet(deployment: Deployment, sets: Sets, signal: AbortSignal): Promise<Deployment> {
    const revision = revisions.nextRevision(sets.old);
    if (!sets.newSet) return this.#createSet(deployment, sets, revision, signal);
    const set = sets.newSet;
    const annotations = revisions.newSetAnnotations(deployment, set.metadata.annotations ?? {}, revision);
    const minReadySeconds = deployment.spec?.minReadySeconds;
    if (
      !sameJson(annotations, set.metadata.annotations ?? {}) ||
      (set.spec?.minReadySeconds ?? 0) !== (minReadySeconds ?? 0)
    ) {
      const updated = await this.#context.client
        .of(resources.replicaSets)
        .update(
          { ...set, metadata: { ...set.metadata, annotations }, spec: { ...set.spec!, minReadySeconds } },
          { signal },
        );
      replaceSet(sets, sets.all.indexOf(set), updated);
    }
    const current = await this.#writeRevision(deployment, annotations[revisions.REVISION]!, signal);
    if (!hasDeadline(current) || conditionOf(current.status, "Progressing")) return current;
    return this.#setProgress(
      current,
      "True",
      "FoundNewReplicaSet",
      `Found new replica set "${set.metadata.name}"`,
      signal,
    );
  }

  async #writeRevision(deployment: Deployment, revision: string, signal: AbortSignal): Promise<Deployment> {
    if (deployment.metadata.annotations?.[revisions.REVISION] === revision) return deployment;
    const annotations = { ...deployment.metadata.annotations, [revisions.REVISION]: revision };
    const metadata = { ...deployment.metadata, annotations };
    return this.#context.client.of(resources.deployments).update({ ...deployment, metadata }, { signal });
  }

  async #createSet(deployment: Deployment, sets: Sets, revision: number, signal: AbortSignal): Promise<Deployment> {
    const { client, events } = this.#context;
    const wanted = setFor(deployment, sets, revision);
    let made: ReplicaSet;
    try {
      made = await client.of(resources.replicaSets).create(wanted, { signal });
    } catch (error) {
      if (isNamespaceTerminating(error)) throw error;
      if (hasCode(error, "alreadyExists")) made = await this.#existing(deployment, wanted, error, signal);
      else {
        const message = `Failed to create new replica set "${wanted.metadata.name}": ${messageOf(error)}`;
        events.event(deployment, "Warning", "ReplicaSetCreateError", message);
        if (hasDeadline(deployment))
          await this.#setProgress(deployment, "False", "ReplicaSetCreateError", message, signal);
        throw error;
      }
    }
    sets.newSet = made;
    sets.all.push(made);
    if ((made.spec?.replicas ?? 0) > 0) this.#tellScaled(deployment, made.metadata.name, 0, made.spec!.replicas!);
    const current = await this.#writeRevision(deployment, String(revision), signal);
    if (!hasDeadline(current)) return current;
    return this.#setProgress(
      current,
      "True",
      "NewReplicaSetCreated",
      `Created new replica set "${made.metadata.name}"`,
      signal,
    );
  }

  /** The name is taken: by our own set that the cache has not shown yet, or by a stranger whose hash collides. */
  async #existing(
    deployment: Deployment,
    wanted: k8s.ReplicaSet,
    refusal: unknown,
    signal: AbortSignal,
  ): Promise<ReplicaSet> {
    const { name = "", namespace } = wanted.metadata;
    const found = await this.#context.client.of(resources.replicaSets).get({ name, namespace }, { signal });
    const ours =
      isControlledBy(found, deployment) && revisions.sameTemplate(found.spec?.template, deployment.spec?.template);
    if (ours) return found;
    const collisionCount = (deployment.status?.collisionCount ?? 0) + 1;
    await this.#writeStatus(deployment, { ...deployment.status, collisionCount }, signal);
    throw refusal;
  }

  /** Deletes the oldest finished sets beyond the history limit. */
  async #cleanUp(deployment: Deployment, old: readonly ReplicaSet[], signal: AbortSignal): Promise<void> {
    const limit = deployment.spec?.revisionHistoryLimit ?? 10;
    if (limit >= 2 ** 31 - 1) return;
    const live = old.filter((set) => !set.metadata.deletionTimestamp);
    const surplus = live
      .sort((left, right) => revisions.revisionOf(left) - revisions.revisionOf(right))
      .slice(0, Math.max(0, live.length - limit));
    for (const set of surplus) {
      const settled = (set.metadata.generation ?? 0) <= (set.status?.observedGeneration ?? 0);
      if (set.spec?.replicas || set.status?.replicas || !settled) continue;
      try {
        await this.#context.client
          .of(resources.replicaSets)
          .delete(set.metadata, { propagationPolicy: "Background", signal });
      } catch (error) {
        if (!hasCode(error, "notFound")) throw error;
      }
    }
  }
}

function split(deployment: Deployment, all: ReplicaSet[]): Sets {
  const sorted = [...all].sort(revisions.byCreation);
  const newSet = revisions.findNewSet(deployment, sorted);
  return { all: sorted, old: sorted.filter((set) => set !== newSet), newSet };
}

function replaceSet(sets: Sets, at: number, updated: ReplicaSet): void {
  const before = sets.all[at]!;
  sets.all[at] = updated;
  if (sets.newSet === before) sets.newSet = updated;
  const oldAt = sets.old.indexOf(before);
  if (oldAt >= 0) sets.old[oldAt] = updated;
}

function sizeOf(set: ReplicaSet): SetSize {
  const annotation = (name: string) => Number(set.metadata.annotations?.[name] ?? 0);
  return {
    name: set.metadata.name,
    replicas: set.spec?.replicas ?? 0,
    available: set.status?.availableReplicas ?? 0,
    desiredAnnotation: annotation(revisions.DESIRED),
    maxAnnotation: annotation(revisions.MAX),
  };
}

/** Some active set was sized for another number of replicas than is wanted now. */
function isScaling(deployment: Deployment, sets: Sets): boolean {
  const desired = String(deployment.spec?.replicas ?? 1);
  return sets.all.some((set) => {
    const recorded = set.metadata.annotations?.[revisions.DESIRED];
    return (set.spec?.replicas ?? 0) > 0 && recorded !== undefined && recorded !== desired;
  });
}

function setFor(deployment: Deployment, sets: Sets, revision: number): k8s.ReplicaSet {
  const hash = revisions.templateHash(deployment);
  const template = deployment.spec!.template!;
  const labels = { ...template.metadata?.labels, [revisions.HASH_LABEL]: hash };
  const selector = deployment.spec!.selector!;
  return {
    metadata: {
      name: `${deployment.metadata.name}-${hash}`,
      namespace: deployment.metadata.namespace,
      labels,
      annotations: revisions.newSetAnnotations(deployment, undefined, revision),
      ownerReferences: [ownerReference(deployment, resources.deployments)],
    },
    spec: {
      replicas: newSetReplicas(deployment, 0, sets.old.map(sizeOf)),
      minReadySeconds: deployment.spec!.minReadySeconds,
      selector: { ...selector, matchLabels: { ...selector.matchLabels, [revisions.HASH_LABEL]: hash } },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}
