import type { ApiRequest } from "../../api/index.ts";
import type { RequestInfo } from "./pipeline.ts";

const VERBS: Record<string, string> = { POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" };

/** Subresources of a namespace, which `/api/v1/namespaces/NAME/X` could be taken for otherwise. */
const NAMESPACE_SUBRESOURCES = new Set(["status", "finalize"]);

/**
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris and upstream's RequestInfoFactory. `/api/v1/...` and
 * `/apis/GROUP/VERSION/...` with at least a resource; all else is not a resource.
 */
export function requestInfo(request: ApiRequest): RequestInfo {
  const { path, method } = request;
  const parts = path.split("/").filter((part) => part !== "");
  const core = parts[0] === "api";
  const at = core ? 2 : 3;
  if ((!core && parts[0] !== "apis") || parts.length <= at) return notResource(method, path);
  const group = core ? "" : parts[1]!;
  const version = parts[at - 1]!;
  let rest = parts.slice(at).map(decode);
  let legacyWatch = false;
  if (rest[0] === "watch" && rest.length > 1) {
    legacyWatch = true;
    rest = rest.slice(1);
  }
  let namespace = "";
  if (rest[0] === "namespaces" && rest.length > 1) {
    namespace = rest[1]!;
    if (rest.length > 2 && !NAMESPACE_SUBRESOURCES.has(rest[2]!)) rest = rest.slice(2);
  }
  const [resource = "", name = "", subresource = "", ...tail] = rest;
  const verb = verbOf(request, name, legacyWatch);
  return { isResource: true, verb, path, group, version, namespace, resource, subresource, name, tail: tail.join("/") };
}

function verbOf({ method, query }: ApiRequest, name: string, legacyWatch: boolean): string {
  if (method === "GET" || method === "HEAD") {
    const watching = legacyWatch || isTrue(query.get("watch"));
    if (watching && (name === "" || legacyWatch)) return "watch";
    return name === "" ? "list" : "get";
  }
  if (method === "DELETE" && name === "") return "deletecollection";
  return VERBS[method] ?? method.toLowerCase();
}

export function isTrue(value: string | null): boolean {
  return value === "" || value === "true" || value === "1" || value === "True" || value === "t";
}

function notResource(method: string, path: string): RequestInfo {
  const blank = { group: "", version: "", namespace: "", resource: "", subresource: "", name: "", tail: "" };
  return { isResource: false, verb: method.toLowerCase(), path, ...blank };
}

function decode(part: string): string {
  if (!part.includes("%")) return part;
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
