import type { k8s } from "../../api/index.ts";
import { rfc3339 } from "../../base/index.ts";
import { keyOf, labelPredicate, resources, type Stored } from "../../client/index.ts";
import {
  controllerOf,
  intOrPercent,
  isPodActive,
  isPodReady,
  isPodTerminal,
  sameJson,
  withCondition,
  type Pod,
} from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";

type Budget = Stored<k8s.PodDisruptionBudget>;

/** An eviction that was allowed but not carried out is forgotten after this long. */
const DISRUPTION_TIMEOUT_MS = 2 * 60_000;

/** How many pods may be evicted now. https://kubernetes.io/docs/tasks/run-application/configure-pdb/ */
export const disruptionController: Controller = {
  name: "disruption-controller",
  component: "controllermanager",
  setup(context) {
    const budgets = context.informer(resources.podDisruptionBudgets);
    const enqueue = (budget: Budget) => context.enqueue(keyOf(budget));
    budgets.onChange({ added: enqueue, updated: enqueue });
    const ofPod = (pod: Pod) => {
      for (const budget of budgets.inNamespace(pod.metadata.namespace!)) {
        if (labelPredicate(budget.spec?.selector)(pod.metadata.labels)) enqueue(budget);
      }
    };
    context.informer(resources.pods).onChange({
      added: ofPod,
      deleted: ofPod,
      updated: (pod, old) => {
        if (
          isPodReady(pod) !== isPodReady(old) ||
          isPodActive(pod) !== isPodActive(old) ||
          !sameJson(pod.metadata.labels, old.metadata.labels)
        )
          ofPod(pod);
      },
    });
    for (const resource of [resources.replicaSets, resources.statefulSets, resources.replicationControllers])
      context.informer<k8s.ReplicaSet>(resource as never);
    context.informer(resources.deployments);
    return {
      async reconcile(key, signal) {
        const budget = budgets.get(key);
        if (!budget) return;
        const matches = labelPredicate(budget.spec?.selector);
        const pods = context
          .informer(resources.pods)
          .inNamespace(budget.metadata.namespace!)
          .filter((pod) => matches(pod.metadata.labels));
        const scale = expectedScale(context, pods);
        const status = statusOf(budget, pods, scale, context.clock.nowMs());
        if (!sameJson(status, budget.status))
          await context.client.of(resources.podDisruptionBudgets).updateStatus({ ...budget, status }, { signal });
        return Object.keys(status.disruptedPods ?? {}).length > 0
          ? { requeueAfterMs: DISRUPTION_TIMEOUT_MS }
          : undefined;
      },
    };
  },
};

/** The sizes that the pods' controllers want together. */
function expectedScale(context: ControllerContext, pods: readonly Pod[]): number {
  const scales = new Map<string, number>();
  for (const pod of pods) {
    const owner = controllerOf(pod);
    if (!owner) continue;
    const key = `${pod.metadata.namespace}/${owner.name}`;
    const lister =
      owner.kind === "ReplicaSet"
        ? resources.replicaSets
        : owner.kind === "StatefulSet"
          ? resources.statefulSets
          : owner.kind === "ReplicationController"
            ? resources.replicationControllers
            : undefined;
    const found = lister && context.informer<k8s.ReplicaSet>(lister as never).get(key);
    const deployment =
      found && controllerOf(found)?.kind === "Deployment"
        ? context.informer(resources.deployments).get(`${pod.metadata.namespace}/${controllerOf(found)!.name}`)
        : undefined;
    if (deployment) scales.set(deployment.metadata.uid, deployment.spec?.replicas ?? 1);
    else if (found) scales.set(owner.uid, found.spec?.replicas ?? 1);
  }
  return scales.size === 0 ? pods.length : [...scales.values()].reduce((sum, replicas) => sum + replicas, 0);
}

function statusOf(budget: Budget, pods: readonly Pod[], scale: number, nowMs: number): k8s.PodDisruptionBudgetStatus {
  const disruptedPods = Object.fromEntries(
    Object.entries(budget.status?.disruptedPods ?? {}).filter(([name, at]) => {
      const pod = pods.find(({ metadata }) => metadata.name === name);
      return pod && !pod.metadata.deletionTimestamp && Date.parse(at) + DISRUPTION_TIMEOUT_MS > nowMs;
    }),
  );
  const live = pods.filter((pod) => !isPodTerminal(pod));
  const currentHealthy = live.filter(
    (pod) => isPodReady(pod) && !pod.metadata.deletionTimestamp && !disruptedPods[pod.metadata.name],
  ).length;
  const { minAvailable, maxUnavailable } = budget.spec ?? {};
  let expectedPods = live.length;
  let desiredHealthy = 0;
  if (maxUnavailable !== undefined) {
    expectedPods = scale;
    desiredHealthy = Math.max(0, scale - intOrPercent(maxUnavailable, scale, true));
  } else if (typeof minAvailable === "string") {
    expectedPods = scale;
    desiredHealthy = intOrPercent(minAvailable, scale, true);
  } else desiredHealthy = minAvailable ?? 1;
  const disruptionsAllowed = expectedPods <= 0 ? 0 : Math.max(0, currentHealthy - desiredHealthy);
  const condition = {
    type: "DisruptionAllowed",
    status: disruptionsAllowed > 0 ? "True" : "False",
    reason: disruptionsAllowed > 0 ? "SufficientPods" : "InsufficientPods",
    message: "",
    observedGeneration: budget.metadata.generation,
    lastTransitionTime: rfc3339(nowMs),
  };
  return {
    currentHealthy,
    desiredHealthy,
    expectedPods,
    disruptionsAllowed,
    disruptedPods: Object.keys(disruptedPods).length > 0 ? disruptedPods : undefined,
    observedGeneration: budget.metadata.generation,
    conditions: withCondition(budget.status?.conditions, condition, nowMs),
  };
}
