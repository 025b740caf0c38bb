import { internal, type Clock, type Logger, type Random } from "../../base/index.ts";
import type { KubeObject } from "../../api/index.ts";
import type { Store } from "../../storage/index.ts";
import type { Feed } from "../watch/feed.ts";
import type { Entry } from "../watch/entry.ts";
import type { FieldError, Kind, StrategyContext } from "./kind.ts";
import type { Admission, AdmissionOperation, AdmissionRequest, Call } from "./pipeline.ts";
import { normalize } from "./normalize.ts";
import type { RequestMetrics } from "./request-metrics.ts";
import type { Registry } from "./registry.ts";
import { apiVersionOf } from "./registry.ts";
import { badRequestError, invalidError } from "./status.ts";

/** What every verb works with. */
export interface Core {
  readonly store: Store;
  readonly feed: Feed;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly admission: readonly Admission[];
  readonly metrics: RequestMetrics | undefined;
}

/** One request on one kind, its options read and checked. */
export interface Operation {
  readonly call: Call;
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  readonly subresource: string;
  readonly dryRun: boolean;
  readonly fieldManager: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/** An object as it is answered: encoded, and parsed on demand. */
export interface Presented {
  readonly object: KubeObject;
  readonly json: Uint8Array;
}

const MAX_FIELD_MANAGER = 128;

export function operationOf(call: Call, kind: Kind, optionsKind: string): Operation {
  const { info, request } = call;
  const { query } = request;
  const dryRuns = query.getAll("dryRun");
  assertDryRun(dryRuns, optionsKind);
  const fieldManager = query.get("fieldManager") ?? "";
  assertFieldManager(fieldManager, optionsKind);
  const options: Record<string, unknown> = { kind: optionsKind, apiVersion: "meta.k8s.io/v1" };
  if (dryRuns.length > 0) options["dryRun"] = dryRuns;
  for (const name of ["fieldManager", "fieldValidation"]) if (query.has(name)) options[name] = query.get(name);
  return {
    call,
    kind,
    namespace: info.namespace,
    name: info.name,
    subresource: info.subresource,
    dryRun: dryRuns.length > 0,
    fieldManager: fieldManager || managerFromAgent(request.headers["user-agent"]),
    options,
  };
}

export function assertDryRun(values: readonly string[], optionsKind: string): void {
  if (values.every((value) => value === "All")) return;
  const detail = `Unsupported value: ${JSON.stringify(values[0])}: supported values: "All"`;
  throw invalidError({ group: "meta.k8s.io", kind: optionsKind }, "", [
    { type: "FieldValueNotSupported", field: "dryRun", detail },
  ]);
}

function assertFieldManager(name: string, optionsKind: string): void {
  const fail = (type: FieldError["type"], detail: string) => {
    throw invalidError({ group: "meta.k8s.io", kind: optionsKind }, "", [{ type, field: "fieldManager", detail }]);
  };
  if (name.length > MAX_FIELD_MANAGER)
    fail("FieldValueTooLong", `Too long: may not be more than ${MAX_FIELD_MANAGER} bytes`);
  if (/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/u.test(name))
    fail("FieldValueInvalid", `Invalid value: ${JSON.stringify(name)}: should only contain printable characters`);
}

function managerFromAgent(agent = "unknown"): string {
  return agent.split("/", 1)[0]!.slice(0, MAX_FIELD_MANAGER) || "unknown";
}

export function strategyContext(core: Core, op: Operation): StrategyContext {
  const { call, subresource, dryRun } = op;
  return { user: call.user, nowMs: core.clock.nowMs(), subresource, dryRun };
}

export function cacheOf(core: Core, kind: Kind) {
  return core.feed.cache(storedAsKey(kind));
}

const storedKeys = new WeakMap<Kind, string>();

/** `{group}/{plural}` that holds this kind's objects; `core` stands for the core group. */
export function storedAsKey(kind: Kind): string {
  let key = storedKeys.get(kind);
  if (key === undefined) {
    const own = kind.storedAs ?? `${kind.group}/${kind.plural}`;
    key = own.startsWith("/") ? `core${own}` : own.includes("/") ? own : `core/${own}`;
    storedKeys.set(kind, key);
  }
  return key;
}

export function storeKey(kind: Kind, namespace: string, name: string): string {
  return `/registry/${storedAsKey(kind)}/${kind.namespaced ? `${namespace}/` : ""}${name}`;
}

const converted = new WeakMap<Entry, Map<Kind, Presented>>();

/** An entry in a kind's own version. Kinds without conversion are served as stored. */
export function present(kind: Kind, entry: Entry): Presented | Promise<Presented> {
  return kind.conversion ? presentAll(kind, [entry]).then((all) => all[0]!) : entry;
}

export async function presentAll(kind: Kind, entries: readonly Entry[]): Promise<readonly Presented[]> {
  const { conversion } = kind;
  if (!conversion) return entries;
  const missing = entries.filter((entry) => !converted.get(entry)?.has(kind));
  if (missing.length > 0) {
    const objects = await conversion.fromStorage(missing.map((entry) => entry.object));
    for (const [at, entry] of missing.entries()) {
      const object = objects[at]!;
      const known = converted.get(entry) ?? new Map<Kind, Presented>();
      known.set(kind, { object, json: Buffer.from(JSON.stringify(object)) });
      converted.set(entry, known);
    }
  }
  return entries.map((entry) => converted.get(entry)!.get(kind)!);
}

/** A copy that may be changed, of a JSON value that may not. Fields that are undefined are left out, as JSON does. */
export function thaw<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(thaw) as T;
  const copy: Record<string, unknown> = {};
  for (const key in value) if (value[key] !== undefined && key !== "__proto__") copy[key] = thaw(value[key]);
  return copy as T;
}

