import { request as send } from "node:https";
import { connect, type ConnectionOptions } from "node:tls";
import type { IncomingMessage } from "node:http";
import type { ApiRequest, ApiResponse, k8s, UserInfo } from "../../api/index.ts";
import { BerthError, messageOf } from "../../base/index.ts";
import type { KeyPair } from "../certificates/authority.ts";
import { readAnswer } from "../read-answer.ts";
import type { ServiceAddress } from "../webhook-client.ts";

/** Answers longer than this are streamed only, never kept. */
const maxBufferedBytes = 64 * 1024 * 1024;
const passedOn = ["accept", "content-type", "user-agent", "audit-id"];
/** Besides, of a request that switches protocols. */
const passedOnUpgrade = [
  "sec-websocket-extensions",
  "sec-websocket-key",
  "sec-websocket-protocol",
  "sec-websocket-version",
  "x-stream-protocol-version",
];
/** How browsers send a token, which is for us alone. */
const TOKEN_PROTOCOL = /^base64url\.bearer\.authorization\.k8s\.io\./;
const passedBack = ["content-type", "etag", "vary", "warning", "retry-after", "last-modified"];

/** An API server behind ours. */
export interface Upstream {
  readonly address: ServiceAddress;
  readonly tls: Pick<k8s.APIServiceSpec, "caBundle" | "insecureSkipTLSVerify">;
  /** Proves that it is us who says who is asking. */
  readonly client: KeyPair;
}

/** Hands a request on as `user`. Watches and logs stream. Throws `unavailable` when the server does not answer. */
export async function forward(upstream: Upstream, request: ApiRequest, user: UserInfo): Promise<ApiResponse> {
  if (request.headers["upgrade"] !== undefined) return upgrade(upstream, request, user);
  const answer = await ask(upstream, request, user);
  const headers: Record<string, string> = {};
  for (const name of passedBack) {
    const value = answer.headers[name];
    if (value !== undefined) headers[name] = String(value);
  }
  const status = answer.statusCode ?? 502;
  const isStream = request.query.has("watch") || request.query.has("follow");
  if (isStream) return { status, headers, chunks: answer };
  return { status, headers, body: await readAnswer(answer, maxBufferedBytes) };
}

function ask(upstream: Upstream, request: ApiRequest, user: UserInfo): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const body = request.body ?? (request.object === undefined ? undefined : Buffer.from(JSON.stringify(request.object)));
  const outgoing = send(
    {
      ...connectionTo(upstream),
      method: request.method,
      path: urlOf(request),
      headers: { ...headersOf(request, user), host: upstream.address.serverName },
      signal: request.signal,
    },
    resolve,
  );
  outgoing.on("error", (error) => reject(new BerthError("unavailable", unreachable(error), { cause: error })));
  outgoing.end(body);
  return promise;
}

const unreachable = (error: unknown) => `error trying to reach service: ${messageOf(error)}`;

function connectionTo({ address, tls, client }: Upstream): ConnectionOptions {
  return {
    host: address.host,
    port: address.port,
    servername: address.serverName,
    ca: tls.caBundle === undefined ? undefined : Buffer.from(tls.caBundle, "base64"),
    rejectUnauthorized: tls.insecureSkipTLSVerify !== true,
    cert: client.cert,
    key: client.key,
  };
}

function urlOf({ path, query }: ApiRequest): string {
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** A connection that switches protocols (exec, a console): both sides speak with each other from the request's head on. */
function upgrade(upstream: Upstream, request: ApiRequest, user: UserInfo): ApiResponse {
  const headers: Record<string, string | string[]> = {
    ...headersOf(request, user),
    host: upstream.address.serverName,
    connection: "Upgrade",
    upgrade: request.headers["upgrade"]!,
  };
  for (const name of passedOnUpgrade) {
    const value = request.headers[name]?.split(/, */).filter((one) => !TOKEN_PROTOCOL.test(one));
    if (value?.length) headers[name] = value.join(", ");
  }
  const lines = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map((value) => `${name}: ${value}\r\n`),
  );
  return {
    status: 101,
    headers: {},
    takeover: (client, head) => {
      const server = connect(connectionTo(upstream));
      server.on("error", (error) => {
        if (server.bytesRead > 0 || !client.writable) client.destroy();
        else client.end(`HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n${unreachable(error)}`);
      });
      client.on("error", () => server.destroy());
      client.on("close", () => server.destroy());
      server.write(`${request.method} ${urlOf(request)} HTTP/1.1\r\n${lines.join("")}\r\n`);
      if (head.length > 0) server.write(head);
      server.pipe(client).pipe(server);
    },
  };
}

/** https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy */
function headersOf({ headers }: ApiRequest, user: UserInfo): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {};
  for (const name of passedOn) {
    const value = headers[name];
    if (value !== undefined) kept[name] = value;
  }
  kept["x-remote-user"] = user.name;
  if (user.uid) kept["x-remote-uid"] = user.uid;
  kept["x-remote-group"] = [...user.groups];
  for (const [key, values] of Object.entries(user.extra ?? {}))
    kept[`x-remote-extra-${encodeURIComponent(key).toLowerCase()}`] = [...values];
  return kept;
}
