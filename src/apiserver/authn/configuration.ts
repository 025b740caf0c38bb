import { readFileSync } from "node:fs";
import type { UserInfo } from "../../api/index.ts";
import { invalidArgument, messageOf, unauthenticated, type Clock } from "../../base/index.ts";
import type { Authenticator } from "../machinery/pipeline.ts";
import { checkExtraKeys } from "./extra-keys.ts";
import { OidcUsers } from "./oidc.ts";

/**
 * Upstream's --authentication-config: several providers of tokens, claims by CEL, and whom the server answers without credentials
 * (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration).
 */
interface Configuration {
  apiVersion?: string;
  kind?: string;
  jwt?: Provider[];
  anonymous?: { enabled?: boolean; conditions?: { path: string }[] };
}
interface Claim {
  claim?: string;
  prefix?: string;
  expression?: string;
}
interface Provider {
  issuer?: {
    url?: string;
    discoveryURL?: string;
    certificateAuthority?: string;
    audiences?: string[];
    audienceMatchPolicy?: string;
  };
  claimValidationRules?: { claim?: string; requiredValue?: string; expression?: string; message?: string }[];
  claimMappings?: {
    username?: Claim;
    groups?: Claim;
    uid?: { claim?: string; expression?: string };
    extra?: { key: string; valueExpression: string }[];
  };
  userValidationRules?: { expression: string; message?: string }[];
}

type Claims = Readonly<Record<string, unknown>>;
type Evaluate = (variables: Record<string, unknown>) => unknown;
type Compile = (expression: string, field: string) => Evaluate;

/** The authenticators that the file chooses. Throws invalidArgument that names the field. */
export async function openAuthenticationConfiguration(file: string, clock: Clock): Promise<Authenticator[]> {
  const { load } = await import("js-yaml");
  let given: Configuration;
  try {
    given = (load(readFileSync(file, "utf8")) ?? {}) as Configuration;
  } catch (cause) {
    throw invalidArgument(`authentication-config: ${messageOf(cause)}`, { cause });
  }
  if (
    !/^apiserver\.config\.k8s\.io\/v1(beta1|alpha1)?$/.test(given.apiVersion ?? "") ||
    given.kind !== "AuthenticationConfiguration"
  )
    throw invalidArgument(
      `authentication-config: ${file} is no AuthenticationConfiguration of apiserver.config.k8s.io`,
    );
  const compile = await compiler();
  const urls = (given.jwt ?? []).map(({ issuer }) => issuer?.url);
  const twice = urls.find((url, index) => urls.indexOf(url) < index);
  if (twice !== undefined) throw invalidArgument(`jwt: Duplicate value: ${JSON.stringify(twice)}`);
  const users = (given.jwt ?? []).map((provider, index) => openProvider(provider, `jwt[${index}]`, compile, clock));
  return given.anonymous === undefined ? users : [...users, new AnonymousRule(given.anonymous)];
}

async function compiler(): Promise<Compile> {
  const { compileCel } = await import("../../cel/index.ts");
  return (expression, field) => {
    try {
      return compileCel(expression);
    } catch (cause) {
      throw invalidArgument(`${field}: Invalid value: ${JSON.stringify(expression)}: ${messageOf(cause)}`, { cause });
    }
  };
}

function openProvider(provider: Provider, at: string, compile: Compile, clock: Clock): OidcUsers {
  const { url, audiences = [], discoveryURL, certificateAuthority, audienceMatchPolicy } = provider.issuer ?? {};
  if (!url) throw invalidArgument(`${at}.issuer.url: Required value: URL is required`);
  if (!url.startsWith("https://"))
    throw invalidArgument(`${at}.issuer.url: Invalid value: ${JSON.stringify(url)}: URL scheme must be https`);
  if (audiences.length === 0)
    throw invalidArgument(`${at}.issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required`);
  if (audiences.length > 1 && audienceMatchPolicy !== "MatchAny")
    throw invalidArgument(
      `${at}.issuer.audienceMatchPolicy: Invalid value: ${JSON.stringify(audienceMatchPolicy ?? "")}: audienceMatchPolicy must be MatchAny for multiple audiences`,
    );
  return new OidcUsers(
    {
      issuerUrl: url,
      clientId: audiences[0]!,
      audiences,
      discoveryUrl: discoveryURL,
      ca: certificateAuthority,
      userOf: mapper(provider, at, compile),
    },
    clock,
  );
}

