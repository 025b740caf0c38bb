import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf } from "../../base/index.ts";
import { isNamespaceTerminating, resources, type AnyObject, type Resource, type Stored } from "../../client/index.ts";
import type { ControllerContext } from "../controller.ts";
import { ownerReference } from "./owners.ts";
import type { Pod } from "./pods.ts";

type Context = Pick<ControllerContext, "client" | "events">;

/** The pod that a template describes, owned by `owner`, with a generated name unless given one. */
export function podFromTemplate(template: k8s.PodTemplateSpec, owner: Stored<AnyObject>, resource: Resource): k8s.Pod {
  const prefix = `${owner.metadata.name}-`;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      // Upstream shortens so that the generated suffix still fits a DNS label's 63.
      generateName: prefix,
      namespace: owner.metadata.namespace,
      labels: { ...template.metadata?.labels },
      annotations: { ...template.metadata?.annotations },
      finalizers: template.metadata?.finalizers ? [...template.metadata.finalizers] : undefined,
      ownerReferences: [ownerReference(owner, resource)],
    },
    spec: template.spec,
  };
}

/** Creates a pod for its owner and says so in an event on the owner. */
export async function createPod(
  context: Context,
  owner: Stored<AnyObject>,
  pod: k8s.Pod,
  signal?: AbortSignal,
): Promise<Pod> {
  try {
    const made = await context.client.of(resources.pods).create(pod, { namespace: owner.metadata.namespace, signal });
    context.events.event(owner, "Normal", "SuccessfulCreate", `Created pod: ${made.metadata.name}`);
    return made;
  } catch (error) {
    if (!isNamespaceTerminating(error) && !signal?.aborted) {
      context.events.event(owner, "Warning", "FailedCreate", `Error creating: ${messageOf(error)}`);
    }
    throw error;
  }
}

/** Deletes a pod of its owner; one already gone is fine. */
export async function deletePod(
  context: Context,
  owner: Stored<AnyObject>,
  pod: Pod,
  signal?: AbortSignal,
): Promise<void> {
  const { name, namespace, uid } = pod.metadata;
  try {
    await context.client.of(resources.pods).delete({ name, namespace }, { preconditions: { uid }, signal });
    context.events.event(owner, "Normal", "SuccessfulDelete", `Deleted pod: ${name}`);
  } catch (error) {
    if (hasCode(error, "notFound", "conflict")) return;
    if (!signal?.aborted) context.events.event(owner, "Warning", "FailedDelete", `Error deleting: ${messageOf(error)}`);
    throw error;
  }
}

/**
 * Runs `count` tasks in batches that double from 1 while they succeed, so that a quota or a broken webhook is asked once and not a thousand
 * times. Returns how many succeeded and the first error.
 */
export async function slowStart(
  count: number,
  task: (index: number) => Promise<unknown>,
): Promise<{ succeeded: number; error?: unknown }> {
  let succeeded = 0;
  let started = 0;
  for (let batch = Math.min(count, 1); batch > 0; batch = Math.min(count - started, batch * 2)) {
    const results = await Promise.allSettled(Array.from({ length: batch }, (_, index) => task(started + index)));
    started += batch;
    succeeded += results.filter((result) => result.status === "fulfilled").length;
    const failed = results.find((result) => result.status === "rejected");
    if (failed) return { succeeded, error: failed.reason };
  }
  return { succeeded };
}
