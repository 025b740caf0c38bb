import type { k8s } from "../../api/index.ts";
import { hasCode, rfc3339 } from "../../base/index.ts";
import { keyOf, resources, type Stored } from "../../client/index.ts";
import { isPodReady, podCondition, type Pod } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { evictionDelayMs, planTaints, silentConditions } from "./plan.ts";

type Node = Stored<k8s.Node>;

const MONITOR_MS = 5_000;
/** Upstream's node-monitor-grace-period. */
const GRACE_MS = 50_000;

/** Marks nodes whose kubelet is silent, and taints nodes by their conditions. https://kubernetes.io/docs/concepts/architecture/nodes/#heartbeats */
export const nodeLifecycleController: Controller = {
  name: "node-controller",
  setup(context) {
    const nodes = context.informer(resources.nodes);
    const leases = context.informer(resources.leases);
    /** When this process last saw the node's lease or Ready heartbeat change: clocks need not agree. */
    const seen = new Map<string, { mark: string; atMs: number }>();
    const consider = (node: Node) => context.enqueue(keyOf(node));
    nodes.onChange({ added: consider, updated: consider, deleted: (node) => void seen.delete(node.metadata.name) });
    const graceMs = (lease: Stored<k8s.Lease> | undefined) =>
      Math.max(context.settings.nodeMonitorGraceMs ?? GRACE_MS, (lease?.spec?.leaseDurationSeconds ?? 0) * 1000 * 1.25);
    return {
      async reconcile(name, signal) {
        const node = nodes.get(name);
        if (!node) return;
        const lease = leases.get(`kube-node-lease/${name}`);
        const heartbeat = node.status?.conditions?.find(({ type }) => type === "Ready")?.lastHeartbeatTime;
        const mark = `${lease?.spec?.renewTime}/${heartbeat}`;
        const nowMs = context.clock.monotonicMs();
        if (seen.get(name)?.mark !== mark) seen.set(name, { mark, atMs: nowMs });
        const silent = nowMs - seen.get(name)!.atMs > graceMs(lease);
        const current = silent ? await markSilent(context, node, signal) : node;
        await applyTaints(context, current, signal);
        return { requeueAfterMs: MONITOR_MS };
      },
    };
  },
};

async function markSilent(context: ControllerContext, node: Node, signal: AbortSignal): Promise<Node> {
  const conditions = silentConditions(node, rfc3339(context.clock.nowMs()));
  if (!conditions) return node;
  const updated = await context.client
    .of(resources.nodes)
    .updateStatus({ ...node, status: { ...node.status, conditions } }, { signal });
  context.events.event(node, "Normal", "NodeNotReady", `Node ${node.metadata.name} status is now: NodeNotReady`);
  await markPodsNotReady(context, node.metadata.name, signal);
  return updated;
}

async function markPodsNotReady(context: ControllerContext, nodeName: string, signal: AbortSignal): Promise<void> {
  const client = context.client.of(resources.pods);
  for (const pod of podsOn(context, nodeName)) {
    if (!isPodReady(pod)) continue;
    const lastTransitionTime = rfc3339(context.clock.nowMs());
    const conditions = pod.status!.conditions!.map((condition) =>
      condition.type === "Ready" ? { ...condition, status: "False", lastTransitionTime } : condition,
    );
    try {
      await client.updateStatus({ ...pod, status: { ...pod.status, conditions } }, { signal });
      context.events.event(pod, "Warning", "NodeNotReady", "Node is not ready");
    } catch (error) {
      if (!hasCode(error, "notFound", "conflict")) throw error;
    }
  }
}

async function applyTaints(context: ControllerContext, node: Node, signal: AbortSignal): Promise<void> {
  const taints = planTaints(node, rfc3339(context.clock.nowMs()));
  if (!taints) return;
  await context.client.of(resources.nodes).update({ ...node, spec: { ...node.spec, taints } }, { signal });
}

function podsOn(context: ControllerContext, nodeName: string): readonly Pod[] {
  return context
    .informer(resources.pods)
    .addIndex("node", (pod) => (pod.spec?.nodeName ? [pod.spec.nodeName] : []))
    .byIndex("node", nodeName);
}

/** Evicts pods from nodes with NoExecute taints that they don't tolerate, or no longer. */
export const taintEvictionController: Controller = {
  name: "taint-eviction-controller",
  serviceAccount: "node-controller",
  component: "taint-eviction-controller",
  setup(context) {
    const nodes = context.informer(resources.nodes);
    const pods = context.informer(resources.pods);
    podsOn(context, "");
    const enqueuePods = (node: Node) => {
      for (const pod of podsOn(context, node.metadata.name)) context.enqueue(keyOf(pod));
    };
    const tainted = (node: Node | undefined) =>
      node?.spec?.taints?.some(({ effect }) => effect === "NoExecute") ?? false;
    nodes.onChange({
      added: (node) => tainted(node) && enqueuePods(node),
      updated: (node, old) =>
        (tainted(node) || tainted(old)) && node.spec?.taints !== old.spec?.taints && enqueuePods(node),
    });
    const consider = (pod: Pod) => {
      if (pod.spec?.nodeName && tainted(nodes.get(pod.spec.nodeName))) context.enqueue(keyOf(pod));
    };
    pods.onChange({
      added: consider,
      updated: (pod, old) => pod.spec !== old.spec && consider(pod),
    });
    return {
      async reconcile(key, signal) {
        const pod = pods.get(key);
        const node = pod?.spec?.nodeName ? nodes.get(pod.spec.nodeName) : undefined;
        if (!pod || !node || pod.metadata.deletionTimestamp) return;
        const delayMs = evictionDelayMs(pod, node, context.clock.nowMs());
        if (delayMs === undefined) return;
        if (delayMs > 0) return { requeueAfterMs: delayMs };
        await evict(context, pod, signal);
      },
    };
  },
};

async function evict(context: ControllerContext, pod: Pod, signal: AbortSignal): Promise<void> {
  const client = context.client.of(resources.pods);
  const { name, namespace, uid } = pod.metadata;
  context.events.event(pod, "Normal", "TaintManagerEviction", `Marking for deletion Pod ${namespace}/${name}`);
  const condition = {
    type: "DisruptionTarget",
    status: "True",
    reason: "DeletionByTaintManager",
    message: "Taint manager: deleting due to NoExecute taint",
    lastTransitionTime: rfc3339(context.clock.nowMs()),
  };
  try {
    if (!podCondition(pod, "DisruptionTarget")) {
      const conditions = [...(pod.status?.conditions ?? []), condition];
      await client.updateStatus({ ...pod, status: { ...pod.status, conditions } }, { signal });
    }
    await client.delete({ name, namespace }, { preconditions: { uid }, signal });
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}
