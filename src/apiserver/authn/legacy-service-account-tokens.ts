import { timingSafeEqual } from "node:crypto";

import type { ApiRequest, UserInfo } from "../../api/index.ts";
import { unauthenticated } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Authenticator } from "../machinery/pipeline.ts";
import { bearerToken } from "./bearer.ts";
import { peekJwt, signJwt, verifyJwt } from "./jwt.ts";
import type { SigningKey } from "./jwt.ts";
import { serviceAccountUser } from "./service-account-tokens.ts";

const ISSUER = "kubernetes/serviceaccount";
const CLAIM = "kubernetes.io/serviceaccount";

interface Identity {
  readonly namespace: string;
  readonly serviceAccount: { readonly name: string; readonly uid: string };
  readonly secretName: string;
}

/**
 * Tokens without an end, kept in Secrets of type `kubernetes.io/service-account-token`: good while the Secret holds them and the account
 * lives. https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets
 */
export class LegacyServiceAccountTokens implements Authenticator {
  readonly #keys: readonly SigningKey[];
  readonly #state: ClusterState;

  constructor(options: { keys: readonly SigningKey[]; state: ClusterState }) {
    this.#keys = options.keys;
    this.#state = options.state;
  }

  issue({ namespace, serviceAccount, secretName }: Identity): string {
    const claims = {
      iss: ISSUER,
      [`${CLAIM}/namespace`]: namespace,
      [`${CLAIM}/secret.name`]: secretName,
      [`${CLAIM}/service-account.name`]: serviceAccount.name,
      [`${CLAIM}/service-account.uid`]: serviceAccount.uid,
      sub: `system:serviceaccount:${namespace}:${serviceAccount.name}`,
    };
    return signJwt(claims, this.#keys[0]!);
  }

  async authenticate(request: ApiRequest): Promise<UserInfo | undefined> {
    const token = bearerToken(request);
    if (token === undefined || peekJwt(token)?.["iss"] !== ISSUER) return undefined;
    const user = await this.verify(token);
    if (user === undefined) throw unauthenticated("Unauthorized");
    return user;
  }

  /** Undefined for a token that is not ours, or whose Secret or account is gone or has another by now. */
  async verify(token: string): Promise<UserInfo | undefined> {
    const claims = verifyJwt(token, this.#keys);
    if (claims?.["iss"] !== ISSUER) return undefined;
    const claim = (name: string) => String(claims[`${CLAIM}/${name}`]);
    const namespace = claim("namespace");
    const secret = await this.#state.secrets.find(`${namespace}/${claim("secret.name")}`);
    const held = Buffer.from(secret?.data?.["token"] ?? "", "base64");
    if (held.length !== token.length || !timingSafeEqual(held, Buffer.from(token))) return undefined;
    const account = await this.#state.serviceAccounts.find(`${namespace}/${claim("service-account.name")}`);
    if (account === undefined || account.metadata.uid !== claim("service-account.uid")) return undefined;
    if (secret?.metadata.deletionTimestamp ?? account.metadata.deletionTimestamp) return undefined;
    return serviceAccountUser(namespace, account.metadata.name, account.metadata.uid);
  }
}
