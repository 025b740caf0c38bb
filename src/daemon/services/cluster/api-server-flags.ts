import { createWriteStream, readFileSync } from "node:fs";
import { durationMs, type AuditBackends, type ClusterOptions } from "../../../apiserver/index.ts";
import { invalidArgument, messageOf, type Logger } from "../../../base/index.ts";
import type { EtcdStoreOptions } from "../../../storage/index.ts";

/** `"api-server"` of the configuration: flags of upstream's kube-apiserver by their names, as texts. */
export type ApiServerFlags = Readonly<Record<string, string>>;

type Chosen = Pick<
  ClusterOptions,
  | "tokenAuthFile"
  | "serviceAccountIssuer"
  | "oidc"
  | "webhookTokens"
  | "authorization"
  | "authenticationConfigFile"
  | "disabledAdmissionPlugins"
>;

const KNOWN = [
  "token-auth-file",
  "service-account-issuer",
  "disable-admission-plugins",
  "audit-log-path",
  "audit-policy-file",
  "audit-webhook-config-file",
  "audit-webhook-batch-buffer-size",
  "audit-webhook-batch-max-size",
  "audit-webhook-batch-max-wait",
  "audit-webhook-initial-backoff",
  "etcd-servers",
  "etcd-cafile",
  "etcd-certfile",
  "etcd-keyfile",
  "oidc-issuer-url",
  "oidc-client-id",
  "oidc-username-claim",
  "oidc-username-prefix",
  "oidc-groups-claim",
  "oidc-groups-prefix",
  "oidc-required-claim",
  "oidc-signing-algs",
  "oidc-ca-file",
  "authentication-config",
  "authentication-token-webhook-config-file",
  "authentication-token-webhook-version",
  "authentication-token-webhook-cache-ttl",
  "authorization-mode",
  "authorization-config",
  "authorization-webhook-config-file",
  "authorization-webhook-version",
  "authorization-webhook-cache-authorized-ttl",
  "authorization-webhook-cache-unauthorized-ttl",
];

/** What the flags choose. Throws invalidArgument that names the flag. */
export function apiServerOptions(flags: ApiServerFlags): Chosen {
  for (const [name, value] of Object.entries(flags)) {
    if (!KNOWN.includes(name))
      throw invalidArgument(`configuration: unknown key "${name}" in "api-server"`, {
        hint: `known: ${KNOWN.join(", ")}`,
      });
    if (typeof value !== "string") throw invalidArgument(`configuration: "${name}" in "api-server" must be a text`);
  }
  return {
    tokenAuthFile: flags["token-auth-file"],
    serviceAccountIssuer: flags["service-account-issuer"],
    disabledAdmissionPlugins: flags["disable-admission-plugins"]?.split(",").map((name) => name.trim()),
    oidc: oidcOf(flags),
    authenticationConfigFile: authenticationConfigOf(flags),
    webhookTokens: webhookTokensOf(flags),
    authorization: authorizationOf(flags),
  };
}

/** The etcd that holds the cluster's state; undefined for the file of this machine. Throws invalidArgument for a flag that leads nowhere. */
export function etcdOptions(flags: ApiServerFlags): EtcdStoreOptions | undefined {
  const endpoints = flags["etcd-servers"]?.split(",").map((url) => url.trim());
  const pem = (name: string) => {
    const file = flags[name];
    if (file === undefined) return undefined;
    if (!endpoints) throw invalidArgument(`configuration: "${name}" needs "etcd-servers" in "api-server"`);
    try {
      return readFileSync(file, "utf8");
    } catch (error) {
      throw invalidArgument(`configuration: "${name}" in "api-server": ${messageOf(error)}`, { cause: error });
    }
  };
  const tls = { ca: pem("etcd-cafile"), cert: pem("etcd-certfile"), key: pem("etcd-keyfile") };
  if (!endpoints) return undefined;
  for (const url of endpoints)
    if (!URL.canParse(url) || !/^https?:/.test(url))
      throw invalidArgument(`configuration: "etcd-servers" in "api-server": "${url}" is not a URL`, {
        hint: "for example https://10.0.0.1:2379,https://10.0.0.2:2379",
      });
  if ((tls.cert === undefined) !== (tls.key === undefined))
    throw invalidArgument('configuration: "etcd-certfile" and "etcd-keyfile" must be specified together');
  return { endpoints, ...(endpoints.some((url) => url.startsWith("https:")) ? { tls } : {}) };
}

