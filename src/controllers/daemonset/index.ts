import { keyOf, resources, splitKey } from "../../client/index.ts";
import {
  claim,
  createPod,
  deletePod,
  ensureRevision,
  Expectations,
  nodeAffinityAllows,
  podFromTemplate,
  REVISION_LABEL,
  sameJson,
  slowStart,
  tolerates,
  trimRevisions,
  watchOwnersAndPods,
  type Pod,
} from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { FailedPodBackoff } from "./backoff.ts";
import {
  daemonSpec,
  planPlacement,
  planUpdate,
  statusOf,
  tolerationsOf,
  type DaemonSet,
  type Node,
  type NodePods,
} from "./plan.ts";

const BURST = 250;

/** https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/ */
export const daemonSetController: Controller = {
  name: "daemonset-controller",
  serviceAccount: "daemon-set-controller",
  setup(context) {
    const expectations = new Expectations(context.clock, (key) => context.enqueue(key));
    watchOwnersAndPods(context, resources.daemonSets, {
      created: (key) => expectations.creationObserved(key),
      gone: (key, pod) => expectations.deletionObserved(key, pod.metadata.uid),
    });
    context.informer(resources.controllerRevisions);
    const sets = context.informer(resources.daemonSets);
    const enqueueAll = () => sets.list().forEach((set) => context.enqueue(keyOf(set)));
    context.informer(resources.nodes).onChange({
      added: enqueueAll,
      deleted: enqueueAll,
      updated: (node, old) => {
        const same = sameJson(node.metadata.labels, old.metadata.labels) && sameJson(node.spec, old.spec);
        if (!same) enqueueAll();
      },
    });
    const backoff = new FailedPodBackoff();
    return { reconcile: (key, signal) => reconcile(context, expectations, backoff, key, signal) };
  },
};

async function reconcile(
  context: ControllerContext,
  expectations: Expectations,
  backoff: FailedPodBackoff,
  key: string,
  signal: AbortSignal,
) {
  const set = context.informer(resources.daemonSets).get(key);
  if (!set) return expectations.forget(key);
  if (set.metadata.deletionTimestamp) return;
  const { all, update } = await ensureRevision(context, set, resources.daemonSets, signal);
  const hash = update.metadata.labels![REVISION_LABEL]!;
  const pods = await claimPods(context, set);
  const nodes = byNode(context, set, pods);
  const nowMs = context.clock.nowMs();
  let requeueAfterMs: number | undefined;
  if (expectations.satisfied(key)) {
    const surging = set.spec?.updateStrategy?.rollingUpdate?.maxSurge
      ? set.spec.updateStrategy.rollingUpdate.maxSurge !== 0
      : false;
    const plan = planPlacement(nodes, surging);
    const ended: Pod[] = [];
    for (const pod of plan.ended) {
      const isFailed = pod.status?.phase === "Failed";
      const node = pod.spec?.nodeName;
      const waitMs = isFailed
        ? backoff.next(`${set.metadata.uid}/${set.status?.observedGeneration}/${node}`, nowMs)
        : 0;
      if (waitMs > 0) {
        requeueAfterMs = Math.min(requeueAfterMs ?? waitMs, waitMs);
        continue;
      }
      ended.push(pod);
      const [type, reason, what] = isFailed
        ? (["Warning", "FailedDaemonPod", "failed"] as const)
        : (["Normal", "SucceededDaemonPod", "succeeded"] as const);
      const then = isFailed ? "kill" : "delete";
      context.events.event(
        set,
        type,
        reason,
        `Found ${what} daemon pod ${keyOf(pod)} on node ${node}, will try to ${then} it`,
      );
    }
    const rolling =
      plan.create.length + plan.remove.length + plan.ended.length === 0 &&
      set.spec?.updateStrategy?.type !== "OnDelete";
    const change = rolling
      ? planUpdate(set, nodes, hash, nowMs)
      : { create: plan.create, remove: [...plan.remove, ...ended] };
    await apply(context, expectations, key, set, change, hash, signal);
  }
  const status = statusOf(set, nodes, hash, nowMs);
  if (!sameJson(status, set.status))
    await context.client.of(resources.daemonSets).updateStatus({ ...set, status }, { signal });
  const used = new Set([update.metadata.name, ...pods.map((pod) => pod.metadata.labels?.[REVISION_LABEL] ?? "")]);
  await trimRevisions(context, all, used, set.spec?.revisionHistoryLimit ?? 10, signal);
  const minReadyMs = (set.spec?.minReadySeconds ?? 0) * 1000;
  if (minReadyMs > 0 && status.numberReady !== (status.numberAvailable ?? 0)) requeueAfterMs ??= minReadyMs;
  return requeueAfterMs === undefined ? undefined : { requeueAfterMs };
}

