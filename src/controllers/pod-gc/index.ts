import type { k8s } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { resources } from "../../client/index.ts";
import { disruptionTarget, isPodTerminal, withoutCondition, type Pod } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";

const PERIOD_MS = 20_000;
/** A node may be back in a moment: its pods are orphans only after this long. */
const QUARANTINE_MS = 40_000;
const TERMINATED_THRESHOLD = 12_500;

const OUT_OF_SERVICE = "node.kubernetes.io/out-of-service";

/**
 * Removes pods that nobody else will: of nodes that are gone, terminating on one that somebody has declared out of service, terminating
 * without ever having been scheduled, and too many finished ones.
 */
export const podGarbageCollector: Controller = {
  name: "pod-garbage-collector",
  workers: 1,
  setup(context) {
    const pods = context.informer(resources.pods);
    const nodes = context.informer(resources.nodes);
    const missingSince = new Map<string, number>();
    context.enqueue("sweep");
    return {
      async reconcile(_key, signal) {
        const nowMs = context.clock.monotonicMs();
        const gone = new Set<string>();
        for (const pod of pods.values()) {
          const name = pod.spec?.nodeName;
          if (!name || nodes.get(name)) continue;
          if (!missingSince.has(name)) missingSince.set(name, nowMs);
          if (nowMs - missingSince.get(name)! >= QUARANTINE_MS) gone.add(name);
        }
        for (const name of missingSince.keys()) if (nodes.get(name)) missingSince.delete(name);
        for (const pod of pods.values())
          if (pod.metadata.deletionTimestamp && isOutOfService(nodes.get(pod.spec?.nodeName ?? "")))
            await remove(context, pod, signal);
        await sweep(context, [...pods.values()], gone, signal);
        return { requeueAfterMs: PERIOD_MS };
      },
    };
  },
};

/** https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown */
function isOutOfService(node: k8s.Node | undefined): boolean {
  const ready = node?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
  return !ready && (node?.spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE) ?? false);
}

async function sweep(
  context: ControllerContext,
  pods: readonly Pod[],
  goneNodes: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  for (const pod of pods) {
    const { nodeName } = pod.spec ?? {};
    if (nodeName && goneNodes.has(nodeName)) await removeOrphan(context, pod, signal);
    else if (!nodeName && pod.metadata.deletionTimestamp) await remove(context, pod, signal);
  }
  const threshold = context.settings.terminatedPodThreshold ?? TERMINATED_THRESHOLD;
  const finished = pods.filter((pod) => isPodTerminal(pod) && !pod.metadata.deletionTimestamp);
  if (threshold <= 0 || finished.length <= threshold) return;
  const age = (pod: Pod) => pod.metadata.creationTimestamp ?? "";
  const oldest = finished
    .sort((left, right) => (age(left) < age(right) ? -1 : 1))
    .slice(0, finished.length - threshold);
  for (const pod of oldest) await remove(context, pod, signal);
}

async function removeOrphan(context: ControllerContext, pod: Pod, signal: AbortSignal): Promise<void> {
  const { name } = pod.metadata;
  try {
    // The server's word on the node, not only the cache's.
    await context.client.of(resources.nodes).get({ name: pod.spec!.nodeName! }, { signal });
    return;
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
  if (!isPodTerminal(pod)) {
    const condition = disruptionTarget("DeletionByPodGC", "PodGC: node no longer exists", context.clock.nowMs());
    const conditions = [...withoutCondition(pod.status?.conditions, condition.type), condition];
    try {
      await context.client
        .of(resources.pods)
        .updateStatus({ ...pod, status: { ...pod.status, phase: "Failed", conditions } }, { signal });
    } catch (error) {
      if (!hasCode(error, "notFound", "conflict")) throw error;
      context.log.debug("an orphaned pod was not marked", { pod: name });
    }
  }
  await remove(context, pod, signal);
}

async function remove(context: ControllerContext, pod: Pod, signal: AbortSignal): Promise<void> {
  const { name, namespace, uid } = pod.metadata;
  try {
    await context.client
      .of(resources.pods)
      .delete({ name, namespace }, { gracePeriodSeconds: 0, preconditions: { uid }, signal });
  } catch (error) {
    if (!hasCode(error, "notFound", "conflict")) throw error;
  }
}
