import type { Readable } from "node:stream";
import { INDEX_TYPES, MANIFEST_TYPES, MEDIA, type OciDescriptor, type RegistryErrorBody } from "../../api/index.ts";
import {
  BerthError,
  errnoOf,
  hasCode,
  invalidArgument,
  messageOf,
  notFound,
  permissionDenied,
  resourceExhausted,
  unauthenticated,
  unavailable,
  type Clock,
  type Random,
} from "../../base/index.ts";
import { digestOf, type Digest } from "../content/index.ts";
import { Authorizer, parseChallenge } from "./auth.ts";
import { readBody, readJsonBody } from "./body.ts";
import { endpointsOf, type Endpoint } from "./endpoints.ts";
import { Transport, type HttpAnswer, type HttpBody, type HttpRequest } from "./transport.ts";
import type { RegistryAuth, RegistryConfig, TransferLimits } from "./types.ts";

export interface Repository {
  /** `docker.io`. */
  readonly domain: string;
  /** `library/busybox`. */
  readonly path: string;
}

export interface FetchedManifest {
  readonly descriptor: OciDescriptor;
  readonly bytes: Buffer;
}

/** dockerd's defaults of max-concurrent-downloads, max-concurrent-uploads and max-download-attempts. */
const TRANSFER_LIMITS: TransferLimits = { downloads: 3, uploads: 5, attempts: 5 };
const FIRST_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 10_000;
const ACCEPT = [...MANIFEST_TYPES, ...INDEX_TYPES].join(", ");
const TAGS_A_PAGE = 1000;
const MAX_TAG_PAGES = 20;
const MAX_MANIFEST_BYTES = 4 * 2 ** 20;

interface Call {
  readonly method: string;
  /** Below `/v2/PATH/`, or an absolute URL that the registry gave. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Called for each attempt, since a stream can be read once. */
  readonly body?: () => Uint8Array | Promise<Readable>;
  readonly signal?: AbortSignal;
}

/** How a call is sent, and so how its answer's body is read. */
type Send<Body extends HttpBody> = (request: HttpRequest) => Promise<HttpAnswer<Body>>;

/** What a session needs of the process: connections and time are shared, credentials are not. */
export interface ClientEnvironment {
  readonly transport: Transport;
  readonly config: RegistryConfig;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * One conversation with the registry of one repository, by the OCI distribution specification v1.1. Mirrors are asked first for what is
 * read; whatever they don't have or when they fail, the registry itself is asked. Network failures and 5xx answers are tried again with
 * growing pauses; 4xx answers are final.
 */
export class RegistrySession {
  readonly #environment: ClientEnvironment;
  readonly #repository: Repository;
  readonly #endpoints: Endpoint[];
  readonly #authorizers = new Map<string, Authorizer>();
  readonly #auth: RegistryAuth | undefined;
  readonly #actions: string;
  /** The endpoint that answered first, for everything after. */
  #chosen: Endpoint | undefined;

  constructor(
    environment: ClientEnvironment,
    repository: Repository,
    auth: RegistryAuth | undefined,
    actions: "pull" | "pull,push",
  ) {
    this.#environment = environment;
    this.#repository = repository;
    this.#auth = auth;
    this.#actions = actions;
    const endpoints = endpointsOf(repository.domain, environment.config);
    this.#endpoints = actions === "pull" ? endpoints : endpoints.filter((endpoint) => !endpoint.mirror);
  }

  get limits(): TransferLimits {
    return { ...TRANSFER_LIMITS, ...this.#environment.config.transfers };
  }

  /** By tag or digest; the bytes are verified. `notFound` when the registry doesn't have it. */
  async manifest(tagOrDigest: string, signal?: AbortSignal): Promise<FetchedManifest> {
    const answer = await this.#call({
      method: "GET",
      path: `manifests/${tagOrDigest}`,
      headers: { accept: ACCEPT },
      signal,
    });
    const bytes = await readBody(answer.body, MAX_MANIFEST_BYTES);
    const digest = digestOf(bytes);
    const expected = tagOrDigest.startsWith("sha256:") ? tagOrDigest : answer.headers["docker-content-digest"];
    if (typeof expected === "string" && expected.startsWith("sha256:") && expected !== digest)
      throw invalidArgument(
        `the manifest of ${this.#name(tagOrDigest)} has digest ${digest} where ${expected} was expected`,
      );
    const mediaType = mediaTypeOf(answer.headers["content-type"], bytes);
    return { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes };
  }

