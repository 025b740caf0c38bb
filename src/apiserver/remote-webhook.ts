import { readFileSync } from "node:fs";
import { request as httpsRequest, type RequestOptions } from "node:https";
import path from "node:path";
import { invalidArgument, messageOf, unavailable } from "../base/index.ts";

const { request: httpRequest } = process.getBuiltinModule("node:http");

/**
 * A service outside that is asked by POST, named by a file of kubeconfig's form: the cluster is the service, the user is this server
 * (https://kubernetes.io/docs/reference/access-authn-authz/webhook/#configuration-file-format).
 */
export interface RemoteWebhook {
  /** The answer's JSON. Throws `unavailable` when there is none, after `timeoutMs` at the latest. */
  post(body: object, timeoutMs: number): Promise<Record<string, unknown>>;
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
  return { post: (body, timeoutMs) => post(new URL(server), options, body, timeoutMs) };
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

function post(url: URL, options: RequestOptions, body: object, timeoutMs: number): Promise<Record<string, unknown>> {
  const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>();
  const send = url.protocol === "https:" ? httpsRequest : httpRequest;
  const sent = send(url, { ...options, signal: AbortSignal.timeout(timeoutMs) }, (answer) => {
    const chunks: Buffer[] = [];
    let size = 0;
    answer.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxAnswerBytes) answer.destroy(new Error(`the answer is larger than ${maxAnswerBytes} bytes`));
      else chunks.push(chunk);
    });
    answer.on("error", reject);
    answer.on("end", () => {
      if ((answer.statusCode ?? 0) >= 300) return reject(new Error(`it answered with status ${answer.statusCode}`));
      try {
        resolve(JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>);
      } catch (error) {
        reject(error as Error);
      }
    });
  });
  sent.on("error", reject);
  sent.end(JSON.stringify(body));
  return promise.catch((cause: unknown) => {
    throw unavailable(`the webhook at ${url.href} failed: ${messageOf(cause)}`, { cause });
  });
}
