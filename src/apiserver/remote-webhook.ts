import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import path from "node:path";
import { invalidArgument, messageOf, unavailable } from "../base/index.ts";
import { readAnswer } from "./read-answer.ts";

const { request: httpRequest } = process.getBuiltinModule("node:http");

/**
 * A service outside that is asked by POST, named by a file of kubeconfig's form: the cluster is the service, the user is this server
 * (https://kubernetes.io/docs/reference/access-authn-authz/webhook/#configuration-file-format).
 */
export interface RemoteWebhook {
  /** The answer's JSON. Throws `unavailable` when there is none, after `timeoutMs` at the latest. */
  post(body: object, timeoutMs: number): Promise<Record<string, unknown>>;
  /** For those that answer nothing of interest. `body` is JSON. Throws as `post` does. */
  send(body: string, timeoutMs: number): Promise<void>;
}

interface NamedCluster {
  name: string;
  cluster?: Record<string, string | boolean | undefined>;
}
interface NamedUser {
  name: string;
  user?: Record<string, string | undefined>;
}
interface File {
  "current-context"?: string;
  clusters?: NamedCluster[];
  users?: NamedUser[];
  contexts?: { name: string; context?: { cluster?: string; user?: string } }[];
}

const maxAnswerBytes = 3 * 1024 * 1024;

/** Throws invalidArgument that says what is wrong with the file. */
export async function openRemoteWebhook(file: string): Promise<RemoteWebhook> {
  const parsed = await readFile(file);
  const context = parsed.contexts?.find(({ name }) => name === parsed["current-context"])?.context;
  const clusters = parsed.clusters ?? [];
  const cluster = (clusters.find(({ name }) => name === context?.cluster) ?? clusters[0])?.cluster ?? {};
  const users = parsed.users ?? [];
  const user = (users.find(({ name }) => name === context?.user) ?? users[0])?.user ?? {};
  const server = String(cluster["server"] ?? "");
  if (!URL.canParse(server))
    throw invalidArgument(`${file}: the cluster's server ${JSON.stringify(server)} is not a URL`);
  const pem = (from: Record<string, unknown>, key: string): string | undefined => {
    const data = from[`${key}-data`];
    if (typeof data === "string") return Buffer.from(data, "base64").toString();
    const name = from[key];
    return typeof name === "string" ? readText(path.resolve(path.dirname(file), name)) : undefined;
  };
  const headers: Record<string, string> = { "content-type": "application/json", accept: "application/json" };
  if (user["token"]) headers["authorization"] = `Bearer ${user["token"]}`;
  else if (user["username"])
    headers["authorization"] =
      `Basic ${Buffer.from(`${user["username"]}:${user["password"] ?? ""}`).toString("base64")}`;
  const options: RequestOptions = {
    method: "POST",
    headers,
    ca: pem(cluster, "certificate-authority"),
    cert: pem(user, "client-certificate"),
    key: pem(user, "client-key"),
    servername: cluster["tls-server-name"] as string | undefined,
    rejectUnauthorized: cluster["insecure-skip-tls-verify"] !== true,
  };
  const ask = async <T>(body: string, timeoutMs: number, read: (answer: string) => T): Promise<T> => {
    try {
      return read(await post(new URL(server), options, body, timeoutMs));
    } catch (cause) {
      throw unavailable(`the webhook at ${new URL(server).href} failed: ${messageOf(cause)}`, { cause });
    }
  };
  return {
    post: (body, timeoutMs) =>
      ask(JSON.stringify(body), timeoutMs, (text) => JSON.parse(text) as Record<string, unknown>),
    send: (body, timeoutMs) => ask(body, timeoutMs, () => undefined),
  };
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw invalidArgument(messageOf(cause), { cause });
  }
}

/** The parser of YAML is loaded only where there is such a file. */
async function readFile(file: string): Promise<File> {
  const { load } = await import("js-yaml");
  try {
    return (load(readText(file)) ?? {}) as File;
  } catch (cause) {
    throw invalidArgument(`${file} cannot be read as a kubeconfig: ${messageOf(cause)}`, { cause });
  }
}

async function post(url: URL, options: RequestOptions, body: string, timeoutMs: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const send = url.protocol === "https:" ? httpsRequest : httpRequest;
  const sent = send(url, { ...options, signal: AbortSignal.timeout(timeoutMs) }, resolve);
  sent.on("error", reject);
  sent.end(body);
  const answer = await promise;
  const text = (await readAnswer(answer, maxAnswerBytes)).toString();
  if ((answer.statusCode ?? 0) >= 300) throw new Error(`it answered with status ${answer.statusCode}`);
  return text;
}
