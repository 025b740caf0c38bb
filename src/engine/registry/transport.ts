import http from "node:http";
import https from "node:https";
import type { Readable } from "node:stream";
import { canceled, errnoOf, messageOf, unavailable } from "../../base/index.ts";
import { readTrust, type Trust } from "./trust.ts";
import type { RegistryConfig } from "./types.ts";

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | Readable;
  readonly signal?: AbortSignal;
  /** Accept any certificate: for registries that the configuration calls insecure, and loopback ones. */
  readonly insecure?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Must be read or destroyed. */
  readonly body: Readable;
  readonly url: URL;
}

const MAX_REDIRECTS = 5;
/** No byte for this long and the connection counts as dead. */
const SILENCE_MS = 60_000;

/** HTTP(S) with kept-alive connections, proxies from the environment, and trust from the host and per-registry folders. */
export class Transport {
  readonly #config: RegistryConfig;
  readonly #agents = new Map<string, http.Agent>();

  constructor(config: RegistryConfig) {
    this.#config = config;
  }

  /** Follows redirects for requests without a body. Credentials never follow to another host. */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    let next = request;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer = await this.#sendOne(next);
      const location = answer.headers.location;
      if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined || request.body !== undefined)
        return answer;
      answer.body.destroy();
      const url = new URL(location, next.url);
      const { authorization: _dropped, ...rest } = lowerCased(next.headers ?? {});
      next = { ...next, url, headers: url.host === next.url.host ? next.headers : rest };
    }
    throw unavailable(`${request.url.host} answered with more than ${MAX_REDIRECTS} redirects`);
  }

  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  #sendOne(request: HttpRequest): Promise<HttpAnswer> {
    const { method, url, body, signal } = request;
    const headers: Record<string, string> = { "user-agent": "berth", ...request.headers };
    if (body instanceof Uint8Array) headers["content-length"] = String(body.byteLength);
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => {
        if (body && !(body instanceof Uint8Array)) body.destroy();
        reject(
          signal?.aborted
            ? canceled("canceled", { cause: signal.reason })
            : unavailable(`${url.host} can't be reached: ${explain(error)}`, {
                cause: error,
                details: { errno: errnoOf(error) },
              }),
        );
      };
      const module = url.protocol === "https:" ? https : http;
      const agent = this.#agent(url, request.insecure ?? false);
      const sent = module.request(url, { method, headers, agent, ...(signal && { signal }) }, (answer) =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: answer, url }),
      );
      sent.setTimeout(SILENCE_MS, () => sent.destroy(new Error("no answer for a minute")));
      sent.on("error", fail);
      if (body instanceof Uint8Array || body === undefined) sent.end(body);
      else body.on("error", (error) => sent.destroy(error)).pipe(sent);
    });
  }

  #agent(url: URL, insecure: boolean): http.Agent {
    const key = `${url.protocol}${insecure ? url.host : trustKey(this.#config, url)}${insecure}`;
    let agent = this.#agents.get(key);
    if (!agent) {
      const common = {
        keepAlive: true,
        maxSockets: 16,
        ...(this.#config.env && { proxyEnv: { ...this.#config.env } }),
      };
      agent =
        url.protocol === "https:"
          ? new https.Agent({
              ...common,
              ...tlsOptions(readTrust(this.#config.certsDir, url.host)),
              rejectUnauthorized: !insecure,
            })
          : new http.Agent(common);
      this.#agents.set(key, agent);
    }
    return agent;
  }
}

/** Hosts with a certificate folder of their own have an agent of their own. */
function trustKey(config: RegistryConfig, url: URL): string {
  return config.certsDir === undefined ? "" : url.host;
}

function tlsOptions(trust: Trust) {
  return { ca: trust.ca, ...(trust.cert && trust.key && { cert: trust.cert, key: trust.key }) };
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

/** Why a connection failed, in words instead of an errno where there are any. */
function explain(error: unknown): string {
  switch (errnoOf(error)) {
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "its name doesn't resolve (no network, or no such host)";
    case "ECONNREFUSED":
      return "nothing listens there (connection refused)";
    case "ECONNRESET":
      return "the connection was cut";
    case "ETIMEDOUT":
      return "no answer (timed out)";
  }
  const code = (error as { code?: unknown }).code;
  if (
    code === "SELF_SIGNED_CERT_IN_CHAIN" ||
    code === "DEPTH_ZERO_SELF_SIGNED_CERT" ||
    code === "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
  )
    return "its certificate is signed by an unknown authority (put the authority's certificate into the certs folder as ca.crt)";
  return messageOf(error);
}
