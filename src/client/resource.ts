import type { ObjectMeta } from "../api/index.ts";

/** What any API object has. The generated types of kinds are assignable to it. */
export interface AnyObject {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
}

/** An object as the server gives it back: named, identified and versioned. */
export type Stored<T> = T & { metadata: ObjectMeta & { name: string; uid: string; resourceVersion: string } };

/** One resource of the API in one version, with the TypeScript type of its objects. */
export interface Resource<T extends AnyObject = AnyObject> {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Carries `T`; never set. */
  readonly type?: T;
}

export function defineResource<T extends AnyObject>(
  apiVersion: string,
  plural: string,
  kind: string,
  namespaced = true,
): Resource<T> {
  const slash = apiVersion.indexOf("/");
  const group = slash < 0 ? "" : apiVersion.slice(0, slash);
  return { group, version: apiVersion.slice(slash + 1), plural, kind, namespaced };
}

export function apiVersionOf(resource: Resource): string {
  return resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
}

/** `/apis/apps/v1/namespaces/shop/deployments/web/status`; parts left out shorten it. */
export function resourcePath(resource: Resource, namespace?: string, name?: string, subresource?: string): string {
  let path = resource.group === "" ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  if (resource.namespaced && namespace) path += `/namespaces/${encodeURIComponent(namespace)}`;
  path += `/${resource.plural}`;
  if (name !== undefined) path += `/${encodeURIComponent(name)}`;
  return subresource ? `${path}/${subresource}` : path;
}

/** The key of an object in queues and informers: `namespace/name`, or `name` for what lives outside namespaces. */
export function keyOf(object: AnyObject): string {
  const meta = object.metadata!;
  return meta.namespace ? `${meta.namespace}/${meta.name}` : meta.name!;
}

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf("/");
  return slash < 0 ? { namespace: "", name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** A private, changeable copy of a frozen object. */
export function draft<T>(object: T): T {
  return structuredCloneJson(object) as T;
}

/** structuredClone for JSON values, several times faster than the platform's. */
function structuredCloneJson(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(structuredCloneJson);
  const copy: Record<string, unknown> = {};
  for (const key in value) copy[key] = structuredCloneJson((value as Record<string, unknown>)[key]);
  return copy;
}

/** Freezes deeply, and stops at what is frozen already. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const key in value) deepFreeze((value as Record<string, unknown>)[key]);
  return value;
}
