import { BerthError, randomUuid } from "../../base/index.ts";
import type { ApiRequest, ApiResponse, KubeObject, UserInfo } from "../../api/index.ts";
import { startCompactor } from "../watch/compactor.ts";
import { Feed } from "../watch/feed.ts";
import { attributesOf, authenticate, authorize, impersonate } from "./authorize.ts";
import { assertKind, decodeBody, withoutNulls } from "./decode.ts";
import { discovery } from "./discovery.ts";
import { Health } from "./health.ts";
import { listen } from "./http/listener.ts";
import { mutate, validateAdmission, type Core } from "./operation.ts";
import type { ApiServer, ApiServerOptions, Listener } from "./options.ts";
import { openApi } from "../openapi/index.ts";
import type {
  AdmissionOperation,
  AdmissionRequest,
  AuditRecord,
  Call,
  Endpoint,
  EndpointTools,
  RequestInfo,
} from "./pipeline.ts";
import { Registry } from "./registry.ts";
import { RequestMetrics } from "./request-metrics.ts";
import { requestInfo } from "./request-info.ts";
import { handleResource } from "./resource-handler.ts";
import { DEFAULT_COLUMNS } from "./table.ts";
import { asPreferred, computedResponse, errorResponse, jsonResponse } from "./respond.ts";
import { MeasuredStore, measureCaches } from "./store-metrics.ts";
import { methodNotAllowedError, unknownPathError } from "./status.ts";
import { rewriteObject } from "./update.ts";
import { versionInfo } from "./version.ts";

const LOOPBACK: UserInfo = { name: "system:apiserver", groups: ["system:masters", "system:authenticated"] };

/** Opens the server over a store. It serves as soon as this resolves; nothing listens until `listen`. */
export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const registry = new Registry();
  registry.add(options.kinds);
  registry.addEndpoints(options.endpoints ?? []);
  const { clock, random, log, admission = [], metrics: figures } = options;
  const store = figures ? new MeasuredStore(options.store, figures, clock) : options.store;
  const feed = new Feed(store, clock, log);
  await feed.start();
  if (figures) measureCaches(figures, feed);
  const metrics = figures && new RequestMetrics(figures, clock, registry);
  const core: Core = { store, feed, registry, clock, random, log, admission, metrics };
  return new Server(core, options);
}

class Server implements ApiServer {
  readonly #core: Core;
  readonly #options: ApiServerOptions;
  readonly #health: Health;
  readonly #listeners = new Set<Listener>();
  readonly #tools: EndpointTools;
  readonly #stopCompactor: () => void;

  constructor(core: Core, options: ApiServerOptions) {
    this.#core = core;
    this.#options = options;
    this.#health = new Health(options.metrics);
    this.#stopCompactor = startCompactor(core.store, core.clock, core.log);
    this.#health.add("etcd", async () => void (await core.store.revision()));
    this.#tools = {
      loopback: (request) => this.handler({ ...request, user: request.user ?? LOOPBACK }),
      decode: async (call) => {
        const { value } = await decodeBody(call.request, "object");
        return assertKind(withoutNulls(value), this.#endpoint(call.info)?.kind ?? { group: "", version: "", kind: "" });
      },
      rewrite: (call, at, make) => this.#rewrite(call, at, make),
      admit: (call, operation, object) => this.#admit(call, operation, object),
    };
  }

  get kinds() {
    return this.#core.registry;
  }

  addHealthCheck(name: string, check: () => Promise<string | undefined> | string | undefined): void {
    this.#health.add(name, check);
  }

