import type { ApiHandler, ApiRequest, ApiResponse, ApiWatchEvent, KubeObject, UserInfo } from "../../api/index.ts";
import {
  PushQueue,
  randomSuffix,
  randomUuid,
  rfc3339,
  seededRandom,
  type Clock,
  type Random,
} from "../../base/index.ts";
import { deepFreeze, draft } from "../resource.ts";
import { matchesLabels } from "../selectors.ts";

/**
 * A small API server for unit tests of clients: versions, conflicts, watches with history, finalizers, generateName, merge and JSON-less
 * patches, status, scale-free. No defaults, no validation, no authorization: for those use the real one.
 */
export interface FakeApiOptions {
  readonly clock: Clock;
  readonly random?: Random;
  /** Called before each request; may throw a response to answer instead. */
  readonly intercept?: (request: ApiRequest) => ApiResponse | undefined | Promise<ApiResponse | undefined>;
}

interface Parsed {
  readonly prefix: string;
  readonly plural: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

interface Watcher {
  readonly collection: string;
  readonly accepts: (object: KubeObject) => boolean;
  readonly queue: PushQueue<ApiWatchEvent>;
}

export class FakeApi {
  readonly #options: FakeApiOptions;
  readonly #random: Random;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #history: { version: number; collection: string; event: ApiWatchEvent }[] = [];
  readonly #watchers = new Set<Watcher>();
  #version = 1;
  #compacted = 0;
  /** Every write so far, as `POST /api/v1/…`. */
  readonly writes: string[] = [];

  constructor(options: FakeApiOptions) {
    this.#options = options;
    this.#random = options.random ?? seededRandom(1);
  }

  readonly handler: ApiHandler = async (request) => {
    // An answer never comes in the caller's own turn.
    await Promise.resolve();
    const instead = await this.#options.intercept?.(request);
    if (instead) return instead;
    const at = parsePath(request.path);
    if (!at) return failure(404, "NotFound", `no such path ${request.path}`);
    if (request.method !== "GET") this.writes.push(`${request.method} ${request.path}`);
    if (request.method === "GET") return at.name === undefined ? this.#listOrWatch(request, at) : this.#get(at);
    if (request.method === "POST") return this.#create(request, at);
    if (request.method === "PUT") return this.#update(at, draft(bodyOf(request)));
    if (request.method === "PATCH") return this.#patch(request, at);
    if (at.name === undefined) return this.#deleteAll(request, at);
    return this.#delete(at, request);
  };

  /** Ends every watch, as a lost connection does. */
  dropWatches(): void {
    for (const watcher of this.#watchers) watcher.queue.end();
  }
  /** Forgets history, so that watches from old versions are refused. */
  compact(): void {
    this.#compacted = this.#version;
    this.#history.length = 0;
  }

  #collection(at: Parsed): Map<string, KubeObject> {
    const id = `${at.prefix}/${at.plural}`;
    let found = this.#objects.get(id);
    if (!found) this.#objects.set(id, (found = new Map()));
    return found;
  }

  #get(at: Parsed): ApiResponse {
    const found = this.#collection(at).get(objectKey(at));
    return found ? answer(200, found) : this.#missing(at);
  }