function authenticationConfigOf(flags: ApiServerFlags): string | undefined {
  const file = flags["authentication-config"];
  if (file !== undefined && Object.keys(flags).some((name) => name.startsWith("oidc-")))
    throw invalidArgument('configuration: "authentication-config" and "oidc-*" flags are mutually exclusive');
  return file;
}

function versionOf(flags: ApiServerFlags, name: string): "v1" | "v1beta1" | undefined {
  const version = flags[name];
  if (version === undefined || version === "v1" || version === "v1beta1") return version;
  throw invalidArgument(`configuration: "${name}" in "api-server" must be v1 or v1beta1, not "${version}"`);
}

function webhookTokensOf(flags: ApiServerFlags): ClusterOptions["webhookTokens"] {
  const configFile = flags["authentication-token-webhook-config-file"];
  if (configFile === undefined) return undefined;
  return {
    configFile,
    version: versionOf(flags, "authentication-token-webhook-version"),
    cacheMs: timeOf(flags, "authentication-token-webhook-cache-ttl"),
  };
}

function authorizationOf(flags: ApiServerFlags): ClusterOptions["authorization"] {
  const webhookFile = flags["authorization-webhook-config-file"];
  return {
    modes: flags["authorization-mode"]?.split(",").map((mode) => mode.trim()),
    configFile: flags["authorization-config"],
    webhook:
      webhookFile === undefined
        ? undefined
        : {
            configFile: webhookFile,
            version: versionOf(flags, "authorization-webhook-version"),
            authorizedMs: timeOf(flags, "authorization-webhook-cache-authorized-ttl"),
            unauthorizedMs: timeOf(flags, "authorization-webhook-cache-unauthorized-ttl"),
          },
  };
}

function oidcOf(flags: ApiServerFlags): ClusterOptions["oidc"] {
  const issuerUrl = flags["oidc-issuer-url"];
  const clientId = flags["oidc-client-id"];
  if (issuerUrl === undefined && clientId === undefined) return undefined;
  if (issuerUrl === undefined || clientId === undefined)
    throw invalidArgument('configuration: "oidc-issuer-url" and "oidc-client-id" must be specified together');
  const list = (name: string) => flags[name]?.split(",").map((item) => item.trim());
  return {
    issuerUrl,
    clientId,
    usernameClaim: flags["oidc-username-claim"],
    usernamePrefix: flags["oidc-username-prefix"],
    groupsClaim: flags["oidc-groups-claim"],
    groupsPrefix: flags["oidc-groups-prefix"],
    requiredClaims: Object.fromEntries((list("oidc-required-claim") ?? []).map((claim) => claim.split("=", 2))),
    signingAlgs: list("oidc-signing-algs"),
    caFile: flags["oidc-ca-file"],
  };
}

/** Where audit events go. Throws invalidArgument that names the flag. */
export function auditBackends(flags: ApiServerFlags, log: Logger): AuditBackends {
  const file = flags["audit-log-path"];
  const configFile = flags["audit-webhook-config-file"];
  return {
    log: file === undefined ? undefined : auditWriter(file, log),
    policyFile: flags["audit-policy-file"],
    webhook:
      configFile === undefined
        ? undefined
        : {
            configFile,
            bufferSize: countOf(flags, "audit-webhook-batch-buffer-size") ?? 10_000,
            maxBatchSize: countOf(flags, "audit-webhook-batch-max-size") ?? 400,
            maxWaitMs: timeOf(flags, "audit-webhook-batch-max-wait") ?? 30_000,
            backoffMs: timeOf(flags, "audit-webhook-initial-backoff") ?? 10_000,
          },
  };
}

function countOf(flags: ApiServerFlags, name: string): number | undefined {
  const value = flags[name];
  if (value !== undefined && !/^[1-9]\d{0,6}$/.test(value))
    throw invalidArgument(`configuration: "${name}" in "api-server" must be a number from 1 on, not "${value}"`);
  return value === undefined ? undefined : Number(value);
}

const timeOf = (flags: ApiServerFlags, name: string) => durationMs(flags[name], name);

/** Appends audit events to the file, which nobody else may read. A disk that is full is said once in the log. */
function auditWriter(file: string, log: Logger): (line: string) => void {
  const stream = createWriteStream(file, { flags: "a", mode: 0o600 });
  stream.on("error", (error) => log.error("the audit log cannot be written", { file, error }));
  return (line) => {
    if (!stream.errored) stream.write(line);
  };
}