  async listen(options = {}): Promise<Listener> {
    const listener = await listen(this.handler, options, this.#core.log);
    this.#listeners.add(listener);
    return listener;
  }

  async close(): Promise<void> {
    this.#stopCompactor();
    const closing = [...this.#listeners].map((listener) => listener.close());
    await this.#core.feed.close();
    await Promise.all(closing);
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly handler = async (request: ApiRequest): Promise<ApiResponse> => {
    const info = requestInfo(request);
    const warnings: string[] = [];
    const annotations: Record<string, string> = {};
    const headers: Record<string, string> = {};
    const isLongRunning = this.#isLongRunning(info);
    const counted = this.#core.metrics?.begin(request, info, isLongRunning);
    let response: ApiResponse;
    try {
      response = await this.#admitted(request, info, { warnings, annotations, headers, isLongRunning });
    } catch (error) {
      this.#report(error, info);
      response = errorResponse(error);
    }
    response = asPreferred(response, request.headers["accept"]);
    if (warnings.length > 0) headers["warning"] = warningHeader(warnings);
    Object.assign(response.headers, headers);
    return counted?.(response) ?? response;
  };

  /** Who, and whether there is a seat for them. */
  async #admitted(request: ApiRequest, info: RequestInfo, marks: Marks) {
    const { warnings, annotations, headers, isLongRunning } = marks;
    const { authenticators = [], authorizers = [], fairness, audit } = this.#options;
    const user = request.user ?? (await authenticate(authenticators, request));
    const seat = fairness && !isLongRunning ? await fairness.enter(info, user, request.signal, headers) : undefined;
    const receivedAtMs = audit ? this.#core.clock.nowMs() : 0;
    const auditId = audit ? randomUuid(this.#core.random) : "";
    const record = (stage: AuditRecord["stage"], status: number, impersonated?: UserInfo, responseObject?: unknown) =>
      audit?.record({
        auditId,
        stage,
        request,
        info,
        user,
        impersonated,
        status,
        annotations,
        receivedAtMs,
        responseObject,
        atMs: this.#core.clock.nowMs(),
      });
    let acting: UserInfo | undefined;
    try {
      record("RequestReceived", 0);
      acting = await impersonate(authorizers, request, user);
      const who = acting ?? user;
      if (!isLoopback(who)) await authorize(authorizers, attributesOf(info, who, request.query));
      const response = await this.#route(this.#call(request, info, who, warnings, annotations));
      record("ResponseComplete", response.status, acting, audit && response.object);
      return response;
    } catch (error) {
      const response = errorResponse(error);
      record("ResponseComplete", response.status, acting, response.object);
      throw error;
    } finally {
      seat?.leave();
    }
  }

  #call(
    request: ApiRequest,
    info: RequestInfo,
    user: UserInfo,
    warnings: string[],
    annotations: Record<string, string>,
  ): Call {
    return {
      request,
      info,
      user,
      warn: (message) => {
        if (!warnings.includes(message)) warnings.push(message);
      },
      annotate: (key, value) => {
        annotations[key] = value;
      },
    };
  }

  async #route(call: Call): Promise<ApiResponse> {
    const { info } = call;
    if (info.isResource) {
      const endpoint = this.#endpoint(info);
      if (endpoint) return this.#serveEndpoint(endpoint, call);
      const kind = this.#core.registry.find(info.group, info.version, info.resource);
      if (kind) return handleResource(this.#core, call, kind);
    } else {
      const found = await this.#meta(call);
      if (found) return found;
    }
    for (const fallback of this.#options.fallbacks ?? []) {
      const response = await fallback(call);
      if (response) return response;
    }
    throw unknownPathError();
  }

  async #meta({ request }: Call): Promise<ApiResponse | undefined> {
    const { registry } = this.#core;
    if (request.path === "/version" || request.path === "/version/")
      return jsonResponse(versionInfo(this.#options.gitVersion));
    return (
      discovery(registry, request) ??
      (await this.#health.answer(request)) ??
      (await openApi(registry, request, this.#options.gitVersion))
    );
  }

  #endpoint({ group, version, resource, subresource }: RequestInfo): Endpoint | undefined {
    return this.#core.registry.endpoint(group, version, resource, subresource);
  }

  async #serveEndpoint(endpoint: Endpoint, call: Call): Promise<ApiResponse> {
    const { verb } = call.info;
    const isPassedOn = verb === "options" && endpoint.longRunning && endpoint.verbs.includes("update");
    if (!endpoint.verbs.includes(verb) && !isPassedOn) throw methodNotAllowedError(verb);
    const answer = await endpoint.handle(call, this.#tools);
    const isResponse = "headers" in answer && typeof answer["status"] === "number";
    if (isResponse) return answer as unknown as ApiResponse;
    if (verb === "create") return computedResponse(this.#core, call, answer as KubeObject, endpoint.columns, 201);
    return computedResponse(this.#core, call, answer as KubeObject, endpoint.columns ?? DEFAULT_COLUMNS);
  }

  #rewrite({ info, request }: Call, at: { resource: string; name: string }, make: (old: KubeObject) => KubeObject) {
    const kind = this.#core.registry.find(info.group, info.version, at.resource);
    if (!kind) throw unknownPathError();
    const { namespace } = info;
    return rewriteObject(this.#core, kind, { namespace, name: at.name, dryRun: request.query.has("dryRun") }, make);
  }

  async #admit(
    call: Call,
    operation: AdmissionOperation,
    object: KubeObject | undefined,
  ): Promise<KubeObject | undefined> {
    const { info, user, request } = call;
    const endpoint = this.#endpoint(info)!;
    const admission: AdmissionRequest = {
      operation,
      kind: endpoint.kind,
      resource: { group: info.group, version: info.version, resource: info.resource },
      subresource: info.subresource,
      name: info.name,
      namespace: info.namespace,
      user,
      dryRun: request.query.has("dryRun"),
      options: {},
      object,
      oldObject: undefined,
      warn: call.warn,
      annotate: call.annotate,
    };
    await mutate(this.#core, admission);
    await validateAdmission(this.#core, admission);
    return admission.object;
  }

  #isLongRunning(info: RequestInfo): boolean {
    return info.verb === "watch" || (info.subresource !== "" && this.#endpoint(info)?.longRunning === true);
  }

  #report(error: unknown, info: RequestInfo): void {
    if (error instanceof BerthError && error.code !== "internal") return;
    const { verb, path } = info;
    this.#core.log.error("a request failed", { verb, path, error: error as Error, stack: (error as Error).stack });
  }
}

/** What is known of a request, and what it leaves beside its answer. */
interface Marks {
  readonly warnings: string[];
  readonly annotations: Record<string, string>;
  readonly headers: Record<string, string>;
  readonly isLongRunning: boolean;
}

const isLoopback = (user: UserInfo) => user === LOOPBACK;

/** RFC 7234's form, with the code and agent that clients of Kubernetes look for. */
function warningHeader(warnings: readonly string[]): string {
  return warnings.map((text) => `299 - "${text.replace(/[\\"]/g, "\\$&").replace(/[^\x20-\x7e]/g, "?")}"`).join(", ");
}
