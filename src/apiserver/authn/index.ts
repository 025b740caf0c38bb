import { readFile } from "node:fs/promises";

import type { Clock, Logger, Random } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Authenticator } from "../machinery/pipeline.ts";
import { BootstrapTokens } from "./bootstrap-tokens.ts";
import { ClientCertificates } from "./client-certificates.ts";
import { LegacyServiceAccountTokens } from "./legacy-service-account-tokens.ts";
import { OidcUsers } from "./oidc.ts";
import type { OidcOptions } from "./oidc.ts";
import { openSigningKey, ServiceAccountTokens } from "./service-account-tokens.ts";
import { StaticTokens } from "./static-tokens.ts";
import type { WebhookTokenOptions } from "./webhook-tokens.ts";

/** Who may be somebody, besides the holders of this cluster's own certificates and tokens. */
export interface AuthenticationOptions {
  /** Upstream's --token-auth-file. */
  readonly tokenAuthFile?: string;
  /** Upstream's --oidc-* flags. */
  readonly oidc?: OidcOptions;
  /** Upstream's --authentication-token-webhook-* flags. */
  readonly webhookTokens?: WebhookTokenOptions;
  /** Upstream's --authentication-config, in place of the --oidc-* flags. */
  readonly authenticationConfigFile?: string;
  /** Upstream's --service-account-issuer. */
  readonly serviceAccountIssuer?: string;
}

interface Context {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Where the signing key is kept, 0700. */
  readonly folder: string;
  /** Whoever bears a certificate of this authority is who it says. PEM. */
  readonly clientCa: string;
}

export interface Authentication {
  /** Asked in this order; the first that knows the bearer decides. */
  readonly authenticators: readonly Authenticator[];
  readonly tokens: ServiceAccountTokens;
  readonly legacyTokens: LegacyServiceAccountTokens;
}

const defaultIssuer = "https://kubernetes.default.svc.cluster.local";

export async function openAuthentication(context: Context, options: AuthenticationOptions): Promise<Authentication> {
  const { state, clock, random, log } = context;
  const { tokenAuthFile, oidc, webhookTokens, authenticationConfigFile, serviceAccountIssuer } = options;
  const keys = [await openSigningKey(context.folder)];
  const issuer = serviceAccountIssuer ?? defaultIssuer;
  const tokens = new ServiceAccountTokens({ issuer, keys, state, clock, random });
  const legacyTokens = new LegacyServiceAccountTokens({ keys, state });

  const authenticators: Authenticator[] = [new ClientCertificates([context.clientCa], clock)];
  if (tokenAuthFile !== undefined) authenticators.push(new StaticTokens(await readFile(tokenAuthFile, "utf8")));
  authenticators.push(tokens, legacyTokens);
  if (oidc !== undefined) authenticators.push(new OidcUsers(oidc, clock));
  authenticators.push(new BootstrapTokens(state, clock));
  // Loaded only where they are asked for: few clusters have either.
  if (webhookTokens !== undefined) {
    const { WebhookTokens } = await import("./webhook-tokens.ts");
    authenticators.push(await WebhookTokens.open(webhookTokens, clock, log));
  }
  if (authenticationConfigFile !== undefined) {
    const { openAuthenticationConfiguration } = await import("./configuration.ts");
    authenticators.push(...(await openAuthenticationConfiguration(authenticationConfigFile, clock)));
  }
  return { authenticators, tokens, legacyTokens };
}
