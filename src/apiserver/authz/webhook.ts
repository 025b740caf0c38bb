import type { k8s } from "../../api/index.ts";
import { invalidArgument, messageOf, type Clock, type Logger } from "../../base/index.ts";
import type { AuthorizationAttributes, AuthorizationDecision, Authorizer } from "../machinery/pipeline.ts";
import { openRemoteWebhook, type RemoteWebhook } from "../remote-webhook.ts";
import { TimedCache } from "../timed-cache.ts";

/** Upstream's --authorization-webhook-* flags, or one webhook of its --authorization-config. */
export interface WebhookAuthorizerOptions {
  /** A file of kubeconfig's form. */
  readonly configFile: string;
  /** `v1beta1` by default for the flag, as upstream. */
  readonly version?: "v1" | "v1beta1";
  /** Five minutes by default. */
  readonly authorizedMs?: number;
  /** Half a minute by default. */
  readonly unauthorizedMs?: number;
  /** Half a minute by default; at most that. */
  readonly timeoutMs?: number;
  /** What an unreachable webhook means. `NoOpinion` by default. */
  readonly failurePolicy?: "Deny" | "NoOpinion";
  /** CEL over `request`, a SubjectAccessReview's spec: all must hold, else the webhook is not asked. */
  readonly matchConditions?: readonly string[];
}

const defaultAuthorizedMs = 5 * 60_000;
const defaultUnauthorizedMs = 30_000;
const maxTimeoutMs = 30_000;
const maxEntries = 8192;
const maxMatchConditions = 64;
const none: AuthorizationDecision = { allowed: false };

type Condition = (variables: Record<string, unknown>) => unknown;

/** Asks a service outside with a SubjectAccessReview (https://kubernetes.io/docs/reference/access-authn-authz/webhook/). */
export class WebhookAuthorizer implements Authorizer {
  readonly #webhook: RemoteWebhook;
  readonly #options: WebhookAuthorizerOptions;
  readonly #decisions: TimedCache<AuthorizationDecision>;
  readonly #conditions: readonly Condition[];
  readonly #log: Logger;

  private constructor(
    webhook: RemoteWebhook,
    conditions: readonly Condition[],
    options: WebhookAuthorizerOptions,
    clock: Clock,
    log: Logger,
  ) {
    this.#options = options;
    this.#webhook = webhook;
    this.#decisions = new TimedCache(clock, maxEntries);
    this.#conditions = conditions;
    this.#log = log;
  }

  /** Throws invalidArgument for a file that names no service and for conditions that are no CEL. */
  static async open(options: WebhookAuthorizerOptions, clock: Clock, log: Logger): Promise<WebhookAuthorizer> {
    const conditions = await compile(options.matchConditions ?? []);
    return new WebhookAuthorizer(await openRemoteWebhook(options.configFile), conditions, options, clock, log);
  }

  async authorize(attributes: AuthorizationAttributes): Promise<AuthorizationDecision> {
    const spec = specOf(attributes);
    const key = JSON.stringify(spec);
    const known = this.#decisions.get(key);
    if (known) return known;
    try {
      if (!this.#conditions.every((condition) => condition({ request: spec }) === true)) return none;
      const decision = await this.#ask(spec);
      const { authorizedMs = defaultAuthorizedMs, unauthorizedMs = defaultUnauthorizedMs } = this.#options;
      this.#decisions.set(key, decision, decision.allowed ? authorizedMs : unauthorizedMs);
      return decision;
    } catch (error) {
      this.#log.warn("the authorization webhook gave no answer", { error: messageOf(error) });
      return { allowed: false, denied: this.#options.failurePolicy === "Deny", reason: "" };
    }
  }

  async #ask(spec: k8s.SubjectAccessReviewSpec): Promise<AuthorizationDecision> {
    const { version = "v1beta1", timeoutMs = maxTimeoutMs } = this.#options;
    // v1beta1 calls the groups `group`.
    const { groups, ...rest } = spec;
    const review = {
      apiVersion: `authorization.k8s.io/${version}`,
      kind: "SubjectAccessReview",
      spec: version === "v1" ? spec : { ...rest, group: groups },
    };
    const answer = (await this.#webhook.post(review, Math.min(timeoutMs, maxTimeoutMs))) as {
      status?: k8s.SubjectAccessReviewStatus;
    };
    const { allowed = false, denied = false, reason = "" } = answer.status ?? {};
    if (allowed && denied) throw invalidArgument("the webhook both allows and denies");
    return { allowed, denied, reason };
  }
}

/** Throws invalidArgument for an expression that is none. */
async function compile(expressions: readonly string[]): Promise<Condition[]> {
  if (expressions.length > maxMatchConditions)
    throw invalidArgument(
      `an authorizer has at most ${maxMatchConditions} match conditions, not ${expressions.length}`,
    );
  if (expressions.length === 0) return [];
  const { compileCel } = await import("../../cel/index.ts");
  return expressions.map((expression) => {
    try {
      return compileCel(expression);
    } catch (cause) {
      throw invalidArgument(`match condition ${JSON.stringify(expression)}: ${messageOf(cause)}`, { cause });
    }
  });
}

function specOf(asked: AuthorizationAttributes): k8s.SubjectAccessReviewSpec {
  const { user, verb } = asked;
  const who = {
    user: user.name,
    groups: [...user.groups],
    ...(user.uid ? { uid: user.uid } : {}),
    ...(user.extra ? { extra: structuredClone(user.extra) as Record<string, string[]> } : {}),
  };
  if (!asked.isResource) return { ...who, nonResourceAttributes: { path: asked.path, verb } };
  const { namespace, group, version, resource, subresource, name } = asked;
  const set = Object.fromEntries(
    Object.entries({ namespace, verb, group, version, resource, subresource, name }).filter(
      ([, value]) => value !== "",
    ),
  );
  return { ...who, resourceAttributes: set };
}