  /** All tags, as the registry orders them. `notFound` when it has no such repository. */
  async tags(signal?: AbortSignal): Promise<string[]> {
    const tags: string[] = [];
    let next: string | undefined = `tags/list?n=${TAGS_A_PAGE}`;
    for (let page = 0; next !== undefined; page++) {
      if (page === MAX_TAG_PAGES) throw resourceExhausted(`the repository has more than ${tags.length} tags`);
      const answer: HttpAnswer = await this.#call({ method: "GET", path: next, signal });
      const { tags: some } = await readJsonBody<{ tags?: unknown }>(answer.body);
      for (const tag of Array.isArray(some) ? some : []) if (typeof tag === "string") tags.push(tag);
      next = nextPage(answer);
    }
    return tags;
  }

  /** A blob's bytes; the caller verifies. */
  async blob(digest: Digest, signal?: AbortSignal): Promise<Readable> {
    return (await this.#call({ method: "GET", path: `blobs/${digest}`, signal })).body;
  }

  /**
   * A large blob's bytes from `offset` on; the caller verifies. A piece is good until the next one is asked for. When the registry can't
   * resume, `from` is 0.
   */
  async largeBlob(digest: Digest, offset: number, signal?: AbortSignal): Promise<{ body: HttpBody; from: number }> {
    const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {};
    const call = { method: "GET", path: `blobs/${digest}`, headers, signal };
    const answer = await this.#ask(call, (request) => this.#environment.transport.receive(request));
    return { body: answer.body, from: answer.status === 206 ? offset : 0 };
  }

  async hasBlob(digest: Digest, signal?: AbortSignal): Promise<boolean> {
    try {
      (await this.#call({ method: "HEAD", path: `blobs/${digest}`, signal })).body.destroy();
      return true;
    } catch (error) {
      if (hasCode(error, "notFound")) return false;
      throw error;
    }
  }

  /** True when the registry linked a blob that another of its repositories has, so that nothing needs to be sent. */
  async mountBlob(digest: Digest, from: string, signal?: AbortSignal): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, from });
    const answer = await this.#call({
      method: "POST",
      path: `blobs/uploads/?${query.toString()}`,
      headers: { "content-length": "0" },
      signal,
    });
    answer.body.resume();
    return answer.status === 201;
  }

  /** `open` is called for each attempt. */
  async pushBlob(descriptor: OciDescriptor, open: () => Promise<Readable>, signal?: AbortSignal): Promise<void> {
    await this.#retrying(async () => {
      const url = await this.#beginUpload(signal);
      url.searchParams.set("digest", descriptor.digest);
      const headers = { "content-type": "application/octet-stream", "content-length": String(descriptor.size) };
      const done = await this.#call({ method: "PUT", path: url.href, headers, body: open, signal }, 1);
      done.body.resume();
    }, signal);
  }

  /**
   * Sends a blob whose digest isn't known before its last byte, and gives what it was: begun, streamed, and closed with the digest (the
   * specification's chunked upload with one chunk). Tried once: `open`'s bytes are still being made.
   */
  async pushGrowing(open: () => Promise<Readable>, digest: () => Promise<Digest>, signal?: AbortSignal): Promise<void> {
    const begun = await this.#beginUpload(signal);
    const headers = { "content-type": "application/octet-stream" };
    const sent = await this.#call({ method: "PATCH", path: begun.href, headers, body: open, signal }, 1);
    sent.body.resume();
    const url = new URL(sent.headers.location ?? begun, sent.url);
    url.searchParams.set("digest", await digest());
    const done = await this.#call({ method: "PUT", path: url.href, headers: { "content-length": "0" }, signal }, 1);
    done.body.resume();
  }

  /** Where the registry wants a blob. */
  async #beginUpload(signal: AbortSignal | undefined): Promise<URL> {
    const call = { method: "POST", path: "blobs/uploads/", headers: { "content-length": "0" }, signal };
    const begun = await this.#call(call, 1);
    begun.body.resume();
    const location = begun.headers.location;
    if (location === undefined) throw unavailable(`registry ${this.#repository.domain} gave no place for an upload`);
    return new URL(location, begun.url);
  }

  async pushManifest(tagOrDigest: string, mediaType: string, bytes: Buffer, signal?: AbortSignal): Promise<void> {
    const headers = { "content-type": mediaType };
    const answer = await this.#call({
      method: "PUT",
      path: `manifests/${tagOrDigest}`,
      headers,
      body: () => bytes,
      signal,
    });
    answer.body.resume();
  }

  #call(call: Call, attempts = this.limits.attempts): Promise<HttpAnswer> {
    return this.#ask(call, (request) => this.#environment.transport.send(request), attempts);
  }

  /** Where to send: the first endpoint that gives an answer to this call decides for the session. */
  async #ask<Body extends HttpBody>(
    call: Call,
    send: Send<Body>,
    attempts = this.limits.attempts,
  ): Promise<HttpAnswer<Body>> {
    if (this.#chosen) return this.#askAt(this.#chosen, call, send, attempts);
    const failures: BerthError[] = [];
    for (const endpoint of this.#endpoints) {
      try {
        const answer = await this.#askAt(endpoint, call, send, endpoint === this.#endpoints.at(-1) ? attempts : 1);
        this.#chosen = endpoint;
        return answer;
      } catch (error) {
        if (!(error instanceof BerthError) || error.code === "canceled") throw error;
        failures.push(error);
        // A mirror that fails, or the wrong protocol, is no reason to stop. An answer of the registry itself is one: it decides.
        const answered = error.details["status"] !== undefined && error.details["status"] !== 400;
        if (endpoint.mirror || (!answered && hasCode(error, "unavailable", "invalidArgument"))) continue;
        this.#chosen = endpoint;
        return this.#askAt(endpoint, call, send, attempts, error);
      }
    }
    throw this.#unreachable(failures);
  }

  #unreachable(failures: BerthError[]): BerthError {
    const plain = failures.find((failure) => failure.details["errno"] !== undefined) ?? failures.at(-1)!;
    const mirrors = this.#endpoints.filter((endpoint) => endpoint.mirror).map((endpoint) => endpoint.base);
    const tried = mirrors.length > 0 ? ` (mirrors tried first: ${mirrors.join(", ")})` : "";
    if (!hasCode(plain, "unavailable")) return plain;
    return unavailable(`registry ${this.#repository.domain}: ${plain.message}${tried}`, {
      cause: plain,
      hint: plain.hint,
    });
  }

  /** `failure`: how the first attempt has ended already. */
  #askAt<Body extends HttpBody>(
    endpoint: Endpoint,
    call: Call,
    send: Send<Body>,
    attempts: number,
    failure?: BerthError,
  ): Promise<HttpAnswer<Body>> {
    let failed = failure;
    const attempt = async () => {
      const before = failed;
      failed = undefined;
      if (before) throw before;
      return this.#authorized(endpoint, call, send);
    };
    return this.#retrying(attempt, call.signal, attempts);
  }

  async #authorized<Body extends HttpBody>(
    endpoint: Endpoint,
    call: Call,
    send: Send<Body>,
  ): Promise<HttpAnswer<Body>> {
    const absolute = /^https?:\/\//.test(call.path);
    const url = new URL(absolute ? call.path : `${endpoint.base}/v2/${this.#repository.path}/${call.path}`);
    const scope = `repository:${this.#repository.path}:${this.#actions}`;
    const authorizer = this.#authorizer(endpoint);
    const sendWith = async (authorization: string | undefined) =>
      send({
        method: call.method,
        url,
        headers: { ...call.headers, ...(authorization !== undefined && { authorization }) },
        body: await call.body?.(),
        signal: call.signal,
        insecure: endpoint.insecure,
      });
    let answer = await sendWith(authorizer.known(scope));
    if (answer.status === 401) {
      const challenge = parseChallenge(answer.headers["www-authenticate"]);
      answer.body.destroy();
      if (!challenge) throw unauthenticated(`registry ${this.#repository.domain} refused access`);
      answer = await sendWith(
        await authorizer.answer(challenge, scope, this.#repository.domain, endpoint.insecure, call.signal),
      );
    }
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw await this.#refusal(answer, call);
  }

  #authorizer(endpoint: Endpoint): Authorizer {
    let authorizer = this.#authorizers.get(endpoint.base);
    if (!authorizer) {
      // Credentials are for the registry, not for whoever mirrors it.
      authorizer = new Authorizer(this.#environment.transport, endpoint.mirror ? undefined : this.#auth);
      this.#authorizers.set(endpoint.base, authorizer);
    }
    return authorizer;
  }

  async #refusal(answer: HttpAnswer<HttpBody>, call: Call): Promise<BerthError> {
    const said = call.method === "HEAD" ? "" : await saidBy(answer);
    if (call.method === "HEAD") answer.body.destroy();
    const what = this.#name(call.path.replace(/^(manifests|blobs)\//, "").replace(/^https?:.*/, "upload"));
    const details = { status: answer.status };
    const { domain } = this.#repository;
    switch (answer.status) {
      case 401:
        return unauthenticated(`registry ${domain} refused the login for ${what}${said}`, {
          details,
          hint: `docker login ${domain}`,
        });
      case 403:
        return permissionDenied(`registry ${domain} denies access to ${what}${said}`, {
          details,
          hint: `docker login ${domain}`,
        });
      case 404:
        return notFound(`${what} was not found in the registry${said}`, { details });
      case 429:
        return resourceExhausted(`registry ${domain} limits how often one may ask, and the limit is reached${said}`, {
          details: { ...details, retryAfterMs: retryAfterMs(answer) },
          hint: `wait, log in (docker login ${domain}) for a higher limit, or set up a mirror`,
        });
    }
    if (answer.status >= 500)
      return unavailable(`registry ${domain} failed with HTTP ${answer.status}${said}`, { details });
    return invalidArgument(`registry ${domain} refused ${what} with HTTP ${answer.status}${said}`, { details });
  }

  async #retrying<T>(
    attempt: () => Promise<T>,
    signal: AbortSignal | undefined,
    attempts = this.limits.attempts,
  ): Promise<T> {
    const { clock, random } = this.#environment;
    for (let tried = 1; ; tried++) {
      try {
        return await attempt();
      } catch (error) {
        const pauseMs = retryPauseMs(error, tried, random.float());
        if (pauseMs === undefined || tried >= attempts || signal?.aborted) throw error;
        await clock.sleep(pauseMs, signal);
      }
    }
  }

  #name(tagOrDigest: string): string {
    const { domain, path } = this.#repository;
    return `${domain}/${path}${tagOrDigest.startsWith("sha256:") ? "@" : ":"}${tagOrDigest}`;
  }
}

