import https from "node:https";
import type { IncomingMessage } from "node:http";
import type { ApiHandler, ApiRequest, ApiResponse, ApiWatchEvent } from "../api/index.ts";
import { unavailable } from "../base/index.ts";

/** Where an API server is, and with what a caller shows who they are. */
export interface RemoteOptions {
  /** https://HOST:PORT */
  readonly server: string;
  /** PEM, each. */
  readonly authority?: string | Buffer | undefined;
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  readonly token?: string | undefined;
  /** A watch holds one as long as it lasts. */
  readonly maxConnections?: number;
}

/** The API at the other end of TLS connections, as a function like the one in the daemon. Throws `unavailable` where nobody listens. */
export function remoteApi(options: RemoteOptions): { readonly handler: ApiHandler; close(): void } {
  const { server, authority, cert, key, token, maxConnections } = options;
  const agent = new https.Agent({
    keepAlive: true,
    ca: authority,
    cert,
    key,
    ...(maxConnections && { maxSockets: maxConnections }),
  });
  const credentials: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  return { handler: (call) => send(call, server, agent, credentials), close: () => agent.destroy() };
}

function send(
  call: ApiRequest,
  server: string,
  agent: https.Agent,
  credentials: Record<string, string>,
): Promise<ApiResponse> {
  return new Promise((resolve, reject) => {
    const text = call.query.toString();
    const body = call.body ?? (call.object === undefined ? undefined : Buffer.from(JSON.stringify(call.object)));
    const request = https.request(new URL(text ? `${call.path}?${text}` : call.path, server), {
      agent,
      method: call.method,
      // Said, since Node frames no body of a DELETE by itself.
      headers: { ...defined(call.headers), ...credentials, ...(body ? { "content-length": body.length } : {}) },
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
