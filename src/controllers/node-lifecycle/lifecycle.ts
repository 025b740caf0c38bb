import type { k8s } from "../../api/index.ts";
import { hasCode, rfc3339 } from "../../base/index.ts";
import { keyOf, resources, type Stored } from "../../client/index.ts";
import { isPodReady } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { Heartbeats, readyCondition } from "./heartbeats.ts";
import { isBeingEvicted, planTaints, silentConditions, type Eviction } from "./plan.ts";
import { podsOn } from "./pods.ts";
import { EvictionPace, evictionRate, zoneOf } from "./zones.ts";

type Node = Stored<k8s.Node>;

const MONITOR_MS = 5_000;
/** Upstream's node-monitor-grace-period. */
const GRACE_MS = 50_000;

/** Marks nodes whose kubelet is silent, and taints nodes by their conditions. https://kubernetes.io/docs/concepts/architecture/nodes/#heartbeats */
export const nodeLifecycleController: Controller = {
  name: "node-controller",
  setup(context) {
    const nodes = context.informer(resources.nodes);
    const heartbeats = new Heartbeats(
      context.informer(resources.leases),
      () => context.clock.monotonicMs(),
      context.settings.nodeMonitorGraceMs ?? GRACE_MS,
    );
    const consider = (node: Node) => context.enqueue(keyOf(node));
    /** Nodes whose Pods have been marked since the node was last Ready. */
    const marked = new Set<string>();
    const forget = (node: Node) => {
      heartbeats.forget(node);
      marked.delete(node.metadata.name);
    };
    nodes.onChange({ added: consider, updated: consider, deleted: forget });
    const pace = new EvictionPace();
    const isWell = (node: Node) => readyCondition(node)?.status === "True" && !heartbeats.isSilent(node);
    const evictionOf = (node: Node): Eviction => {
      if (readyCondition(node)?.status === "True") return "may begin";
      const rate = evictionRate(node, nodes.list(), isWell);
      if (rate === "never") return "must not be";
      if (isBeingEvicted(node)) return "goes on";
      return pace.take(zoneOf(node), rate, context.clock.monotonicMs()) ? "may begin" : "goes on";
    };
    return {
      async reconcile(name, signal) {
        const node = nodes.get(name);
        if (!node) return;
        heartbeats.look(node);
        const current = heartbeats.isSilent(node) ? await markSilent(context, node, signal) : node;
        if (readyCondition(current)?.status === "True") marked.delete(name);
        else if (!marked.has(name)) {
          await markPodsNotReady(context, name, signal);
          marked.add(name);
        }
        await applyTaints(context, current, evictionOf(current), signal);
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
  return updated;
}

/** Whoever says that a node is not ready, its kubelet or its silence: its Pods get no more traffic. */
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

async function applyTaints(
  context: ControllerContext,
  node: Node,
  eviction: Eviction,
  signal: AbortSignal,
): Promise<void> {
  const taints = planTaints(node, rfc3339(context.clock.nowMs()), eviction);
  if (!taints) return;
  await context.client.of(resources.nodes).update({ ...node, spec: { ...node.spec, taints } }, { signal });
}