/** From a token's claims to who it speaks for; throws unauthenticated for claims that the rules refuse. */
function mapper(provider: Provider, at: string, compile: Compile): (claims: Claims) => UserInfo {
  const { username, groups, uid, extra = [] } = provider.claimMappings ?? {};
  const here = `${at}.claimMappings`;
  if (!username?.claim && !username?.expression)
    throw invalidArgument(`${here}.username: Required value: claim or expression is required`);
  const nameOf = valueOf(username, `${here}.username`, compile);
  const groupsOf = groups?.claim || groups?.expression ? valueOf(groups, `${here}.groups`, compile) : () => [];
  const uidOf = uid?.claim || uid?.expression ? valueOf({ prefix: "", ...uid }, `${here}.uid`, compile) : () => [];
  checkExtraKeys(
    extra.map(({ key }) => key),
    here,
  );
  const extras = extra.map(({ key, valueExpression }, index) => ({
    key,
    evaluate: compile(valueExpression, `${here}.extra[${index}].valueExpression`),
  }));
  const claimRules = (provider.claimValidationRules ?? []).map((rule, index) =>
    claimRule(rule, `${at}.claimValidationRules[${index}]`, compile),
  );
  const userRules = (provider.userValidationRules ?? []).map(({ expression, message }, index) => ({
    evaluate: compile(expression, `${at}.userValidationRules[${index}].expression`),
    message: message ?? expression,
  }));
  return (claims) => {
    for (const { holds, message } of claimRules) if (!holds(claims)) throw unauthenticated(message);
    const [name] = nameOf(claims);
    if (!name) throw unauthenticated("the token names nobody");
    const [id] = uidOf(claims);
    const more = Object.fromEntries(extras.map(({ key, evaluate }) => [key, texts(evaluate({ claims }))]));
    const user: UserInfo = {
      name,
      groups: groupsOf(claims),
      ...(id ? { uid: id } : {}),
      ...(extras.length > 0 ? { extra: more } : {}),
    };
    const shown = { username: user.name, groups: user.groups, uid: user.uid ?? "", extra: user.extra ?? {} };
    for (const { evaluate, message } of userRules)
      if (evaluate({ user: shown }) !== true) throw unauthenticated(message);
    return user;
  };
}

/** A claim with its prefix, or what an expression makes of the claims: always as texts. */
function valueOf({ claim, prefix, expression }: Claim, at: string, compile: Compile): (claims: Claims) => string[] {
  if (claim !== undefined && expression !== undefined)
    throw invalidArgument(`${at}: Invalid value: "": claim and expression can't both be set`);
  if (expression !== undefined) {
    if (prefix) throw invalidArgument(`${at}.prefix: Forbidden: prefix can't be set when expression is set`);
    const evaluate = compile(expression, `${at}.expression`);
    return (claims) => texts(evaluate({ claims }));
  }
  if (prefix === undefined)
    throw invalidArgument(
      `${at}.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing`,
    );
  return (claims) => texts(claims[claim!]).map((text) => prefix + text);
}

function texts(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((item): item is string => typeof item === "string" && item !== "");
}

function claimRule(
  { claim, requiredValue = "", expression, message }: NonNullable<Provider["claimValidationRules"]>[number],
  at: string,
  compile: Compile,
): { holds: (claims: Claims) => boolean; message: string } {
  if (expression !== undefined) {
    const evaluate = compile(expression, `${at}.expression`);
    return { holds: (claims) => evaluate({ claims }) === true, message: message ?? expression };
  }
  if (!claim) throw invalidArgument(`${at}: Required value: claim or expression is required`);
  return { holds: (claims) => claims[claim] === requiredValue, message: `the claim ${claim} is not ${requiredValue}` };
}

/** Stands last in the chain: who comes so far has shown nothing that anybody knows. */
class AnonymousRule implements Authenticator {
  readonly #isAllowed: (path: string) => boolean;

  constructor({ enabled = false, conditions = [] }: NonNullable<Configuration["anonymous"]>) {
    const paths = new Set(conditions.map(({ path }) => path));
    this.#isAllowed = (path) => enabled && (paths.size === 0 || paths.has(path));
  }

  authenticate({ path }: { path: string }): undefined {
    if (this.#isAllowed(path)) return undefined;
    throw unauthenticated("Unauthorized", {
      details: { status: { code: 401, reason: "Unauthorized", message: "Unauthorized" } },
    });
  }
}
