import type { ApiHandler, ApiRequest, ApiResponse, KubeList, Status, UserInfo } from "../api/index.ts";
import { internal } from "../base/index.ts";
import { apiVersionOf, deepFreeze, resourcePath, type AnyObject, type Resource, type Stored } from "./resource.ts";
import { errorFromStatus } from "./status.ts";

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly subresource?: string;
  readonly fieldManager?: string;
  readonly dryRun?: boolean;
}
export interface ReadOptions extends CallOptions {
  readonly resourceVersion?: string;
}
export interface ListOptions extends ReadOptions {
  /** Every namespace when left out. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly limit?: number;
  readonly continue?: string;
  readonly resourceVersionMatch?: "Exact" | "NotOlderThan";
}
export interface WatchListOptions extends ListOptions {
  readonly allowWatchBookmarks?: boolean;
  readonly timeoutSeconds?: number;
}
export interface DeleteOptions extends CallOptions {
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan";
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { uid?: string; resourceVersion?: string };
}
export type PatchKind = "json" | "merge" | "strategic" | "apply";

/** Where an object is. `namespace` is left out for what lives outside namespaces. */
export interface ObjectRef {
  readonly name: string;
  readonly namespace?: string;
}

export interface WatchEvent<T> {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly object: Stored<T>;
}

const PATCH_TYPES: Readonly<Record<PatchKind, string>> = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
};

export interface KubeClientOptions {
  /** Who the in-process caller is. Over TLS the connection's credentials say it. */
  readonly user?: UserInfo;
  readonly userAgent?: string;
}

/** A Kubernetes API, typed. All calls throw `BerthError` for a refusal (see status.ts); answers are frozen. */
export class KubeClient {
  readonly #handler: ApiHandler;
  readonly #user: UserInfo | undefined;
  readonly #userAgent: string;

  constructor(handler: ApiHandler, options: KubeClientOptions = {}) {
    this.#handler = handler;
    this.#user = options.user;
    this.#userAgent = options.userAgent ?? "berth";
  }

  /** The same API as somebody else: each controller acts under its own name, as upstream's do. */
  as(user: UserInfo, userAgent = this.#userAgent): KubeClient {
    return new KubeClient(this.#handler, { user, userAgent });
  }

  of<T extends AnyObject>(resource: Resource<T>): ResourceClient<T> {
    return new ResourceClient(this, resource);
  }

  /** Any request; throws for a status of 400 and above. */
  async send(request: Partial<ApiRequest> & Pick<ApiRequest, "method" | "path">): Promise<ApiResponse> {
    const response = await this.#handler({
      query: new URLSearchParams(),
      ...request,
      headers: {
        accept: "application/json",
        "user-agent": this.#userAgent,
        ...(request.object === undefined ? {} : { "content-type": "application/json" }),
        ...request.headers,
      },
      user: request.user ?? this.#user,
    });
    if (response.status >= 400) throw errorFromStatus(await statusBody(response), response.status);
    return response;
  }
}

/** The verbs of one resource. */
export class ResourceClient<T extends AnyObject> {
  readonly resource: Resource<T>;
  readonly #client: KubeClient;

  constructor(client: KubeClient, resource: Resource<T>) {
    this.#client = client;
    this.resource = resource;
  }

