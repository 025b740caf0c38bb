import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";

import type { ApiRequest, UserInfo } from "../../api/index.ts";
import { errnoOf, randomUuid, unauthenticated } from "../../base/index.ts";
import type { Clock, Random } from "../../base/index.ts";
import { writePrivate } from "../certificates/cluster.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Authenticator } from "../machinery/pipeline.ts";
import { bearerToken } from "./bearer.ts";
import { peekJwt, signingKeyOf, signJwt, verifyJwt } from "./jwt.ts";
import type { SigningKey } from "./jwt.ts";

/** What a token is bound to: it dies with it. */
export interface BoundObject {
  readonly kind: "Pod" | "Secret" | "Node";
  readonly name: string;
  readonly uid: string;
}

interface TokenWish {
  readonly serviceAccount: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly audiences: readonly string[];
  readonly expirationSeconds: number;
  readonly bound?: BoundObject;
  /** The node of the Pod that it is bound to. */
  readonly node?: { readonly name: string; readonly uid: string };
}

interface KubernetesClaims {
  readonly namespace: string;
  readonly serviceaccount: { readonly name: string; readonly uid: string };
  readonly pod?: { readonly name: string; readonly uid: string };
  readonly secret?: { readonly name: string; readonly uid: string };
  readonly node?: { readonly name: string; readonly uid: string };
}

interface VerifiedToken {
  readonly user: UserInfo;
  readonly audiences: readonly string[];
}

/**
 * Service account tokens (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/): signed by the cluster,
 * bound to an account and often to a Pod, and refused once either is gone.
 */
export class ServiceAccountTokens implements Authenticator {
  readonly issuer: string;
  readonly audience: string;
  readonly #keys: readonly SigningKey[];
  readonly #state: ClusterState;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(options: {
    issuer: string;
    keys: readonly SigningKey[];
    state: ClusterState;
    clock: Clock;
    random: Random;
  }) {
    this.issuer = options.issuer;
    this.audience = options.issuer;
    this.#keys = options.keys;
    this.#state = options.state;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  issue(wish: TokenWish): { token: string; expiresAtMs: number } {
    const issuedAt = Math.floor(this.#clock.nowMs() / 1000);
    const { serviceAccount, bound, node } = wish;
    const kubernetes: Record<string, unknown> = {
      namespace: serviceAccount.namespace,
      serviceaccount: { name: serviceAccount.name, uid: serviceAccount.uid },
    };
    if (bound !== undefined) kubernetes[bound.kind.toLowerCase()] = { name: bound.name, uid: bound.uid };
    if (node !== undefined) kubernetes["node"] = node;
    const expires = issuedAt + wish.expirationSeconds;
    const claims = {
      aud: wish.audiences,
      exp: expires,
      iat: issuedAt,
      iss: this.issuer,
      jti: randomUuid(this.#random),
      "kubernetes.io": kubernetes,
      nbf: issuedAt,
      sub: `system:serviceaccount:${serviceAccount.namespace}:${serviceAccount.name}`,
    };
    return { token: signJwt(claims, this.#keys[0]!), expiresAtMs: expires * 1000 };
  }

  async authenticate(request: ApiRequest): Promise<UserInfo | undefined> {
    const token = bearerToken(request);
    if (token === undefined || peekJwt(token)?.["iss"] !== this.issuer) return undefined;
    const verified = await this.verify(token, [this.audience]);
    if (verified === undefined) throw unauthenticated("Unauthorized");
    return verified.user;
  }

  /** Undefined for a token that is bad, out of its time, for others' ears, or whose account or bound object is gone. */
  async verify(token: string, audiences: readonly string[]): Promise<VerifiedToken | undefined> {
    const claims = verifyJwt(token, this.#keys);
    if (claims?.["iss"] !== this.issuer || !this.#isTimely(claims)) return undefined;
    const shared = [claims["aud"] ?? []]
      .flat()
      .filter((audience) => audiences.includes(audience as string)) as string[];
    if (shared.length === 0) return undefined;
    const bound = claims["kubernetes.io"] as KubernetesClaims | undefined;
    if (bound === undefined || !(await this.#isAlive(bound))) return undefined;
    return { user: userOf(bound, String(claims["jti"])), audiences: shared };
  }

  #isTimely(claims: Readonly<Record<string, unknown>>): boolean {
    const now = this.#clock.nowMs() / 1000;
    return Number(claims["exp"]) > now && Number(claims["nbf"]) <= now + 60;
  }

  async #isAlive({ namespace, serviceaccount, pod, secret, node }: KubernetesClaims): Promise<boolean> {
    const checks: [keyof Pick<ClusterState, "serviceAccounts" | "pods" | "secrets" | "nodes">, string, string][] = [
      ["serviceAccounts", `${namespace}/${serviceaccount.name}`, serviceaccount.uid],
    ];
    if (pod !== undefined) checks.push(["pods", `${namespace}/${pod.name}`, pod.uid]);
    if (secret !== undefined) checks.push(["secrets", `${namespace}/${secret.name}`, secret.uid]);
    if (node !== undefined && pod === undefined) checks.push(["nodes", node.name, node.uid]);
    for (const [resource, key, uid] of checks) {
      const found = await this.#state[resource].find(key);
      if (found?.metadata.uid !== uid) return false;
    }
    return true;
  }

  /** `/openid/v1/jwks` (RFC 7517). */
  jwks(): object {
    return {
      keys: this.#keys.map(({ id, publicKey }) => ({
        use: "sig",
        kid: id,
        alg: "ES256",
        ...publicKey.export({ format: "jwk" }),
      })),
    };
  }

  /** `/.well-known/openid-configuration`. */
  discovery(): object {
    return {
      issuer: this.issuer,
      jwks_uri: `${this.issuer}/openid/v1/jwks`,
      response_types_supported: ["id_token"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["ES256"],
    };
  }
}

export const serviceAccountUser = (namespace: string, name: string, uid?: string): UserInfo => ({
  name: `system:serviceaccount:${namespace}:${name}`,
  ...(uid === undefined ? {} : { uid }),
  groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`],
});

function userOf({ namespace, serviceaccount, pod, node }: KubernetesClaims, id: string): UserInfo {
  const extra: Record<string, string[]> = { "authentication.kubernetes.io/credential-id": [`JTI=${id}`] };
  if (pod !== undefined) {
    extra["authentication.kubernetes.io/pod-name"] = [pod.name];
    extra["authentication.kubernetes.io/pod-uid"] = [pod.uid];
  }
  if (node !== undefined) {
    extra["authentication.kubernetes.io/node-name"] = [node.name];
    extra["authentication.kubernetes.io/node-uid"] = [node.uid];
  }
  return { ...serviceAccountUser(namespace, serviceaccount.name, serviceaccount.uid), extra };
}

/** The key that signs the cluster's tokens, made at first use and kept 0600. */
export async function openSigningKey(folder: string): Promise<SigningKey> {
  const file = path.join(folder, "service-account.key");
  try {
    return signingKeyOf(createPrivateKey(await readFile(file, "utf8")));
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  await writePrivate(file, privateKey.export({ type: "pkcs8", format: "pem" }) as string);
  return signingKeyOf(privateKey);
}