/** Equality of JSON values; a field that is undefined equals one that is absent. */
export function equalJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, at) => equalJson(item, b[at]));
  }
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  for (const key in left) if (!equalJson(left[key], right[key])) return false;
  for (const key in right) if (left[key] === undefined && right[key] !== undefined) return false;
  return true;
}

export interface AdmissionInput {
  readonly operation: AdmissionOperation;
  readonly object: KubeObject | undefined;
  readonly oldObject: KubeObject | undefined;
  readonly name?: string;
}

export function admissionRequest(op: Operation, input: AdmissionInput): AdmissionRequest {
  const { kind, call, namespace, subresource, dryRun, options } = op;
  return {
    operation: input.operation,
    kind: { group: kind.group, version: kind.version, kind: kind.kind },
    resource: { group: kind.group, version: kind.version, resource: kind.plural },
    subresource,
    name: input.name ?? op.name,
    namespace,
    user: call.user,
    dryRun,
    options,
    object: input.object,
    oldObject: input.oldObject,
    warn: call.warn,
    annotate: call.annotate,
  };
}

/** What a plugin puts in the object's place (a webhook its patch) is decoded and filled as a body is, where its kind is known. */
export async function mutate(core: Core, request: AdmissionRequest, kind?: Kind): Promise<void> {
  for (const plugin of core.admission) {
    if (!plugin.mutate) continue;
    const { object: before } = request;
    await plugin.mutate(request);
    const { object } = request;
    if (!kind || !object || object === before) continue;
    const { problem } = normalize(object, kind.schema, kind.custom === true);
    if (problem !== undefined) throw internal(`admission made no ${kind.kind} of it: ${problem}`);
    kind.strategy.fillDefaults?.(object);
  }
}

export async function validateAdmission(core: Core, request: AdmissionRequest): Promise<void> {
  for (const plugin of core.admission) if (plugin.validate) await plugin.validate(request);
}

/** The object's namespace must be the request's. */
export function assertNamespace(op: Operation, object: KubeObject): void {
  const { kind, namespace } = op;
  if (!kind.namespaced) {
    delete object.metadata.namespace;
    return;
  }
  object.metadata.namespace ||= namespace;
  if (object.metadata.namespace !== namespace)
    throw badRequestError("the namespace of the provided object does not match the namespace sent on the request");
}

export function stampVersion(object: KubeObject, kind: Kind): void {
  object.apiVersion = apiVersionOf(kind);
  object.kind = kind.kind;
}
