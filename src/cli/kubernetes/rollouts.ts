/** What a rollout is, for each kind of workload that has one: its state in kubectl's words, and its revisions. */
import type { k8s } from "../../api/index.ts";
import { failedPrecondition, invalidArgument } from "../../base/index.ts";
import {
  draft,
  resources,
  type AnyObject,
  type KubeClient,
  type ObjectRef,
  type Resource,
  type Stored,
} from "../../client/index.ts";

export interface RolloutState {
  readonly done: boolean;
  readonly message: string;
}

/** A template that the workload had, or has. */
export interface Revision {
  readonly number: number;
  readonly cause: string | undefined;
  /** Brings the workload back to this template. */
  restore(): Promise<unknown>;
}

export interface RolloutKind {
  readonly resource: Resource<AnyObject>;
  /** `deployment.apps` */
  readonly label: string;
  readonly pausable: boolean;
  /** Throws failedPrecondition when there's nothing to wait for, or its deadline is over. */
  state(this: void, object: AnyObject): RolloutState;
  /** Oldest first. */
  revisions(client: KubeClient, ref: ObjectRef): Promise<Revision[]>;
}

const REVISION = "deployment.kubernetes.io/revision";
const CAUSE = "kubernetes.io/change-cause";

/** The kind that a plural names. Throws invalidArgument for one that doesn't roll. */
export function rolloutKind({ group, plural }: Resource): RolloutKind {
  const kind = group === "apps" ? KINDS[plural] : undefined;
  if (kind) return kind;
  throw invalidArgument(`${plural} have no rollouts`, { hint: `those that have: ${Object.keys(KINDS).join(", ")}` });
}

const KINDS: Readonly<Record<string, RolloutKind>> = {
  deployments: {
    resource: resources.deployments,
    label: "deployment.apps",
    pausable: true,
    state: deploymentState,
    revisions: replicaSetRevisions,
  },
  daemonsets: {
    resource: resources.daemonSets,
    label: "daemonset.apps",
    pausable: false,
    state: daemonSetState,
    revisions: (client, ref) => controllerRevisions(client, resources.daemonSets, ref),
  },
  statefulsets: {
    resource: resources.statefulSets,
    label: "statefulset.apps",
    pausable: false,
    state: statefulSetState,
    revisions: (client, ref) => controllerRevisions(client, resources.statefulSets, ref),
  },
};

const done = (message: string): RolloutState => ({ done: true, message });
const waiting = (message: string): RolloutState => ({ done: false, message });

function deploymentState({ metadata, spec, status = {} }: k8s.Deployment): RolloutState {
  const name = JSON.stringify(metadata?.name);
  const wanted = spec?.replicas ?? 1;
  const { updatedReplicas: updated = 0, replicas = 0, availableReplicas: available = 0 } = status;
  const until = (what: string) => waiting(`Waiting for deployment ${name} rollout to finish: ${what}...`);
  if ((status.observedGeneration ?? 0) < (metadata?.generation ?? 0))
    return waiting("Waiting for deployment spec update to be observed...");
  if (status.conditions?.some(({ type, reason }) => type === "Progressing" && reason === "ProgressDeadlineExceeded"))
    throw failedPrecondition(`deployment ${name} exceeded its progress deadline`);
  if (updated < wanted) return until(`${updated} out of ${wanted} new replicas have been updated`);
  if (replicas > updated) return until(`${replicas - updated} old replicas are pending termination`);
  if (available < updated) return until(`${available} of ${updated} updated replicas are available`);
  return done(`deployment ${name} successfully rolled out`);
}

