import { createWriteStream } from "node:fs";
import type { ClusterOptions } from "../../../apiserver/index.ts";
import { invalidArgument, type Logger } from "../../../base/index.ts";

/** `"api-server"` of the configuration: flags of upstream's kube-apiserver by their names, as texts. */
export type ApiServerFlags = Readonly<Record<string, string>>;

type Chosen = Pick<ClusterOptions, "tokenAuthFile" | "serviceAccountIssuer" | "oidc">;

const KNOWN = [
  "token-auth-file",
  "service-account-issuer",
  "audit-log-path",
  "oidc-issuer-url",
  "oidc-client-id",
  "oidc-username-claim",
  "oidc-username-prefix",
  "oidc-groups-claim",
  "oidc-groups-prefix",
  "oidc-required-claim",
  "oidc-signing-algs",
  "oidc-ca-file",
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
    oidc: oidcOf(flags),
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

/** Appends audit events to the file, which nobody else may read. A disk that is full is said once in the log. */
export function auditWriter(file: string, log: Logger): (line: string) => void {
  const stream = createWriteStream(file, { flags: "a", mode: 0o600 });
  stream.on("error", (error) => log.error("the audit log cannot be written", { file, error }));
  return (line) => {
    if (!stream.errored) stream.write(line);
  };
}
