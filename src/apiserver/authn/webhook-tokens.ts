import { createHash } from "node:crypto";
import type { ApiRequest, k8s, UserInfo } from "../../api/index.ts";
import { messageOf, type Clock, type Logger } from "../../base/index.ts";
import type { Authenticator } from "../machinery/pipeline.ts";
import { openRemoteWebhook, type RemoteWebhook } from "../remote-webhook.ts";
import { TimedCache } from "../timed-cache.ts";
import { bearerToken } from "./bearer.ts";

/** Upstream's --authentication-token-webhook-* flags. https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication */
export interface WebhookTokenOptions {
  /** A file of kubeconfig's form. */
  readonly configFile: string;
  /** `v1beta1` by default, as upstream. */
  readonly version?: "v1" | "v1beta1";
  /** Two minutes by default. */
  readonly cacheMs?: number;
  /** What the token must be for; the webhook may leave its answer's audiences out. */
  readonly audiences?: readonly string[];
}

const defaultCacheMs = 2 * 60_000;
const timeoutMs = 30_000;
const maxEntries = 4096;
type Answer = { readonly user: UserInfo } | { readonly user: undefined };

/** Bearer tokens that a service outside knows; it is asked with a TokenReview, and its answers are kept for a while. */
export class WebhookTokens implements Authenticator {
  readonly #webhook: RemoteWebhook;
  readonly #options: WebhookTokenOptions;
  readonly #answers: TimedCache<Answer>;
  readonly #log: Logger;

  private constructor(webhook: RemoteWebhook, options: WebhookTokenOptions, clock: Clock, log: Logger) {
    this.#options = options;
    this.#webhook = webhook;
    this.#answers = new TimedCache(clock, maxEntries);
    this.#log = log;
  }

  /** Throws invalidArgument for a file that names no service. */
  static async open(options: WebhookTokenOptions, clock: Clock, log: Logger): Promise<WebhookTokens> {
    return new WebhookTokens(await openRemoteWebhook(options.configFile), options, clock, log);
  }

  /** Undefined too when the service cannot be reached: a token that nobody vouches for is refused at the chain's end. */
  async authenticate(request: ApiRequest): Promise<UserInfo | undefined> {
    const token = bearerToken(request);
    if (token === undefined) return undefined;
    // The token itself is not kept.
    const key = createHash("sha256").update(token).digest("base64");
    const known = this.#answers.get(key);
    if (known) return known.user;
    try {
      const user = await this.#ask(token);
      this.#answers.set(key, { user } as Answer, this.#options.cacheMs ?? defaultCacheMs);
      return user;
    } catch (error) {
      this.#log.warn("a token could not be reviewed", { error: messageOf(error) });
      return undefined;
    }
  }

  async #ask(token: string): Promise<UserInfo | undefined> {
    const { version = "v1beta1", audiences } = this.#options;
    const spec = { token, ...(audiences ? { audiences } : {}) };
    const review = { apiVersion: `authentication.k8s.io/${version}`, kind: "TokenReview", spec };
    const { status } = (await this.#webhook.post(review, timeoutMs)) as { status?: k8s.TokenReviewStatus };
    if (status?.authenticated !== true || !status.user?.username) return undefined;
    if (audiences && status.audiences && !status.audiences.some((one) => audiences.includes(one))) return undefined;
    const { username, groups = [], uid, extra } = status.user;
    return {
      name: username,
      groups,
      ...(uid ? { uid } : {}),
      ...(extra ? { extra } : {}),
    };
  }
}
