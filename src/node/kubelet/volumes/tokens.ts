import type { Clock } from "../../../base/index.ts";
import type { KubeletApi } from "../kubelet-api.ts";
import type { Pod } from "../pod/imports.ts";

/** After this share of its life a token is renewed; a day at the latest. As upstream's token manager. */
const RENEW_AT = 0.8;
const MAX_AGE_MS = 24 * 3600 * 1000;
const MAX_CACHED = 10_000;

export interface PodToken {
  readonly token: string;
  readonly expirationMs: number;
}

/** Service-account tokens of this node's Pods, asked for once and renewed in time. */
export class TokenCache {
  readonly #api: KubeletApi;
  readonly #clock: Clock;
  readonly #tokens = new Map<string, PodToken & { renewAtMs: number }>();

  constructor(api: KubeletApi, clock: Clock) {
    this.#api = api;
    this.#clock = clock;
  }

  async token(pod: Pod, audience: string | undefined, expirationSeconds: number): Promise<PodToken> {
    const key = [pod.metadata.uid, audience ?? "", expirationSeconds].join("/");
    const cached = this.#tokens.get(key);
    const nowMs = this.#clock.nowMs();
    if (cached && nowMs < cached.renewAtMs) return cached;
    const { token, expirationMs } = await this.#api.createToken(
      pod.metadata.namespace!,
      pod.spec?.serviceAccountName ?? "default",
      {
        audiences: audience ? [audience] : [],
        expirationSeconds,
        boundObjectRef: { apiVersion: "v1", kind: "Pod", name: pod.metadata.name!, uid: pod.metadata.uid! },
      },
    );
    if (this.#tokens.size >= MAX_CACHED) this.#tokens.clear();
    const renewAtMs = nowMs + Math.min((expirationMs - nowMs) * RENEW_AT, MAX_AGE_MS);
    this.#tokens.set(key, { token, expirationMs, renewAtMs });
    return { token, expirationMs };
  }

  forget(podUid: string): void {
    for (const key of this.#tokens.keys()) if (key.startsWith(`${podUid}/`)) this.#tokens.delete(key);
  }
}
