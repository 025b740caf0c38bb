import type { k8s } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { keyOf, resources, type Stored } from "../../client/index.ts";
import { disruptionTarget, podCondition, type Pod } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { evictionDelayMs } from "./plan.ts";
import { podsOn } from "./pods.ts";

type Node = Stored<k8s.Node>;

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
  const why = "Taint manager: deleting due to NoExecute taint";
  const condition = disruptionTarget("DeletionByTaintManager", why, context.clock.nowMs());
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