function claimPods(context: ControllerContext, set: DaemonSet): Promise<Pod[]> {
  return claim({
    owner: set,
    resource: resources.daemonSets,
    selector: set.spec?.selector,
    informer: context.informer(resources.pods),
    client: context.client.of(resources.pods),
    freshOwner: () => context.client.of(resources.daemonSets).get(splitKey(keyOf(set))),
  });
}

/** A pod not yet bound belongs to the node that its affinity names. */
function targetNode(pod: Pod): string | undefined {
  if (pod.spec?.nodeName) return pod.spec.nodeName;
  const terms = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  return terms?.[0]?.matchFields?.find(({ key }) => key === "metadata.name")?.values?.[0];
}

function byNode(context: ControllerContext, set: DaemonSet, pods: readonly Pod[]): NodePods[] {
  const placed = Map.groupBy(pods, (pod) => targetNode(pod) ?? "");
  const nodes = context
    .informer(resources.nodes)
    .list()
    .map((node) => ({
      node: node.metadata.name,
      ...eligibility(set, node),
      pods: placed.get(node.metadata.name) ?? [],
    }));
  const known = new Set(nodes.map(({ node }) => node));
  const lost = [...placed].filter(([name]) => !known.has(name));
  return [...nodes, ...lost.map(([node, there]) => ({ node, shouldRun: false, shouldStay: false, pods: there }))];
}

function eligibility(set: DaemonSet, node: Node): { shouldRun: boolean; shouldStay: boolean } {
  const spec = set.spec!.template!.spec!;
  if (!nodeAffinityAllows(spec, node)) return { shouldRun: false, shouldStay: false };
  const tolerations = tolerationsOf(spec);
  const untolerated = (node.spec?.taints ?? [])
    .filter(({ effect }) => effect !== "PreferNoSchedule")
    .filter((taint) => !tolerates(tolerations, taint));
  return { shouldRun: untolerated.length === 0, shouldStay: !untolerated.some(({ effect }) => effect === "NoExecute") };
}

async function apply(
  context: ControllerContext,
  expectations: Expectations,
  key: string,
  set: DaemonSet,
  change: { create: readonly string[]; remove: readonly Pod[] },
  hash: string,
  signal: AbortSignal,
): Promise<void> {
  const create = change.create.slice(0, BURST);
  const remove = change.remove.slice(0, BURST);
  expectations.expectCreations(key, create.length);
  expectations.expectDeletions(
    key,
    remove.map((pod) => pod.metadata.uid),
  );
  const template = podFromTemplate(set.spec!.template!, set, resources.daemonSets);
  const generation =
    set.metadata.annotations?.["deprecated.daemonset.template.generation"] ?? String(set.metadata.generation ?? 1);
  const labels = { ...template.metadata.labels, [REVISION_LABEL]: hash, "pod-template-generation": generation };
  const { succeeded, error } = await slowStart(create.length, (index) =>
    createPod(
      context,
      set,
      { ...template, metadata: { ...template.metadata, labels }, spec: daemonSpec(template.spec!, create[index]!) },
      signal,
    ),
  );
  for (let missing = create.length - succeeded; missing > 0; missing--) expectations.creationObserved(key);
  const removals = await Promise.allSettled(remove.map((pod) => deletePod(context, set, pod, signal)));
  removals.forEach((result, index) => {
    if (result.status === "rejected") expectations.deletionObserved(key, remove[index]!.metadata.uid);
  });
  if (error !== undefined) throw error;
}
