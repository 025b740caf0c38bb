import type { IncomingMessage } from "node:http";
import { request } from "node:https";

import type { k8s } from "../api/index.ts";
import { deadlineExceeded, messageOf, unavailable } from "../base/index.ts";
import { resources } from "../client/index.ts";
import type { ClusterState } from "./cluster-state.ts";
import { readAnswer } from "./read-answer.ts";

const maxAnswerBytes = 3 * 1024 * 1024;

/** Where a webhook is: `url`, or a Service of the cluster. */
type WebhookConfig = k8s.WebhookClientConfig;

/** Posts a review to a webhook and reads its answer. Throws `unavailable` or `deadlineExceeded`, saying which webhook and why. */
export async function callWebhook(
  state: ClusterState,
  config: WebhookConfig,
  review: object,
  timeoutMs: number,
): Promise<Record<string, unknown>> {
  const target = await locate(state, config);
  const body = JSON.stringify(review);
  const text = await post(target, body, config.caBundle, timeoutMs);
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw unavailable(`the webhook at ${target.shown} did not answer with JSON: ${messageOf(error)}`, { cause: error });
  }
}

interface Target extends ServiceAddress {
  readonly path: string;
  readonly shown: string;
}

async function locate(state: ClusterState, { url, service }: WebhookConfig): Promise<Target> {
  if (url !== undefined) {
    const { hostname, port, pathname, search } = new URL(url);
    const host = hostname.replace(/^\[|\]$/g, "");
    return { host, port: Number(port) || 443, path: pathname + search, serverName: host, shown: url };
  }
  const { namespace = "", name = "", path = "/", port = 443 } = service ?? {};
  const address = await addressOf(state, { namespace, name, port });
  return { ...address, path, shown: `https://${address.serverName}:${port}${path}` };
}

/** Where a Service of the cluster is reached over TLS. */
export interface ServiceAddress {
  readonly host: string;
  readonly port: number;
  /** The name that its certificate must carry. */
  readonly serverName: string;
}

/** Throws `notFound`, in upstream's words, when there is no such Service. */
export async function addressOf(
  state: ClusterState,
  { namespace, name, port }: { namespace: string; name: string; port: number },
): Promise<ServiceAddress> {
  const { spec } = await state.client.of(resources.services).get({ namespace, name });
  const host = spec?.type === "ExternalName" ? spec.externalName : spec?.clusterIP;
  return { host: host ?? "", port, serverName: `${name}.${namespace}.svc` };
}

async function post(target: Target, body: string, caBundle: string | undefined, timeoutMs: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = request(
    {
      host: target.host,
      port: target.port,
      path: target.path,
      method: "POST",
      servername: target.serverName,
      ca: caBundle === undefined ? undefined : Buffer.from(caBundle, "base64"),
      headers: { "content-type": "application/json", accept: "application/json", host: target.serverName },
      signal: AbortSignal.timeout(timeoutMs),
    },
    resolve,
  );
  sent.on("error", reject);
  sent.end(body);
  const failed = `Post "${target.shown}?timeout=${timeoutMs / 1000}s"`;
  try {
    const answer = await promise;
    const text = (await readAnswer(answer, maxAnswerBytes)).toString();
    if (answer.statusCode !== 200) throw new Error(`it answered with status ${answer.statusCode}`);
    return text;
  } catch (error) {
    const { name } = error as Error;
    if (name === "TimeoutError" || name === "AbortError")
      throw deadlineExceeded(`${failed}: context deadline exceeded`, { cause: error });
    throw unavailable(`${failed}: ${messageOf(error)}`, { cause: error });
  }
}
