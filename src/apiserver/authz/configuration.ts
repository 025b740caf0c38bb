import { readFileSync } from "node:fs";
import { invalidArgument, messageOf } from "../../base/index.ts";
import type { WebhookAuthorizerOptions } from "./webhook.ts";

/** One authorizer of the chain, in the order in which they are asked. */
export type AuthorizerChoice =
  | { readonly type: "Node" | "RBAC" | "AlwaysAllow" | "AlwaysDeny" }
  | { readonly type: "Webhook"; readonly name: string; readonly webhook: WebhookAuthorizerOptions };

const plain = ["Node", "RBAC", "AlwaysAllow", "AlwaysDeny"] as const;
const isPlain = (type: string): type is (typeof plain)[number] => (plain as readonly string[]).includes(type);

/** What decides who may do what: `--authorization-mode` and its webhook, or `--authorization-config` in their place. */
export interface AuthorizationOptions {
  readonly modes?: readonly string[];
  readonly webhook?: WebhookAuthorizerOptions;
  readonly configFile?: string;
}

/** Undefined for what is usual. Throws invalidArgument. */
export async function chooseAuthorizers({
  modes,
  webhook,
  configFile,
}: AuthorizationOptions): Promise<AuthorizerChoice[] | undefined> {
  if (configFile === undefined) return modes === undefined ? undefined : authorizersOfModes(modes, webhook);
  if (modes !== undefined || webhook !== undefined)
    throw invalidArgument(
      "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined",
    );
  return readAuthorizationConfiguration(configFile);
}

/** Upstream's --authorization-mode. Throws invalidArgument. */
function authorizersOfModes(
  modes: readonly string[],
  webhook: WebhookAuthorizerOptions | undefined,
): AuthorizerChoice[] {
  return modes.map((mode) => {
    if (isPlain(mode)) return { type: mode };
    if (mode !== "Webhook")
      throw invalidArgument(`authorization-mode ${JSON.stringify(mode)} is not a valid mode`, {
        hint: `known: ${[...plain, "Webhook"].join(", ")}`,
      });
    if (webhook === undefined)
      throw invalidArgument("authorization-mode Webhook's authorization config file not passed");
    return { type: "Webhook", name: "default", webhook };
  });
}

interface Configuration {
  apiVersion?: string;
  kind?: string;
  authorizers?: { type?: string; name?: string; webhook?: Webhook }[];
}
interface Webhook {
  authorizedTTL?: string;
  unauthorizedTTL?: string;
  timeout?: string;
  subjectAccessReviewVersion?: "v1" | "v1beta1";
  failurePolicy?: "Deny" | "NoOpinion";
  connectionInfo?: { type?: string; kubeConfigFile?: string };
  matchConditions?: { expression?: string }[];
}

/** Upstream's --authorization-config (https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization). */
async function readAuthorizationConfiguration(file: string): Promise<AuthorizerChoice[]> {
  const { load } = await import("js-yaml");
  let given: Configuration;
  try {
    given = (load(readFileSync(file, "utf8")) ?? {}) as Configuration;
  } catch (cause) {
    throw invalidArgument(`authorization-config: ${messageOf(cause)}`, { cause });
  }
  if (!/^apiserver\.config\.k8s\.io\/v1(beta1|alpha1)?$/.test(given.apiVersion ?? ""))
    throw invalidArgument(
      `authorization-config: ${file} has the unknown apiVersion ${JSON.stringify(given.apiVersion)}`,
    );
  if (given.kind !== "AuthorizationConfiguration")
    throw invalidArgument(`authorization-config: ${file} is no AuthorizationConfiguration`);
  const chosen = (given.authorizers ?? []).map((one, index) => choiceOf(one, `authorizers[${index}]`));
  if (chosen.length === 0)
    throw invalidArgument("authorizers: Required value: at least one authorization mode must be defined");
  const names = chosen.map((one) => (one.type === "Webhook" ? `Webhook ${one.name}` : one.type));
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) throw invalidArgument(`authorizers: Duplicate value: ${JSON.stringify(twice)}`);
  return chosen;
}

function choiceOf(
  { type = "", name = "", webhook }: NonNullable<Configuration["authorizers"]>[number],
  at: string,
): AuthorizerChoice {
  if (isPlain(type)) return { type };
  if (type !== "Webhook")
    throw invalidArgument(
      `${at}.type: ${type === "" ? "Required value" : `Unsupported value: ${JSON.stringify(type)}: supported values: "Node", "RBAC", "Webhook"`}`,
    );
  if (webhook === undefined) throw invalidArgument(`${at}.webhook: Required value: required when type=Webhook`);
  const connection = webhook.connectionInfo;
  if (connection?.type !== "KubeConfigFile" || !connection.kubeConfigFile)
    throw invalidArgument(`${at}.webhook.connectionInfo: only a KubeConfigFile with its path is known here`);
  if (webhook.failurePolicy === undefined) throw invalidArgument(`${at}.webhook.failurePolicy: Required value`);
  return {
    type,
    name,
    webhook: {
      configFile: connection.kubeConfigFile,
      version: webhook.subjectAccessReviewVersion ?? "v1",
      authorizedMs: durationMs(webhook.authorizedTTL, `${at}.webhook.authorizedTTL`),
      unauthorizedMs: durationMs(webhook.unauthorizedTTL, `${at}.webhook.unauthorizedTTL`),
      timeoutMs: durationMs(webhook.timeout, `${at}.webhook.timeout`),
      failurePolicy: webhook.failurePolicy,
      matchConditions: (webhook.matchConditions ?? []).map(({ expression = "" }) => expression),
    },
  };
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Go's durations, as far as configurations have them: `1m30s`, `500ms`. Undefined for none. Throws invalidArgument. */
export function durationMs(text: string | undefined, field: string): number | undefined {
  if (text === undefined) return undefined;
  if (text === "0") return 0;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text))
    throw invalidArgument(`${field}: ${JSON.stringify(text)} is not a duration`, { hint: "for example 5m or 30s" });
  let sumMs = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) sumMs += Number(number) * units[unit!]!;
  return sumMs;
}
