import { readFile } from "node:fs/promises";
import { request } from "node:https";
import type { JSONWebKeySet, JWTPayload } from "jose";
import type { ApiRequest, UserInfo } from "../../api/index.ts";
import { invalidArgument, unauthenticated, unavailable } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import type { Authenticator } from "../machinery/pipeline.ts";
import { bearerToken } from "./bearer.ts";
import { peekJwt } from "./jwt.ts";

/** Upstream's --oidc-* flags. https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens */
export interface OidcOptions {
  /** An https URL; its `/.well-known/openid-configuration` says where the keys are. */
  readonly issuerUrl: string;
  readonly clientId: string;
  /** `sub` by default. */
  readonly usernameClaim?: string;
  /** `-` for none. The issuer and `#` by default, except for the claim `email`. */
  readonly usernamePrefix?: string;
  readonly groupsClaim?: string;
  readonly groupsPrefix?: string;
  readonly requiredClaims?: Readonly<Record<string, string>>;
  /** `RS256` by default. */
  readonly signingAlgs?: readonly string[];
  /** A PEM file; the system's authorities by default. */
  readonly caFile?: string;
  /** The PEM itself instead of a file. */
  readonly ca?: string;
  /** Any of these instead of the client's ID alone. */
  readonly audiences?: readonly string[];
  /** Where the provider's configuration is, if not below the issuer's URL. */
  readonly discoveryUrl?: string;
  /** Instead of the claims and prefixes above. Throws to refuse. */
  readonly userOf?: (claims: Readonly<Record<string, unknown>>) => UserInfo;
}

/** What providers of the structured configuration may sign with. */
const manyAlgs = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];
const keysKeptMs = 10 * 60_000;
/** A token with a key that we don't know asks for the keys again, no more often than this. */
const minFetchMs = 10_000;
const fetchTimeoutMs = 10_000;
const maxDocumentBytes = 1024 * 1024;

/** ID tokens of an OpenID provider. */
export class OidcUsers implements Authenticator {
  readonly #options: OidcOptions;
  readonly #clock: Clock;
  #keys: Promise<JSONWebKeySet> | undefined;
  #fetchedAtMs = 0;

  constructor(options: OidcOptions, clock: Clock) {
    if (!options.issuerUrl.startsWith("https://"))
      throw invalidArgument(`oidc-issuer-url (${options.issuerUrl}) has invalid scheme, require 'https'`);
    this.#options = options;
    this.#clock = clock;
  }

  async authenticate(asked: ApiRequest): Promise<UserInfo | undefined> {
    const token = bearerToken(asked);
    if (token === undefined || peekJwt(token)?.["iss"] !== this.#options.issuerUrl) return undefined;
    try {
      return this.#userOf(await this.#verify(token));
    } catch (cause) {
      throw unauthenticated("Unauthorized", { cause });
    }
  }

  async #verify(token: string): Promise<JWTPayload> {
    const { jwtVerify, createLocalJWKSet, errors } = await import("jose");
    const { issuerUrl: issuer, clientId, signingAlgs = this.#options.userOf ? manyAlgs : ["RS256"] } = this.#options;
    const audience = [...(this.#options.audiences ?? [clientId])];
    const currentDate = new Date(this.#clock.nowMs());
    const rules = { issuer, audience, algorithms: [...signingAlgs], currentDate, requiredClaims: ["exp"] };
    const verify = async (isFresh: boolean) =>
      (await jwtVerify(token, createLocalJWKSet(await this.#keySet(isFresh)), rules)).payload;
    try {
      return await verify(false);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      return verify(true); // The provider may have changed its keys.
    }
  }

  #userOf(claims: JWTPayload): UserInfo {
    if (this.#options.userOf) return this.#options.userOf(claims);
    const { usernameClaim = "sub", groupsClaim, groupsPrefix = "", requiredClaims = {} } = this.#options;
    for (const [name, value] of Object.entries(requiredClaims))
      if (claims[name] !== value) throw unauthenticated(`the claim ${name} is not ${value}`);
    const name = claims[usernameClaim];
    if (typeof name !== "string" || name === "") throw unauthenticated(`the token has no claim ${usernameClaim}`);
    if (usernameClaim === "email" && claims["email_verified"] === false)
      throw unauthenticated("the email is not verified");
    const given = groupsClaim === undefined ? [] : (claims[groupsClaim] ?? []);
    const groups = (Array.isArray(given) ? given : [given]).filter((group) => typeof group === "string");
    return { name: this.#prefix(usernameClaim) + name, groups: groups.map((group) => groupsPrefix + group) };
  }

  #prefix(usernameClaim: string): string {
    const { usernamePrefix, issuerUrl } = this.#options;
    if (usernamePrefix === undefined) return usernameClaim === "email" ? "" : `${issuerUrl}#`;
    return usernamePrefix === "-" ? "" : usernamePrefix;
  }

  #keySet(isFresh: boolean): Promise<JSONWebKeySet> {
    const ageMs = this.#clock.nowMs() - this.#fetchedAtMs;
    if (this.#keys && ageMs < (isFresh ? minFetchMs : keysKeptMs)) return this.#keys;
    this.#fetchedAtMs = this.#clock.nowMs();
    this.#keys = this.#fetchKeys();
    // Who comes next tries again.
    this.#keys.catch(() => (this.#keys = undefined));
    return this.#keys;
  }

  async #fetchKeys(): Promise<JSONWebKeySet> {
    const { issuerUrl, caFile, discoveryUrl } = this.#options;
    const ca = caFile === undefined ? this.#options.ca : await readFile(caFile, "utf8");
    const url = discoveryUrl ?? `${issuerUrl.replace(/\/$/, "")}/.well-known/openid-configuration`;
    const found = (await getJson(url, ca)) as Discovery;
    if (found.issuer !== issuerUrl) throw unavailable(`the provider at ${issuerUrl} says that it is ${found.issuer}`);
    return (await getJson(found.jwks_uri, ca)) as JSONWebKeySet;
  }
}

interface Discovery {
  readonly issuer: string;
  readonly jwks_uri: string;
}

function getJson(url: string, ca: string | undefined): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const outgoing = request(url, { ca, signal: AbortSignal.timeout(fetchTimeoutMs) }, (answer) => {
    const chunks: Buffer[] = [];
    let size = 0;
    answer.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxDocumentBytes) answer.destroy(new Error(`${url} is larger than ${maxDocumentBytes} bytes`));
      else chunks.push(chunk);
    });
    answer.on("error", reject);
    answer.on("end", () => {
      if (answer.statusCode !== 200) return reject(unavailable(`${url} answered with status ${answer.statusCode}`));
      try {
        resolve(JSON.parse(Buffer.concat(chunks).toString()));
      } catch (error) {
        reject(error as Error);
      }
    });
  });
  outgoing.on("error", reject);
  outgoing.end();
  return promise;
}
