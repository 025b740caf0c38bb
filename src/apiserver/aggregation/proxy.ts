import { request as send } from "node:https";
import type { IncomingMessage } from "node:http";
import type { ApiRequest, ApiResponse, k8s, UserInfo } from "../../api/index.ts";
import { BerthError, messageOf } from "../../base/index.ts";
import type { KeyPair } from "../certificates/authority.ts";
import type { ServiceAddress } from "../webhook-client.ts";

/** Answers longer than this are streamed only, never kept. */
const maxBufferedBytes = 64 * 1024 * 1024;
const passedOn = ["accept", "content-type", "user-agent", "audit-id"];
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
  const answer = await ask(upstream, request, user);
  const headers: Record<string, string> = {};
  for (const name of passedBack) {
    const value = answer.headers[name];
    if (value !== undefined) headers[name] = String(value);
  }
  const status = answer.statusCode ?? 502;
  const isStream = request.query.has("watch") || request.query.has("follow");
  if (isStream) return { status, headers, chunks: answer };
  return { status, headers, body: await readAll(answer) };
}

function ask({ address, tls, client }: Upstream, request: ApiRequest, user: UserInfo): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const query = request.query.toString();
  const body = request.body ?? (request.object === undefined ? undefined : Buffer.from(JSON.stringify(request.object)));
  const outgoing = send(
    {
      host: address.host,
      port: address.port,
      servername: address.serverName,
      method: request.method,
      path: query === "" ? request.path : `${request.path}?${query}`,
      headers: { ...headersOf(request, user), host: address.serverName },
      ca: tls.caBundle === undefined ? undefined : Buffer.from(tls.caBundle, "base64"),
      rejectUnauthorized: tls.insecureSkipTLSVerify !== true,
      cert: client.cert,
      key: client.key,
      signal: request.signal,
    },
    resolve,
  );
  outgoing.on("error", (error) =>
    reject(new BerthError("unavailable", `error trying to reach service: ${messageOf(error)}`, { cause: error })),
  );
  outgoing.end(body);
  return promise;
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

async function readAll(answer: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBufferedBytes)
      throw new BerthError("unavailable", `the answer of the service is larger than ${maxBufferedBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