function daemonSetState({ metadata, spec, status }: k8s.DaemonSet): RolloutState {
  const name = JSON.stringify(metadata?.name);
  if (spec?.updateStrategy?.type === "OnDelete") throw onlyRollingUpdates("OnDelete");
  if ((status?.observedGeneration ?? 0) < (metadata?.generation ?? 0))
    return waiting("Waiting for daemon set spec update to be observed...");
  const { updatedNumberScheduled: updated = 0, numberAvailable: available = 0 } = status ?? {};
  const wanted = status?.desiredNumberScheduled ?? 0;
  const until = (what: string) => waiting(`Waiting for daemon set ${name} rollout to finish: ${what}...`);
  if (updated < wanted) return until(`${updated} out of ${wanted} new pods have been updated`);
  if (available < wanted) return until(`${available} of ${wanted} updated pods are available`);
  return done(`daemon set ${name} successfully rolled out`);
}

function statefulSetState({ metadata, spec, status }: k8s.StatefulSet): RolloutState {
  if (spec?.updateStrategy?.type === "OnDelete") throw onlyRollingUpdates("OnDelete");
  if ((status?.observedGeneration ?? 0) < (metadata?.generation ?? 0))
    return waiting("Waiting for statefulset spec update to be observed...");
  const wanted = spec?.replicas ?? 1;
  const { readyReplicas: ready = 0, updatedReplicas: updated = 0, currentRevision, updateRevision } = status ?? {};
  if (ready < wanted) return waiting(`Waiting for ${wanted - ready} pods to be ready...`);
  const partition = spec?.updateStrategy?.rollingUpdate?.partition ?? 0;
  if (partition > 0) {
    const moving = wanted - partition;
    if (updated < moving)
      return waiting(
        `Waiting for partitioned roll out to finish: ${updated} out of ${moving} new pods have been updated...`,
      );
    return done(`partitioned roll out complete: ${updated} new pods have been updated...`);
  }
  if (updateRevision !== currentRevision)
    return waiting(
      `waiting for statefulset rolling update to complete ${updated} pods at revision ${updateRevision}...`,
    );
  return done(
    `statefulset rolling update complete ${status?.currentReplicas ?? 0} pods at revision ${currentRevision}...`,
  );
}

function onlyRollingUpdates(strategy: string) {
  return failedPrecondition(`rollout status is only available for RollingUpdate strategy type, not ${strategy}`, {
    hint: "its Pods change when they are deleted",
  });
}

/** A Deployment's: its ReplicaSets. */
async function replicaSetRevisions(client: KubeClient, ref: ObjectRef): Promise<Revision[]> {
  const sets = await ownedBy(client, resources.deployments, resources.replicaSets, ref);
  return sets
    .map((set) => ({
      number: Number(set.metadata.annotations?.[REVISION] ?? 0),
      cause: set.metadata.annotations?.[CAUSE],
      restore: () => {
        const template = draft(set.spec!.template!);
        delete template.metadata?.labels?.["pod-template-hash"];
        const patch = [{ op: "replace", path: "/spec/template", value: template }];
        return client.of(resources.deployments).patch(ref, patch, { kind: "json", fieldManager: "berth" });
      },
    }))
    .toSorted((left, right) => left.number - right.number);
}

/** A DaemonSet's or StatefulSet's: each holds the patch that leads back to it. */
async function controllerRevisions(
  client: KubeClient,
  resource: Resource<AnyObject>,
  ref: ObjectRef,
): Promise<Revision[]> {
  const known = await ownedBy(client, resource, resources.controllerRevisions, ref);
  return known
    .map(({ revision, metadata, data }) => ({
      number: revision,
      cause: metadata.annotations?.[CAUSE],
      restore: () => client.of(resource).patch(ref, data as object, { kind: "strategic", fieldManager: "berth" }),
    }))
    .toSorted((left, right) => left.number - right.number);
}

async function ownedBy<T extends AnyObject>(
  client: KubeClient,
  ownerResource: Resource<AnyObject>,
  resource: Resource<T>,
  ref: ObjectRef,
): Promise<Stored<T>[]> {
  const { metadata } = await client.of(ownerResource).get(ref);
  const { items } = await client.of(resource).list({ namespace: ref.namespace });
  return items.filter((item) => item.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid));
}