  #missing(at: Parsed): ApiResponse {
    return failure(404, "NotFound", `${at.plural} "${at.name}" not found`);
  }

  #listOrWatch(request: ApiRequest, at: Parsed): ApiResponse {
    const accepts = acceptor(request, at);
    if (request.query.get("watch") === "true") return this.#watch(request, at, accepts);
    const items = [...this.#collection(at).values()].filter(accepts);
    return answer(200, { kind: "List", apiVersion: "v1", metadata: { resourceVersion: String(this.#version) }, items });
  }

  #watch(request: ApiRequest, at: Parsed, accepts: (object: KubeObject) => boolean): ApiResponse {
    const from = Number(request.query.get("resourceVersion") ?? this.#version);
    if (from < this.#compacted) return failure(410, "Expired", `too old resource version: ${from}`);
    const queue = new PushQueue<ApiWatchEvent>(1_000_000);
    const watcher: Watcher = { collection: `${at.prefix}/${at.plural}`, accepts, queue };
    for (const { version, collection, event } of this.#history) {
      if (version > from && collection === watcher.collection && accepts(event.object as KubeObject)) queue.push(event);
    }
    this.#watchers.add(watcher);
    const stop = () => {
      this.#watchers.delete(watcher);
      queue.end();
    };
    request.signal?.addEventListener("abort", stop, { once: true });
    return { status: 200, headers: {}, events: queue };
  }

  #create(request: ApiRequest, at: Parsed): ApiResponse {
    const object = draft(bodyOf(request));
    if (at.subresource === "binding") return this.#bind(at, object);
    if (at.subresource === "eviction") return this.#delete(at, request);
    if (at.subresource) return failure(404, "NotFound", `no subresource ${at.subresource}`);
    const meta = (object.metadata ??= {});
    if (!meta.name && meta.generateName) meta.name = meta.generateName + randomSuffix(this.#random, 5);
    if (at.namespace) meta.namespace = at.namespace;
    const key = objectKey({ ...at, name: meta.name });
    if (this.#collection(at).has(key))
      return failure(409, "AlreadyExists", `${at.plural} "${meta.name}" already exists`);
    meta.uid = randomUuid(this.#random);
    meta.generation = 1;
    meta.creationTimestamp = rfc3339(this.#options.clock.nowMs());
    return answer(201, this.#store(at, key, object, "ADDED"));
  }

  #bind(at: Parsed, binding: KubeObject): ApiResponse {
    const pod = this.#collection(at).get(objectKey(at));
    if (!pod) return this.#missing(at);
    const next = draft(pod) as KubeObject & { spec: { nodeName?: string } };
    if (next.spec.nodeName)
      return failure(409, "Conflict", `pod ${at.name} is already assigned to node "${next.spec.nodeName}"`);
    next.spec.nodeName = (binding["target"] as { name: string }).name;
    this.#store(at, objectKey(at), next, "MODIFIED");
    return answer(201, { kind: "Status", apiVersion: "v1", status: "Success" });
  }

  #update(at: Parsed, object: KubeObject): ApiResponse {
    const key = objectKey(at);
    const old = this.#collection(at).get(key);
    if (!old) return this.#missing(at);
    const { resourceVersion, uid } = object.metadata;
    if (resourceVersion && resourceVersion !== old.metadata.resourceVersion) {
      return failure(
        409,
        "Conflict",
        `Operation cannot be fulfilled on ${at.plural} "${at.name}": the object has been modified`,
      );
    }
    if (uid && uid !== old.metadata.uid) return failure(409, "Conflict", "the UID in the precondition does not match");
    const next: KubeObject =
      at.subresource === "status"
        ? { ...draft(old), status: object["status"] }
        : { ...object, ...(old["status"] === undefined ? {} : { status: draft(old["status"]) }) };
    for (const field of ["uid", "creationTimestamp", "deletionTimestamp", "generation"] as const) {
      (next.metadata as Record<string, unknown>)[field] = old.metadata[field];
    }
    if (JSON.stringify(next["spec"]) !== JSON.stringify(old["spec"]))
      next.metadata.generation = (old.metadata.generation ?? 0) + 1;
    if (next.metadata.deletionTimestamp && (next.metadata.finalizers ?? []).length === 0)
      return this.#remove(at, key, next);
    next.metadata.resourceVersion = old.metadata.resourceVersion;
    if (JSON.stringify(next) === JSON.stringify(old)) return answer(200, old);
    return answer(200, this.#store(at, key, next, "MODIFIED"));
  }

  #patch(request: ApiRequest, at: Parsed): ApiResponse {
    const old = this.#collection(at).get(objectKey(at));
    if (!old) return this.#missing(at);
    if (request.headers["content-type"]?.includes("json-patch"))
      return failure(415, "BadRequest", "the fake knows merge patches only");
    const patch = bodyOf(request);
    const next = mergePatch(draft(old), patch) as KubeObject;
    if (patch.metadata?.resourceVersion === undefined) next.metadata.resourceVersion = old.metadata.resourceVersion;
    return this.#update(at, next);
  }

  #deleteAll(request: ApiRequest, at: Parsed): ApiResponse {
    const accepts = acceptor(request, at);
    for (const object of [...this.#collection(at).values()].filter(accepts)) {
      this.#delete({ ...at, namespace: object.metadata.namespace, name: object.metadata.name }, request);
    }
    return answer(200, { kind: "Status", apiVersion: "v1", status: "Success" });
  }

  #delete(at: Parsed, request: ApiRequest): ApiResponse {
    const key = objectKey(at);
    const old = this.#collection(at).get(key);
    if (!old) return this.#missing(at);
    const options = (request.object ?? {}) as {
      propagationPolicy?: string;
      gracePeriodSeconds?: number;
      preconditions?: { uid?: string; resourceVersion?: string };
    };
    const { uid, resourceVersion } = options.preconditions ?? {};
    if ((uid && uid !== old.metadata.uid) || (resourceVersion && resourceVersion !== old.metadata.resourceVersion)) {
      return failure(409, "Conflict", "Precondition failed");
    }
    const next = draft(old);
    const finalizers = new Set(next.metadata.finalizers ?? []);
    if (options.propagationPolicy === "Foreground") finalizers.add("foregroundDeletion");
    if (options.propagationPolicy === "Orphan") finalizers.add("orphan");
    const graceful =
      at.plural === "pods" && !!(next["spec"] as { nodeName?: string })?.nodeName && options.gracePeriodSeconds !== 0;
    if (finalizers.size === 0 && !graceful) return this.#remove(at, key, next);
    if (next.metadata.deletionTimestamp && [...finalizers].join() === (next.metadata.finalizers ?? []).join())
      return answer(200, old);
    next.metadata.finalizers = [...finalizers];
    next.metadata.deletionTimestamp = rfc3339(this.#options.clock.nowMs());
    if (graceful) next.metadata.deletionGracePeriodSeconds = options.gracePeriodSeconds ?? 30;
    return answer(200, this.#store(at, key, next, "MODIFIED"));
  }

  #remove(at: Parsed, key: string, object: KubeObject): ApiResponse {
    this.#collection(at).delete(key);
    return answer(200, this.#publish(at, object, "DELETED"));
  }

  #store(at: Parsed, key: string, object: KubeObject, type: "ADDED" | "MODIFIED"): KubeObject {
    const stored = this.#publish(at, object, type);
    this.#collection(at).set(key, stored);
    return stored;
  }

  #publish(at: Parsed, object: KubeObject, type: "ADDED" | "MODIFIED" | "DELETED"): KubeObject {
    const version = ++this.#version;
    object.metadata.resourceVersion = String(version);
    deepFreeze(object);
    const collection = `${at.prefix}/${at.plural}`;
    const event: ApiWatchEvent = { type, object };
    this.#history.push({ version, collection, event });
    for (const watcher of this.#watchers) {
      if (watcher.collection === collection && watcher.accepts(object)) watcher.queue.push(event);
    }
    return object;
  }
}

export const testUser: UserInfo = { name: "system:admin", groups: ["system:masters"] };

function parsePath(path: string): Parsed | undefined {
  const match =
    /^(\/api\/v1|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/([^/]+)(?=\/[^/]+))?\/([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(
      path,
    );
  if (!match) return undefined;
  const [, prefix = "", namespace, plural = "", name, subresource] = match;
  if (namespace !== undefined && (plural === "status" || plural === "finalize")) {
    return { prefix, plural: "namespaces", namespace: undefined, name: namespace, subresource: plural };
  }
  return { prefix, plural, namespace, name: name === undefined ? undefined : decodeURIComponent(name), subresource };
}

function objectKey(at: Pick<Parsed, "namespace" | "name">): string {
  return `${at.namespace ?? ""}/${at.name}`;
}

function acceptor(request: ApiRequest, at: Parsed): (object: KubeObject) => boolean {
  const pairs = (request.query.get("labelSelector") ?? "").split(",").filter(Boolean);
  const labels = Object.fromEntries(pairs.map((pair) => pair.split("=") as [string, string]));
  const fields = (request.query.get("fieldSelector") ?? "").split(",").filter(Boolean);
  return (object) =>
    (at.namespace === undefined || object.metadata.namespace === at.namespace) &&
    matchesLabels(labels, object.metadata.labels) &&
    fields.every((field) => {
      const [path = "", value] = field.split(/==?/);
      const found = path
        .split(".")
        .reduce<unknown>((node, key) => (node as Record<string, unknown> | undefined)?.[key], object);
      return (found ?? "") === value;
    });
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> =
    typeof target === "object" && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else if (value !== undefined) result[key] = mergePatch(result[key], value);
  }
  return result;
}

function bodyOf(request: ApiRequest): KubeObject {
  if (request.object !== undefined) return request.object as KubeObject;
  return JSON.parse(Buffer.from(request.body ?? []).toString("utf8")) as KubeObject;
}

function answer(status: number, object: unknown): ApiResponse {
  return { status, headers: { "content-type": "application/json" }, object };
}

export function failure(code: number, reason: string, message: string): ApiResponse {
  return answer(code, { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message });
}