/** Asks a registry's root with the credentials; `unauthenticated` when it doesn't take them. */
export async function checkLogin(
  environment: ClientEnvironment,
  serverAddress: string,
  auth: RegistryAuth,
): Promise<void> {
  const host = serverAddress.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  const domain = host === "" || host === "index.docker.io" ? "docker.io" : host;
  let failure: unknown;
  for (const endpoint of endpointsOf(domain, { ...environment.config, mirrors: {} })) {
    try {
      return await loginAt(environment, endpoint, domain, auth);
    } catch (error) {
      failure = error;
      if (!hasCode(error, "unavailable")) throw error;
    }
  }
  throw failure;
}

async function loginAt(
  environment: ClientEnvironment,
  { base, insecure }: Endpoint,
  domain: string,
  auth: RegistryAuth,
): Promise<void> {
  const url = new URL(`${base}/v2/`);
  const authorizer = new Authorizer(environment.transport, auth);
  const send = (headers: Record<string, string>) =>
    environment.transport.send({ method: "GET", url, headers, insecure });
  let answer = await send({});
  answer.body.resume();
  const challenge = answer.status === 401 ? parseChallenge(answer.headers["www-authenticate"]) : undefined;
  if (challenge) {
    answer = await send({ authorization: await authorizer.answer(challenge, "", domain, insecure) });
    answer.body.resume();
  }
  if (answer.status === 401 || answer.status === 403)
    throw unauthenticated(`registry ${domain}: incorrect username or password`);
  if (answer.status !== 200) throw unavailable(`registry ${domain} answered the login with HTTP ${answer.status}`);
}

