import { hasCode, messageOf, rfc3339, type Clock, type Logger } from "../../../base/index.ts";
import type { KubeletApi } from "../kubelet-api.ts";
import type { Pod, PodStatus } from "../pod/imports.ts";
import { STATIC } from "./manifest.ts";

interface Live {
  pod: Pod;
  /** The mirror that has the Pod's status, by its own uid. */
  told?: string | undefined;
}

export interface StaticPodsOptions {
  readonly api: KubeletApi;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Static Pods beside the API's: `api` is the kubelet's view, in which both are alike. Each static Pod has a mirror in the API, an object that only shows it:
 * deleting the mirror makes a new one, and when the API takes none the Pod runs all the same.
 */
export class StaticPods {
  readonly api: KubeletApi;
  readonly #options: StaticPodsOptions;
  readonly #listeners: Array<(uid: string) => void> = [];
  /** By uid: what the kubelet has been shown and has not ended yet. */
  readonly #live = new Map<string, Live>();
  #wanted: readonly Pod[] = [];
  #syncing: Promise<void> | undefined;
  #again = false;
  #complained = "";

  constructor(options: StaticPodsOptions) {
    this.#options = options;
    const { api } = options;
    this.api = withOverrides(api, {
      pods: () => [
        ...api.pods().filter((pod) => mirrored(pod) === undefined),
        ...[...this.#live.values()].map(({ pod }) => pod),
      ],
      onPodChange: (listener) => {
        this.#listeners.push(listener);
        api.onPodChange((uid) => {
          if (api.pods().some((pod) => pod.metadata.uid === uid && mirrored(pod) === undefined)) return listener(uid);
          // A mirror, or something that is gone: it may have been one.
          void this.sync();
          if (!this.#live.has(uid)) listener(uid);
          return undefined;
        });
      },
      writePodStatus: (pod, status) => this.#writeStatus(pod, status),
      removePod: (pod) => this.#removePod(pod),
    });
  }

  /** What the manifests say now. A changed one ends as any Pod does, before what it has become starts. */
  want(pods: readonly Pod[]): void {
    this.#wanted = pods;
    this.#reconcile();
    void this.sync();
  }

  #reconcile(): void {
    const wanted = new Map(this.#wanted.map((pod) => [pod.metadata.uid!, pod]));
    for (const [uid, live] of this.#live)
      if (!wanted.has(uid) && !live.pod.metadata.deletionTimestamp)
        this.#show({ ...live, pod: this.#leaving(live.pod) });
    for (const [uid, pod] of wanted) {
      const occupied = [...this.#live.values()].some((live) => fullName(live.pod) === fullName(pod));
      if (this.#live.has(uid) || occupied) continue;
      // After a restart the mirror knows what was.
      const mirror = this.#options.api.pods().find((candidate) => mirrored(candidate) === uid);
      this.#show({ pod: mirror?.status ? { ...pod, status: mirror.status } : pod });
    }
  }

  #leaving(pod: Pod): Pod {
    const { metadata, spec } = pod;
    return {
      ...pod,
      metadata: {
        ...metadata,
        deletionTimestamp: rfc3339(this.#options.clock.nowMs()),
        deletionGracePeriodSeconds: spec?.terminationGracePeriodSeconds ?? 30,
      },
    };
  }

  #show(live: Live): void {
    this.#live.set(live.pod.metadata.uid!, live);
    this.#tell(live.pod.metadata.uid!);
  }

  #tell(uid: string): void {
    for (const listener of this.#listeners) listener(uid);
  }

  async #writeStatus(pod: Pod, status: PodStatus): Promise<Pod> {
    const live = this.#live.get(pod.metadata.uid!);
    if (!live) return this.#options.api.writePodStatus(pod, status);
    live.pod = { ...live.pod, status };
    live.told = undefined;
    this.#tell(pod.metadata.uid!);
    await this.sync();
    return live.pod;
  }

  async #removePod(pod: Pod): Promise<void> {
    if (!this.#live.delete(pod.metadata.uid!)) return this.#options.api.removePod(pod);
    this.#tell(pod.metadata.uid!);
    this.#reconcile();
    await this.sync();
  }

  /** Brings the mirrors to what runs here. Never throws: what the API refuses is tried again with the next change or round. */
  sync(): Promise<void> {
    this.#again = true;
    this.#syncing ??= this.#syncAll().finally(() => (this.#syncing = undefined));
    return this.#syncing;
  }

  async #syncAll(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      try {
        await this.#syncOnce();
        this.#complained = "";
      } catch (error) {
        const message = messageOf(error);
        if (message !== this.#complained)
          this.#options.log.warn("a static Pod is not shown in the API", { error: message });
        this.#complained = message;
      }
    }
  }

  async #syncOnce(): Promise<void> {
    const { api } = this.#options;
    const mirrors = api.pods().filter((pod) => mirrored(pod) !== undefined);
    for (const mirror of mirrors) {
      const shown = this.#live.get(mirrored(mirror)!);
      if (shown && !mirror.metadata.deletionTimestamp) continue;
      await api.removePod(mirror).catch((error: unknown) => {
        if (!hasCode(error, "notFound", "conflict")) throw error;
      });
    }
    for (const live of this.#live.values()) {
      const uid = live.pod.metadata.uid!;
      const mirror = mirrors.find((pod) => mirrored(pod) === uid && !pod.metadata.deletionTimestamp);
      if (!mirror) {
        if (live.pod.metadata.deletionTimestamp || mirrors.some((pod) => fullName(pod) === fullName(live.pod)))
          continue;
        await api.createPod(mirrorOf(live.pod, api.node())).catch((error: unknown) => {
          if (!hasCode(error, "alreadyExists")) throw error;
        });
      } else if (live.told !== mirror.metadata.uid && live.pod.status) {
        live.told = mirror.metadata.uid;
        await api.writePodStatus(mirror, live.pod.status).catch((error: unknown) => {
          live.told = undefined;
          if (!hasCode(error, "notFound", "conflict")) throw error;
        });
      }
    }
  }
}

/** Whose mirror a Pod is: the uid that the static Pod has on its node. */
export function mirrored(pod: Pod): string | undefined {
  return pod.metadata.annotations?.[STATIC.mirror];
}

function fullName(pod: Pod): string {
  return `${pod.metadata.namespace}/${pod.metadata.name}`;
}

function mirrorOf(pod: Pod, node: { metadata: { name?: string; uid?: string } } | undefined): Pod {
  const { name, namespace, labels, annotations, uid } = pod.metadata;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      ...(labels ? { labels } : {}),
      annotations: { ...annotations, [STATIC.mirror]: uid! },
      ...(node?.metadata.uid
        ? {
            ownerReferences: [
              { apiVersion: "v1", kind: "Node", name: node.metadata.name!, uid: node.metadata.uid, controller: true },
            ],
          }
        : {}),
    },
    spec: pod.spec,
  } as Pod;
}

/** An API of which some members are others'. */
function withOverrides(api: KubeletApi, overrides: Partial<KubeletApi>): KubeletApi {
  return new Proxy(api, {
    get(target, key) {
      const own = Reflect.get(overrides, key) as unknown;
      if (own !== undefined) return own;
      const member = Reflect.get(target, key) as unknown;
      return typeof member === "function" ? (member.bind(target) as unknown) : member;
    },
  });
}
