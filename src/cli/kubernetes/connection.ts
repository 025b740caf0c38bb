import { readFileSync } from "node:fs";
import https from "node:https";
import type { IncomingMessage } from "node:http";
import type { ApiHandler, ApiRequest, ApiResponse, ApiWatchEvent } from "../../api/index.ts";
import { invalidArgument, messageOf, unavailable } from "../../base/index.ts";
import { KubeClient } from "../../client/index.ts";

/** A cluster as a kubeconfig's current context names it. */
export interface Connection {
  readonly client: KubeClient;
  readonly server: string;
  /** Of the context; `default` when it names none. */
  readonly namespace: string;
  close(): void;
}

interface Kubeconfig {
  readonly "current-context"?: string;
  readonly contexts?: ReadonlyArray<{ name: string; context: { cluster: string; user: string; namespace?: string } }>;
  readonly clusters?: ReadonlyArray<{
    name: string;
    cluster: { server: string; "certificate-authority-data"?: string };
  }>;
  readonly users?: ReadonlyArray<{ name: string; user: Credentials }>;
}
interface Credentials {
  readonly "client-certificate-data"?: string;
  readonly "client-key-data"?: string;
  readonly token?: string;
}

/** What is asked of a cluster at once at most, over as many connections. */
const MAX_CONNECTIONS = 16;

/** Throws `unavailable` when there is no such file: the cluster isn't up. */
export async function connect(kubeconfigFile: string): Promise<Connection> {
  const config = await parse(kubeconfigFile);
  const named = config.contexts?.find(({ name }) => name === config["current-context"]);
  const cluster = config.clusters?.find(({ name }) => name === named?.context.cluster)?.cluster;
  if (!named || !cluster)
    throw invalidArgument(`${kubeconfigFile} has no context "${config["current-context"] ?? ""}" with a cluster`);
  const user = config.users?.find(({ name }) => name === named.context.user)?.user ?? {};
  const decode = (text: string | undefined) => (text === undefined ? undefined : Buffer.from(text, "base64"));
  const agent = new https.Agent({
    keepAlive: true,
    maxSockets: MAX_CONNECTIONS,
    ca: decode(cluster["certificate-authority-data"]),
    cert: decode(user["client-certificate-data"]),
    key: decode(user["client-key-data"]),
  });
  const headers: Record<string, string> = user.token ? { authorization: `Bearer ${user.token}` } : {};
  return {
    client: new KubeClient(remoteHandler(cluster.server, agent, headers), { userAgent: "berth" }),
    server: cluster.server,
    namespace: named.context.namespace ?? "default",
    close: () => agent.destroy(),
  };
}

async function parse(file: string): Promise<Kubeconfig> {
  const { load } = await import("js-yaml");
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw unavailable(`there is no cluster: ${messageOf(error)}`, {
      hint: "start it with `berth up -d`",
      cause: error,
    });
  }
  return load(text) as Kubeconfig;
}

/** The API at the other end of a TLS connection, as a function like the one in the daemon. */
function remoteHandler(server: string, agent: https.Agent, extra: Record<string, string>): ApiHandler {
  return (call) =>
    new Promise((resolve, reject) => {
      const text = call.query.toString();
      const body = call.body ?? (call.object === undefined ? undefined : Buffer.from(JSON.stringify(call.object)));
      const request = https.request(new URL(text ? `${call.path}?${text}` : call.path, server), {
        agent,
        method: call.method,
        // Said, since Node frames no body of a DELETE by itself.
        headers: { ...defined(call.headers), ...extra, ...(body ? { "content-length": body.length } : {}) },
        signal: call.signal,
      });
      request.on("error", (error: NodeJS.ErrnoException) =>
        reject(
          error.code === "ECONNREFUSED"
            ? unavailable(`the cluster at ${server} does not answer`, { hint: "berth status", cause: error })
            : error,
        ),
      );
      request.on("response", (response) => void toApiResponse(call, response).then(resolve, reject));
      request.end(body);
    });
}

function defined(headers: ApiRequest["headers"]): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter((pair): pair is [string, string] => pair[1] !== undefined));
}

async function toApiResponse(call: ApiRequest, response: IncomingMessage): Promise<ApiResponse> {
  const status = response.statusCode!;
  const headers = defined(response.headers as Record<string, string>);
  const streamed = ["watch", "follow"].some((name) => ["true", "1"].includes(call.query.get(name) ?? ""));
  if (status < 400 && streamed) {
    if (call.query.get("follow")) return { status, headers, chunks: response as AsyncIterable<Uint8Array> };
    return { status, headers, events: eventsOf(response) };
  }
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status, headers, body: Buffer.concat(chunks) };
}

async function* eventsOf(response: IncomingMessage): AsyncGenerator<ApiWatchEvent> {
  let rest = "";
  for await (const chunk of response.setEncoding("utf8")) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield JSON.parse(line) as ApiWatchEvent;
  }
}
