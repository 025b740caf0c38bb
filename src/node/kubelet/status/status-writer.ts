import { hasCode, type Logger } from "../../../base/index.ts";
import type { KubeletApi } from "../kubelet-api.ts";
import type { Pod, PodStatus } from "../pod/imports.ts";

/**
 * Brings Pod statuses to the API: the newest one wins, one write at a time for each Pod, and none when the API has it already. A refused
 * write is tried again with what the API has then.
 */
export class StatusWriter {
  readonly #api: KubeletApi;
  readonly #log: Logger;
  readonly #pending = new Map<string, { pod: Pod; status: PodStatus }>();
  readonly #busy = new Map<string, Promise<void>>();
  readonly #written = new Map<string, string>();

  constructor(api: KubeletApi, log: Logger) {
    this.#api = api;
    this.#log = log;
  }

  /** Resolves when this status, or a newer one, is stored or can't be. */
  write(pod: Pod, status: PodStatus): Promise<void> {
    const uid = pod.metadata.uid!;
    this.#pending.set(uid, { pod, status });
    const busy = this.#busy.get(uid) ?? this.#drain(uid).finally(() => this.#busy.delete(uid));
    this.#busy.set(uid, busy);
    return busy;
  }

  forget(uid: string): void {
    this.#pending.delete(uid);
    this.#written.delete(uid);
  }

  async #drain(uid: string): Promise<void> {
    for (let next = this.#pending.get(uid); next; next = this.#pending.get(uid)) {
      this.#pending.delete(uid);
      const text = JSON.stringify(comparable(next.status));
      if (this.#written.get(uid) === text) continue;
      try {
        await this.#api.writePodStatus(next.pod, next.status);
        this.#written.set(uid, text);
      } catch (error) {
        if (hasCode(error, "notFound")) return;
        this.#log.warn("could not write a Pod's status", { pod: next.pod.metadata.name, error });
        return;
      }
    }
  }
}

function comparable(status: PodStatus): unknown {
  return { ...status, conditions: status.conditions?.map(({ lastProbeTime: _, ...condition }) => condition) };
}