/** Undefined: don't try again. */
function retryPauseMs(error: unknown, tried: number, jitter: number): number | undefined {
  if (!(error instanceof BerthError)) return undefined;
  if (error.code === "resourceExhausted") {
    const asked = error.details["retryAfterMs"];
    return typeof asked === "number" && asked <= MAX_BACKOFF_MS ? asked : undefined;
  }
  if (error.code !== "unavailable") return undefined;
  // Nobody listens or the name is unknown: asking again in a second won't change it.
  const errno = error.details["errno"] ?? errnoOf(error.cause);
  if (errno === "ECONNREFUSED" || errno === "ENOTFOUND") return undefined;
  return Math.min(FIRST_BACKOFF_MS * 2 ** (tried - 1), MAX_BACKOFF_MS) * (0.5 + jitter);
}

function retryAfterMs(answer: HttpAnswer<HttpBody>): number | undefined {
  const seconds = Number(answer.headers["retry-after"]);
  return Number.isFinite(seconds) && answer.headers["retry-after"] !== undefined ? seconds * 1000 : undefined;
}

/** The address in `Link: <…>; rel="next"` (RFC 8288), absolute. Another host's is not followed: credentials would go along. */
function nextPage(answer: HttpAnswer): string | undefined {
  const target = /<([^>]+)>\s*;\s*rel="?next"?/.exec(String(answer.headers.link ?? ""))?.[1];
  if (target === undefined || !URL.canParse(target, answer.url)) return undefined;
  const url = new URL(target, answer.url);
  return url.host === answer.url.host ? url.href : undefined;
}

