import type { Agent, IncomingHttpHeaders } from "node:http";
import https from "node:https";
import type { Readable } from "node:stream";
import tls from "node:tls";
import { canceled, errnoOf, messageOf, unavailable, type BerthError } from "../../base/index.ts";
import { receive } from "./receive.ts";
import { readTrust } from "./trust.ts";
import type { RegistryConfig } from "./types.ts";

const http = process.getBuiltinModule("node:http");

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | Readable;
  readonly signal?: AbortSignal;
  /** Accept any certificate: for registries that the configuration calls insecure, and loopback ones. */
  readonly insecure?: boolean;
}

/** A piece is good until the next one is asked for, since its memory may be used again. Must be read to its end or destroyed. */
export interface HttpBody extends AsyncIterable<Uint8Array> {
  destroy(): void;
}

export interface HttpAnswer<Body extends HttpBody = Readable> {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Body;
  readonly url: URL;
}

/** Where a request goes and whom one trusts there. */
interface Way {
  readonly agent: Agent;
  readonly tls: tls.ConnectionOptions;
}

const MAX_REDIRECTS = 5;
/** No byte for this long and the connection counts as dead. */
const SILENCE_MS = 60_000;
const OWN_HEADERS = { "user-agent": "berth" };

/** HTTP(S) with kept-alive connections, proxies from the environment, and trust from the host and per-registry folders. */
export class Transport {
  readonly #config: RegistryConfig;
  readonly #ways = new Map<string, Way>();
  readonly #closed = new AbortController();

  constructor(config: RegistryConfig) {
    this.#config = config;
  }

  /** Follows redirects for requests without a body. Credentials never follow to another host. */
  send(request: HttpRequest): Promise<HttpAnswer> {
    return this.#following(request, (hop) => this.#sendOne(hop));
  }

  /** GET of a large body, see `receive`. What that doesn't know (proxies, user names in URLs) goes the usual way. */
  receive(request: HttpRequest): Promise<HttpAnswer<HttpBody>> {
    return this.#following<HttpBody>(request, (hop) =>
      this.#isDirect(hop.url) ? this.#receiveOne(hop) : this.#sendOne(hop),
    );
  }

  async #following<Body extends HttpBody>(
    request: HttpRequest,
    ask: (hop: HttpRequest) => Promise<HttpAnswer<Body>>,
  ): Promise<HttpAnswer<Body>> {
    let next = request;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer = await ask(next);
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
    this.#closed.abort();
    for (const { agent } of this.#ways.values()) agent.destroy();
    this.#ways.clear();
  }

  #sendOne(request: HttpRequest): Promise<HttpAnswer> {
    const { method, url, body, signal } = request;
    const headers: Record<string, string> = { ...OWN_HEADERS, ...request.headers };
    if (body instanceof Uint8Array) headers["content-length"] = String(body.byteLength);
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => {
        if (body && !(body instanceof Uint8Array)) body.destroy();
        reject(failure(error, request));
      };
      const module = url.protocol === "https:" ? https : http;
      const { agent } = this.#way(request);
      const sent = module.request(url, { method, headers, agent, ...(signal && { signal }) }, (answer) =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: answer, url }),
      );
      sent.setTimeout(SILENCE_MS, () => sent.destroy(new Error("no answer for a minute")));
      sent.on("error", fail);
      if (body instanceof Uint8Array || body === undefined) sent.end(body);
      else body.on("error", (error) => sent.destroy(error)).pipe(sent);
    });
  }

  async #receiveOne(request: HttpRequest): Promise<HttpAnswer<HttpBody>> {
    const { url } = request;
    const headers = { ...OWN_HEADERS, ...request.headers };
    const signal = request.signal ? AbortSignal.any([request.signal, this.#closed.signal]) : this.#closed.signal;
    try {
      const { tls: secure } = this.#way(request);
      return { ...(await receive({ url, headers, tls: secure, silenceMs: SILENCE_MS, signal })), url };
    } catch (error) {
      throw failure(error, request);
    }
  }

  #isDirect(url: URL): boolean {
    const { env = {} } = this.#config;
    const proxied = ["HTTP_PROXY", "HTTPS_PROXY"].some((name) => env[name] || env[name.toLowerCase()]);
    return !proxied && url.username === "";
  }

  #way({ url, insecure = false }: HttpRequest): Way {
    const key = `${url.protocol}${insecure ? url.host : trustKey(this.#config, url)}${insecure}`;
    let way = this.#ways.get(key);
    if (!way) {
      const common = {
        keepAlive: true,
        maxSockets: 16,
        ...(this.#config.env && { proxyEnv: { ...this.#config.env } }),
      };
      const secure =
        url.protocol === "https:"
          ? {
              secureContext: tls.createSecureContext(readTrust(this.#config.certsDir, url.host)),
              rejectUnauthorized: !insecure,
            }
          : {};
      const agent = url.protocol === "https:" ? new https.Agent({ ...common, ...secure }) : new http.Agent(common);
      way = { agent, tls: secure };
      this.#ways.set(key, way);
    }
    return way;
  }
}

/** Hosts with a certificate folder of their own have an agent of their own. */
function trustKey(config: RegistryConfig, url: URL): string {
  return config.certsDir === undefined ? "" : url.host;
}

function failure(error: unknown, { url, signal }: HttpRequest): BerthError {
  if (signal?.aborted) return canceled("canceled", { cause: signal.reason });
  return unavailable(`${url.host} can't be reached: ${explain(error)}`, {
    cause: error,
    details: { errno: errnoOf(error) },
  });
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
