import { timingSafeEqual } from "node:crypto";

import type { ApiRequest, k8s, UserInfo } from "../../api/index.ts";
import type { Clock } from "../../base/index.ts";
import type { Authenticator } from "../machinery/pipeline.ts";
import type { ClusterState } from "../cluster-state.ts";
import { bearerToken } from "./bearer.ts";

/**
 * Tokens kept in Secrets `kube-system/bootstrap-token-ID`, with which new nodes introduce themselves
 * (https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/).
 */
export class BootstrapTokens implements Authenticator {
  readonly #state: ClusterState;
  readonly #clock: Clock;

  constructor(state: ClusterState, clock: Clock) {
    this.#state = state;
    this.#clock = clock;
  }

  async authenticate(request: ApiRequest): Promise<UserInfo | undefined> {
    const [, id, secret] = /^([a-z0-9]{6})\.([a-z0-9]{16})$/.exec(bearerToken(request) ?? "") ?? [];
    if (id === undefined || secret === undefined) return undefined;
    const secrets = await this.#state.secrets.ready();
    const found = secrets.get(`kube-system/bootstrap-token-${id}`) as k8s.Secret | undefined;
    if (found?.type !== "bootstrap.kubernetes.io/token" || found.metadata.deletionTimestamp !== undefined)
      return undefined;
    const field = (name: string): string => Buffer.from(found.data?.[name] ?? "", "base64").toString();
    if (!isEqual(field("token-secret"), secret) || field("token-id") !== id) return undefined;
    if (field("usage-bootstrap-authentication") !== "true") return undefined;
    const expiration = field("expiration");
    if (expiration !== "" && !(Date.parse(expiration) > this.#clock.nowMs())) return undefined;
    const extra = field("auth-extra-groups")
      .split(",")
      .filter((group) => group.startsWith("system:bootstrappers:"));
    return { name: `system:bootstrap:${id}`, groups: ["system:bootstrappers", ...extra] };
  }
}

function isEqual(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
