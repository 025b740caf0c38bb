import { hasCode } from "../../base/index.ts";
import { resources, splitKey } from "../../client/index.ts";
import type { Pod } from "../common/index.ts";
import type { ControllerContext } from "../controller.ts";

/** Whether what the informer shows is what a write has left. */
type IsShown = (shown: Pod | undefined) => boolean;

/**
 * Pods that a set has had made or deleted and that the informer has not shown so yet. Until it does, the cache is stale for the set: planned on
 * that, an earlier pod would go before a later one, or a later one come while an earlier one goes. A write that got no answer may have happened
 * as well, so the server is asked.
 */
export class PendingWrites {
  readonly #context: ControllerContext;
  /** By set, then by pod. */
  readonly #pending = new Map<string, Map<string, IsShown | undefined>>();

  constructor(context: ControllerContext) {
    this.#context = context;
  }

  /** Before a write and, with `isShown`, when its answer is known. */
  add(set: string, pod: string, isShown?: IsShown): void {
    const pods = this.#pending.get(set) ?? new Map<string, IsShown | undefined>();
    this.#pending.set(set, pods.set(pod, isShown));
  }

  forget(set: string): void {
    this.#pending.delete(set);
  }

  /** Whether the informer shows everything that the set has written. */
  async areSeen(set: string, signal: AbortSignal): Promise<boolean> {
    const pods = this.#pending.get(set);
    if (!pods) return true;
    for (const [pod, isShown] of pods) if (await this.#isSeen(pod, isShown, signal)) pods.delete(pod);
    if (pods.size === 0) this.#pending.delete(set);
    return pods.size === 0;
  }

  async #isSeen(key: string, isShown: IsShown | undefined, signal: AbortSignal): Promise<boolean> {
    const informer = this.#context.informer(resources.pods);
    if (isShown?.(informer.get(key))) return true;
    return isSame(await this.#live(key, signal), informer.get(key));
  }

  async #live(key: string, signal: AbortSignal): Promise<Pod | undefined> {
    try {
      return await this.#context.client.of(resources.pods).get(splitKey(key), { signal });
    } catch (error) {
      if (hasCode(error, "notFound")) return undefined;
      throw error;
    }
  }
}

/** Made: the informer shows the pod of that uid. */
export const isMade =
  (uid: string): IsShown =>
  (shown) =>
    shown?.metadata.uid === uid;

/** Deleted: the informer shows the pod of that uid going or gone. */
export const isGoing =
  (uid: string): IsShown =>
  (shown) =>
    shown?.metadata.uid !== uid || shown.metadata.deletionTimestamp !== undefined;

function isSame(live: Pod | undefined, shown: Pod | undefined): boolean {
  if (!live || !shown) return !live && !shown;
  return (
    live.metadata.uid === shown.metadata.uid && !live.metadata.deletionTimestamp === !shown.metadata.deletionTimestamp
  );
}
