import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf } from "../../base/index.ts";
import { keyOf, resources, splitKey } from "../../client/index.ts";
import {
  availableInMs,
  claim,
  controllerOf,
  ensureRevision,
  podFromTemplate,
  REVISION_LABEL,
  sameJson,
  templateOf,
  trimRevisions,
  watchOwnersAndPods,
  type Pod,
  type Revision,
} from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { ensureClaims, syncClaimOwners } from "./claims.ts";
import { isGoing, isMade, PendingWrites } from "./pending-writes.ts";
import {
  ordinalOf,
  planStatefulSet,
  revisionOf,
  statusOf,
  type Observed,
  type StatefulSet,
  type Step,
  replaceInMs,
} from "./plan.ts";

/** How soon it is looked again whether the informer has caught up. */
const STALE_MS = 100;

/** https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/ */
export const statefulSetController: Controller = {
  name: "statefulset-controller",
  setup(context) {
    watchOwnersAndPods(context, resources.statefulSets);
    context.informer(resources.controllerRevisions);
    context.informer(resources.persistentVolumeClaims);
    const writes = new PendingWrites(context);
    return {
      async reconcile(key, signal) {
        const set = context.informer(resources.statefulSets).get(key);
        if (!set) writes.forget(key);
        if (!set || set.metadata.deletionTimestamp) return;
        if (!(await writes.areSeen(key, signal))) return { requeueAfterMs: STALE_MS };
        const pods = await claimPods(context, set);
        const { all, update } = await ensureRevision(context, set, resources.statefulSets, signal);
        const current = all.find(({ metadata }) => metadata.name === set.status?.currentRevision) ?? update;
        const observed: Observed = {
          set,
          pods,
          current: current.metadata.name,
          update: update.metadata.name,
          nowMs: context.clock.nowMs(),
        };
        for (const pod of pods) await syncClaimOwners(context, set, pod, signal);
        for (const step of planStatefulSet(observed))
          await execute({ context, set, writes, revisions: { current, update }, signal }, step);
        const status = statusOf(observed);
        if (!sameJson(status, set.status))
          await context.client.of(resources.statefulSets).updateStatus({ ...set, status }, { signal });
        const used = new Set([current.metadata.name, update.metadata.name, ...observed.pods.map(revisionOf)]);
        await trimRevisions(context, all, used, set.spec?.revisionHistoryLimit ?? 10, signal);
        return recheck(observed);
      },
    };
  },
};

function claimPods(context: ControllerContext, set: StatefulSet): Promise<Pod[]> {
  return claim({
    owner: set,
    resource: resources.statefulSets,
    selector: set.spec?.selector,
    informer: context.informer(resources.pods),
    client: context.client.of(resources.pods),
    freshOwner: () => context.client.of(resources.statefulSets).get(splitKey(keyOf(set))),
    filter: (pod) => pod.metadata.name === `${set.metadata.name}-${ordinalOf(pod)}`,
  });
}

function recheck(observed: Observed): { requeueAfterMs: number } | undefined {
  const seconds = observed.set.spec?.minReadySeconds ?? 0;
  const waits = observed.pods
    .flatMap((pod) => [availableInMs(pod, seconds, observed.nowMs) ?? 0, replaceInMs(pod, observed)])
    .filter((waitMs) => waitMs > 0);
  return waits.length > 0 ? { requeueAfterMs: Math.min(...waits) + 1 } : undefined;
}

/** What the steps of one pass share. */
interface Pass {
  readonly context: ControllerContext;
  readonly set: StatefulSet;
  readonly writes: PendingWrites;
  readonly revisions: { readonly current: Revision; readonly update: Revision };
  readonly signal: AbortSignal;
}

async function execute(pass: Pass, step: Step): Promise<void> {
  const { context, set, writes, revisions, signal } = pass;
  if (step.kind === "delete") return removePod(pass, step.pod);
  const pod = podFor(set, step.ordinal, revisions[step.revision]);
  await ensureClaims(context, set, pod, step.ordinal, signal);
  const say = (type: "Normal" | "Warning", reason: string, outcome: string) =>
    context.events.event(
      set,
      type,
      reason,
      `create Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name} ${outcome}`,
    );
  const podKey = `${set.metadata.namespace}/${pod.metadata.name}`;
  // Until an answer has come it may or may not exist.
  writes.add(keyOf(set), podKey);
  try {
    const created = await context.client.of(resources.pods).create(pod, { signal });
    writes.add(keyOf(set), podKey, isMade(created.metadata.uid));
    say("Normal", "SuccessfulCreate", "successful");
  } catch (error) {
    // The cache is behind: the pod is there already, ours or somebody's, and the informer will show it.
    if (hasCode(error, "alreadyExists") && (await isOurs(context, set, pod, signal))) return;
    say("Warning", "FailedCreate", `failed error: ${messageOf(error)}`);
    throw error;
  }
}

async function isOurs(
  context: ControllerContext,
  set: StatefulSet,
  pod: k8s.Pod,
  signal: AbortSignal,
): Promise<boolean> {
  const live = await context.client
    .of(resources.pods)
    .get({ name: pod.metadata.name!, namespace: pod.metadata.namespace }, { signal });
  return controllerOf(live)?.uid === set.metadata.uid;
}

async function removePod({ context, set, writes, signal }: Pass, pod: Pod): Promise<void> {
  const { name, namespace, uid } = pod.metadata;
  writes.add(keyOf(set), keyOf(pod));
  try {
    await context.client.of(resources.pods).delete({ name, namespace }, { preconditions: { uid }, signal });
    writes.add(keyOf(set), keyOf(pod), isGoing(uid));
    context.events.event(
      set,
      "Normal",
      "SuccessfulDelete",
      `delete Pod ${name} in StatefulSet ${set.metadata.name} successful`,
    );
  } catch (error) {
    if (hasCode(error, "notFound", "conflict")) return;
    context.events.event(
      set,
      "Warning",
      "FailedDelete",
      `delete Pod ${name} in StatefulSet ${set.metadata.name} failed error: ${messageOf(error)}`,
    );
    throw error;
  }
}

function podFor(set: StatefulSet, ordinal: number, revision: Revision): k8s.Pod {
  const name = `${set.metadata.name}-${ordinal}`;
  const pod = podFromTemplate(templateOf(revision), set, resources.statefulSets);
  const claims = (set.spec?.volumeClaimTemplates ?? []).map((template) => ({
    name: template.metadata.name!,
    persistentVolumeClaim: { claimName: `${template.metadata.name}-${name}` },
  }));
  const replaced = new Set(claims.map((volume) => volume.name));
  const volumes = [...claims, ...(pod.spec?.volumes ?? []).filter((volume) => !replaced.has(volume.name))];
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      name,
      labels: {
        ...pod.metadata.labels,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": String(ordinal),
        [REVISION_LABEL]: revision.metadata.name,
      },
    },
    spec: {
      ...pod.spec!,
      hostname: name,
      subdomain: set.spec?.serviceName,
      volumes: volumes.length > 0 ? volumes : undefined,
    },
  };
}
