import type { k8s, KubeObject } from "../../api/index.ts";
import { hasCode, rfc3339 } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import { resources } from "../../client/index.ts";
import type { Stored } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Endpoint } from "../machinery/pipeline.ts";
import { badRequestError, conflictError, statusError } from "../machinery/status.ts";
import { selects } from "../resources/shared/object-meta.ts";
import { answering } from "./endpoint.ts";

const success: KubeObject = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 };

/** A scheduler's decision: `pods/binding`, and the older `bindings`. */
export function bindingEndpoints(clock: Clock): Endpoint[] {
  const bind: Endpoint["handle"] = async (call, tools) => {
    const binding = (await tools.decode(call)) as k8s.Binding;
    const name = call.info.name || binding.metadata?.name || "";
    if (!binding.target?.name) throw badRequestError("binding.target.name: Required value");
    await tools.rewrite(call, { resource: "pods", name }, (pod) => bound(pod as Stored<k8s.Pod>, binding, clock));
    return success;
  };
  const common = { group: "", namespaced: true, kind: "v1/Binding" };
  return [
    answering({ ...common, resource: "pods", subresource: "binding" }, bind),
    answering({ ...common, resource: "bindings", subresource: "" }, bind),
  ];
}

function bound(pod: Stored<k8s.Pod>, binding: k8s.Binding, clock: Clock): KubeObject {
  const { name, uid, deletionTimestamp } = pod.metadata;
  const refuse = (why: string) => conflictError({ group: "", plural: "pods/binding" }, name, why);
  if (binding.metadata?.uid && binding.metadata.uid !== uid)
    throw refuse(`Precondition failed: UID in precondition: ${binding.metadata.uid}, UID in object meta: ${uid}`);
  if (deletionTimestamp) throw refuse(`pod ${name} is being deleted, cannot be assigned to a host`);
  if (pod.spec?.nodeName) throw refuse(`pod ${name} is already assigned to node "${pod.spec.nodeName}"`);
  if ((pod.spec?.schedulingGates?.length ?? 0) > 0) throw refuse(`pod ${name} has non-empty .spec.schedulingGates`);
  return boundPod(pod, binding.target.name!, binding, clock) as unknown as KubeObject;
}

function boundPod(pod: Stored<k8s.Pod>, node: string, binding: k8s.Binding, clock: Clock): k8s.Pod {
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== "PodScheduled");
  const scheduled: k8s.PodCondition = {
    type: "PodScheduled",
    status: "True",
    lastTransitionTime: rfc3339(clock.nowMs()),
  };
  const annotations = { ...pod.metadata.annotations, ...binding.metadata?.annotations };
  return {
    ...pod,
    metadata: Object.keys(annotations).length > 0 ? { ...pod.metadata, annotations } : pod.metadata,
    spec: { ...pod.spec!, nodeName: node },
    status: { ...pod.status, conditions: [...others, scheduled] },
  };
}

/** A delete that disruption budgets may refuse (https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/). */
export function evictionEndpoint(state: ClusterState, clock: Clock): Endpoint {
  return answering(
    { group: "", resource: "pods", subresource: "eviction", namespaced: true, kind: "policy/v1/Eviction" },
    async (call, tools) => {
      const eviction = (await tools.decode(call)) as k8s.Eviction;
      const { namespace, name } = call.info;
      const pod = await state.client.of(resources.pods).get({ namespace, name });
      const dryRun = call.request.query.has("dryRun") || eviction.deleteOptions?.dryRun !== undefined;
      if (!canIgnoreBudgets(pod)) await spendBudget(state, clock, pod, dryRun);
      if (!dryRun) await tools.rewrite(call, { resource: "pods", name }, (old) => disrupted(old as k8s.Pod, clock));
      await state.client.of(resources.pods).delete(
        { namespace, name },
        {
          gracePeriodSeconds: eviction.deleteOptions?.gracePeriodSeconds,
          preconditions: { uid: pod.metadata.uid },
          dryRun,
        },
      );
      return success;
    },
  );
}

/** Jobs may count a Pod that was evicted otherwise than one that failed. */
function disrupted(pod: k8s.Pod, clock: Clock): KubeObject {
  const condition = {
    type: "DisruptionTarget",
    status: "True",
    reason: "EvictionByEvictionAPI",
    message: "Eviction API: evicting",
    lastTransitionTime: rfc3339(clock.nowMs()),
  };
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== condition.type);
  return { ...pod, status: { ...pod.status, conditions: [...others, condition] } } as KubeObject;
}

const isReady = ({ status }: k8s.Pod): boolean =>
  status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") === true;

const canIgnoreBudgets = ({ status, metadata }: k8s.Pod): boolean =>
  ["Succeeded", "Failed", "Pending"].includes(status?.phase ?? "Pending") || metadata.deletionTimestamp !== undefined;

const maxBudgetAttempts = 5;

async function spendBudget(state: ClusterState, clock: Clock, pod: Stored<k8s.Pod>, dryRun: boolean): Promise<void> {
  const budgets = state.client.of(resources.podDisruptionBudgets);
  for (let attempt = 1; ; attempt++) {
    const { items } = await budgets.list({ namespace: pod.metadata.namespace });
    const guarding = items.filter(({ spec }) => selects(spec?.selector, pod.metadata.labels));
    if (guarding.length === 0) return;
    if (guarding.length > 1)
      throw statusError("internal", {
        message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
      });
    const [budget] = guarding;
    if (!mustSpend(pod, budget!)) return;
    const spent = spend(pod, budget!, clock);
    try {
      if (!dryRun) await budgets.updateStatus(spent);
      return;
    } catch (error) {
      if (!hasCode(error, "conflict") || attempt === maxBudgetAttempts) throw error;
    }
  }
}

/** A Pod that isn't ready disrupts nothing when the application is healthy, or always if the budget says so. */
function mustSpend(pod: k8s.Pod, { spec, status }: k8s.PodDisruptionBudget): boolean {
  if (isReady(pod)) return true;
  if (spec?.unhealthyPodEvictionPolicy === "AlwaysAllow") return false;
  return !((status?.currentHealthy ?? 0) >= (status?.desiredHealthy ?? 0) && (status?.desiredHealthy ?? 0) > 0);
}

function spend(pod: k8s.Pod, budget: Stored<k8s.PodDisruptionBudget>, clock: Clock): k8s.PodDisruptionBudget {
  const status = budget.status ?? { disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 };
  const fresh = (status.observedGeneration ?? 0) >= (budget.metadata.generation ?? 0);
  if (!fresh || status.disruptionsAllowed <= 0) throw refusal(budget, fresh);
  return {
    ...budget,
    status: {
      ...status,
      disruptionsAllowed: status.disruptionsAllowed - 1,
      disruptedPods: { ...status.disruptedPods, [pod.metadata.name!]: rfc3339(clock.nowMs()) },
    },
  };
}

function refusal({ metadata, status }: Stored<k8s.PodDisruptionBudget>, fresh: boolean) {
  const message = fresh
    ? `The disruption budget ${metadata.name} needs ${status?.desiredHealthy ?? 0} healthy pods and has ${status?.currentHealthy ?? 0} currently`
    : `The disruption budget ${metadata.name} is still being processed by the server.`;
  return statusError("resourceExhausted", {
    message: "Cannot evict pod as it would violate the pod's disruption budget.",
    details: { causes: [{ reason: "DisruptionBudget", message }], ...(fresh ? {} : { retryAfterSeconds: 10 }) },
  });
}
