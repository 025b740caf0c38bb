import { keyOf, labelPredicate, type AnyObject, type LabelSelectorLike, type Resource } from "../../client/index.ts";
import type { ControllerContext } from "../controller.ts";
import { resources } from "../../client/index.ts";
import { controllerOf, indexByController } from "./owners.ts";
import type { Pod } from "./pods.ts";

export interface PodObserver {
  created?(key: string, pod: Pod): void;
  gone?(key: string, pod: Pod): void;
}

/** Enqueues owners of a kind when they change, and when pods they control, or could adopt, do. */
export function watchOwnersAndPods<T extends AnyObject & { spec?: { selector?: LabelSelectorLike } }>(
  context: ControllerContext,
  resource: Resource<T>,
  observer: PodObserver = {},
): void {
  const owners = context.informer(resource);
  const pods = context.informer(resources.pods);
  indexByController(pods);
  const enqueue = (owner: AnyObject) => context.enqueue(keyOf(owner));
  owners.onChange({ added: enqueue, updated: enqueue, deleted: enqueue });
  const ownerKey = (pod: Pod) => {
    const owner = controllerOf(pod);
    return owner?.kind === resource.kind ? `${pod.metadata.namespace}/${owner.name}` : undefined;
  };
  const changed = (pod: Pod) => {
    const key = ownerKey(pod);
    if (key) return context.enqueue(key);
    if (controllerOf(pod)) return;
    for (const owner of owners.inNamespace(pod.metadata.namespace!)) {
      if (labelPredicate(owner.spec?.selector)(pod.metadata.labels)) enqueue(owner);
    }
  };
  pods.onChange({
    added(pod) {
      const key = ownerKey(pod);
      if (key) observer.created?.(key, pod);
      changed(pod);
    },
    updated(pod, old) {
      const key = ownerKey(pod);
      if (key && pod.metadata.deletionTimestamp) observer.gone?.(key, pod);
      const before = ownerKey(old);
      if (before && before !== key) context.enqueue(before);
      changed(pod);
    },
    deleted(pod) {
      const key = ownerKey(pod);
      if (key) observer.gone?.(key, pod);
      changed(pod);
    },
  });
}
