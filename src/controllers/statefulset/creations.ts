import { hasCode } from "../../base/index.ts";
import { resources, splitKey } from "../../client/index.ts";
import type { Pod } from "../common/index.ts";
import type { ControllerContext } from "../controller.ts";

/**
 * Pods that a set has asked for and that the informer has not shown yet. Until it does, the cache is stale for the set: planned on that, an
 * earlier pod would go before a later one. A pod whose creation got no answer may exist as well, so the server is asked.
 */
export class PendingCreations {
  readonly #context: ControllerContext;
  /** By set: the pods' keys, with their uids where an answer told them. */
  readonly #pending = new Map<string, Map<string, string | undefined>>();

  constructor(context: ControllerContext) {
    this.#context = context;
  }

  add(set: string, pod: string, uid?: string): void {
    const pods = this.#pending.get(set) ?? new Map<string, string | undefined>();
    this.#pending.set(set, pods.set(pod, uid));
  }

  forget(set: string): void {
    this.#pending.delete(set);
  }

  /** Whether the informer shows everything that the set has asked for. */
  async areSeen(set: string, signal: AbortSignal): Promise<boolean> {
    const pods = this.#pending.get(set);
    if (!pods) return true;
    for (const [pod, uid] of pods) if (await this.#isSeen(pod, uid, signal)) pods.delete(pod);
    if (pods.size === 0) this.#pending.delete(set);
    return pods.size === 0;
  }

  async #isSeen(key: string, uid: string | undefined, signal: AbortSignal): Promise<boolean> {
    const informer = this.#context.informer(resources.pods);
    if (uid !== undefined && informer.get(key)?.metadata.uid === uid) return true;
    const live = await this.#live(key, signal);
    // Created and gone again, before or after the informer looked: there is nothing to wait for.
    return live === undefined || informer.get(key)?.metadata.uid === live.metadata.uid;
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