/** The registry's own words, for the end of a sentence. */
async function saidBy(answer: HttpAnswer<HttpBody>): Promise<string> {
  try {
    const body = JSON.parse((await readBody(answer.body, 65_536)).toString("utf8")) as Partial<RegistryErrorBody>;
    const first = body.errors?.[0];
    return first ? `: ${first.message || first.code}` : "";
  } catch (error) {
    return hasCode(error, "canceled") ? messageOf(error) : "";
  }
}

/** What the manifest calls itself, since some servers send a generic content type. */
function mediaTypeOf(header: string | undefined, bytes: Buffer): string {
  const sent = header?.split(";")[0]?.trim() ?? "";
  if (MANIFEST_TYPES.includes(sent) || INDEX_TYPES.includes(sent)) return sent;
  if (sent === MEDIA.dockerSchema1 || sent === "application/vnd.docker.distribution.manifest.v1+json")
    throw invalidArgument("the image has the old manifest format (schema 1), which isn't supported", {
      hint: "push it again with a client of 2017 or later",
    });
  try {
    const parsed = JSON.parse(bytes.toString("utf8")) as { mediaType?: string; manifests?: unknown };
    return parsed.mediaType ?? (parsed.manifests ? MEDIA.ociIndex : MEDIA.ociManifest);
  } catch (error) {
    throw invalidArgument("the registry's answer is no manifest", { cause: error });
  }
}