  async get(ref: ObjectRef, options: ReadOptions = {}): Promise<Stored<T>> {
    const response = await this.#client.send({
      method: "GET",
      path: this.#path(ref, options.subresource),
      query: queryOf({ resourceVersion: options.resourceVersion }),
      signal: options.signal,
    });
    return decode(response);
  }

  async list(options: ListOptions = {}): Promise<KubeList<Stored<T>>> {
    const response = await this.#client.send({
      method: "GET",
      path: resourcePath(this.resource, options.namespace),
      query: listQuery(options),
      signal: options.signal,
    });
    return decode(response);
  }

  async create(object: T, options: CallOptions & { namespace?: string } = {}): Promise<Stored<T>> {
    const namespace = options.namespace ?? object.metadata?.namespace;
    const response = await this.#client.send({
      method: "POST",
      path: resourcePath(this.resource, namespace),
      query: writeQuery(options),
      object: this.#typed(object),
      signal: options.signal,
    });
    return decode(response);
  }

  /** What is asked of one object through a subresource of another type: `binding`, `eviction`, `token`. */
  async post<R>(ref: ObjectRef, subresource: string, body: unknown, options: CallOptions = {}): Promise<R> {
    const response = await this.#client.send({
      method: "POST",
      path: this.#path(ref, subresource),
      query: writeQuery(options),
      object: body,
      signal: options.signal,
    });
    return decode(response);
  }

  /** Replaces; refused with `conflict` when the object's resourceVersion is no longer current. */
  async update(object: T, options: CallOptions = {}): Promise<Stored<T>> {
    const { name = "", namespace } = object.metadata ?? {};
    const response = await this.#client.send({
      method: "PUT",
      path: this.#path({ name, namespace }, options.subresource),
      query: writeQuery(options),
      object: this.#typed(object),
      signal: options.signal,
    });
    return decode(response);
  }

  updateStatus(object: T, options: CallOptions = {}): Promise<Stored<T>> {
    return this.update(object, { ...options, subresource: "status" });
  }

  async patch(
    ref: ObjectRef,
    patch: unknown,
    options: CallOptions & { kind?: PatchKind; force?: boolean } = {},
  ): Promise<Stored<T>> {
    const query = writeQuery(options);
    if (options.force) query.set("force", "true");
    const response = await this.#client.send({
      method: "PATCH",
      path: this.#path(ref, options.subresource),
      query,
      headers: { "content-type": PATCH_TYPES[options.kind ?? "merge"] },
      object: patch,
      signal: options.signal,
    });
    return decode(response);
  }

  /** Deletes, or begins to: what has finalizers or a grace period is gone later. */
  async delete(ref: ObjectRef, options: DeleteOptions = {}): Promise<void> {
    await this.#client.send({
      method: "DELETE",
      path: this.#path(ref),
      query: writeQuery(options),
      object: deleteBody(options),
      signal: options.signal,
    });
  }

  async deleteCollection(list: ListOptions, options: DeleteOptions = {}): Promise<void> {
    await this.#client.send({
      method: "DELETE",
      path: resourcePath(this.resource, list.namespace),
      query: listQuery(list),
      object: deleteBody(options),
      signal: options.signal ?? list.signal,
    });
  }

  /** Changes from `resourceVersion` on, until the server ends the stream or the signal aborts. An ERROR event throws. */
  async *watch(options: WatchListOptions): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const query = listQuery(options);
    query.set("watch", "true");
    if (options.allowWatchBookmarks) query.set("allowWatchBookmarks", "true");
    if (options.timeoutSeconds) query.set("timeoutSeconds", String(options.timeoutSeconds));
    const response = await this.#client.send({
      method: "GET",
      path: resourcePath(this.resource, options.namespace),
      query,
      signal: options.signal,
    });
    if (!response.events) throw internal("the server answered a watch with something else");
    for await (const event of response.events) {
      if (event.type === "ERROR") throw errorFromStatus(event.object as Status);
      yield { type: event.type, object: deepFreeze(event.object) as Stored<T> };
    }
  }

  #path(ref: ObjectRef, subresource?: string): string {
    return resourcePath(this.resource, ref.namespace, ref.name, subresource);
  }

  #typed(object: T): T {
    if (object.apiVersion && object.kind) return object;
    return { ...object, apiVersion: apiVersionOf(this.resource), kind: this.resource.kind };
  }
}

function deleteBody(options: DeleteOptions): unknown {
  const { propagationPolicy, gracePeriodSeconds, preconditions } = options;
  return { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy, gracePeriodSeconds, preconditions };
}

function queryOf(values: Readonly<Record<string, string | undefined>>): URLSearchParams {
  const query = new URLSearchParams();
  for (const key in values) if (values[key] !== undefined) query.set(key, values[key]);
  return query;
}

function writeQuery(options: CallOptions): URLSearchParams {
  return queryOf({ fieldManager: options.fieldManager, dryRun: options.dryRun ? "All" : undefined });
}

function listQuery(options: ListOptions): URLSearchParams {
  return queryOf({
    labelSelector: options.labelSelector || undefined,
    fieldSelector: options.fieldSelector || undefined,
    limit: options.limit ? String(options.limit) : undefined,
    continue: options.continue || undefined,
    resourceVersion: options.resourceVersion,
    resourceVersionMatch: options.resourceVersionMatch,
  });
}

function decode<R>(response: ApiResponse): R {
  if (response.object !== undefined) return response.object as R;
  if (!response.body) throw internal("the server's answer has no body");
  return deepFreeze(JSON.parse(Buffer.from(response.body).toString("utf8"))) as R;
}

async function statusBody(response: ApiResponse): Promise<Status> {
  if (response.object !== undefined) return response.object as Status;
  const chunks: Uint8Array[] = response.body ? [response.body] : [];
  if (response.chunks) for await (const chunk of response.chunks) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString("utf8");
  try {
    return JSON.parse(text) as Status;
  } catch {
    return {
      status: "Failure",
      code: response.status,
      message: text.trim() || `the server answered ${response.status}`,
    };
  }
}
