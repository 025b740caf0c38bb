import type { Kind } from "../machinery/kind.ts";
import { acceptedPatches } from "../machinery/patch.ts";
import type { Endpoint } from "../machinery/pipeline.ts";
import { definitionName, type Dialect } from "./schemas.ts";

/** The operations of a kind: paths, verbs and the parameters that clients look for. */
type Json = Record<string, unknown>;

const QUERY: Record<string, readonly string[]> = {
  list: [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
  ],
  get: [],
  create: ["dryRun", "fieldManager", "fieldValidation"],
  update: ["dryRun", "fieldManager", "fieldValidation"],
  patch: ["dryRun", "fieldManager", "fieldValidation", "force"],
  delete: ["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"],
  deletecollection: ["dryRun", "fieldSelector", "labelSelector", "limit", "propagationPolicy"],
};
const TYPES: Record<string, string> = {
  allowWatchBookmarks: "boolean",
  force: "boolean",
  gracePeriodSeconds: "integer",
  limit: "integer",
  orphanDependents: "boolean",
  sendInitialEvents: "boolean",
  timeoutSeconds: "integer",
  watch: "boolean",
};
const METHODS: Record<string, string> = {
  list: "get",
  get: "get",
  create: "post",
  update: "put",
  patch: "patch",
  delete: "delete",
  deletecollection: "delete",
};
const ACTIONS: Record<string, string> = { create: "post", update: "put" };

const rootOf = ({ group, version }: { group: string; version: string }) =>
  group === "" ? `/api/${version}` : `/apis/${group}/${version}`;

export function pathsOf(kind: Kind, dialect: Dialect): Record<string, Json> {
  const collection = rootOf(kind) + (kind.namespaced ? "/namespaces/{namespace}" : "") + `/${kind.plural}`;
  const scope = kind.namespaced ? ["namespace"] : [];
  const paths: Record<string, Json> = {};
  const add = (path: string, verbs: readonly string[], names: readonly string[], suffix = "") => {
    const served = verbs.filter((verb) => suffix !== "" || kind.verbs.includes(verb));
    if (served.length === 0) return;
    const operations = served.map((verb) => [METHODS[verb], operation(kind, verb, suffix, dialect)]);
    paths[path] = {
      ...Object.fromEntries(operations),
      parameters: names.map((name) => parameter(name, "path", dialect)),
    };
  };
  if (kind.namespaced) add(`${rootOf(kind)}/${kind.plural}`, ["list"], []);
  add(collection, ["list", "create", "deletecollection"], scope);
  add(`${collection}/{name}`, ["get", "update", "patch", "delete"], ["name", ...scope]);
  const { strategy } = kind;
  const subresources = [...(strategy.hasStatus ? ["status"] : []), ...(strategy.updateSubresources ?? [])];
  for (const subresource of subresources)
    add(`${collection}/{name}/${subresource}`, ["get", "update", "patch"], ["name", ...scope], subresource);
  return paths;
}

export function endpointPath(endpoint: Endpoint): [string, Json] {
  const { namespaced, resource, subresource, kind, verbs } = endpoint;
  const path = rootOf(endpoint) + (namespaced ? "/namespaces/{namespace}" : "") + `/${resource}`;
  const operations = verbs.map((verb) => [
    METHODS[verb] ?? "get",
    {
      operationId: verb + kind.kind + resource,
      responses: { 200: { description: "OK" } },
      "x-kubernetes-group-version-kind": kind,
    },
  ]);
  return [subresource === "" ? path : `${path}/{name}/${subresource}`, Object.fromEntries(operations) as Json];
}

function parameter(name: string, place: "path" | "query", { version }: Dialect): Json {
  const type = TYPES[name] ?? "string";
  const shape = { name, in: place, ...(place === "path" ? { required: true } : {}) };
  return version === 3 ? { ...shape, schema: { type, uniqueItems: true } } : { ...shape, type, uniqueItems: true };
}

function operation(kind: Kind, verb: string, suffix: string, dialect: Dialect): Json {
  const name = definitionName(kind) + (verb === "list" ? "List" : "");
  const ref = { $ref: dialect.refPrefix + name };
  const body = verb === "create" || verb === "update" ? ref : { type: "object" };
  const hasBody = ["create", "update", "patch"].includes(verb);
  const parameters = QUERY[verb]!.map((each) => parameter(each, "query", dialect));
  const types = verb === "patch" ? acceptedPatches(kind) : ["application/json", "application/yaml"];
  const shared = {
    operationId: `${verb}${kind.group.replaceAll(".", "")}${kind.version}${kind.kind}${suffix}`,
    "x-kubernetes-action": ACTIONS[verb] ?? verb,
    "x-kubernetes-group-version-kind": { group: kind.group, version: kind.version, kind: kind.kind },
  };
  if (dialect.version === 2) {
    const inBody = hasBody ? [{ name: "body", in: "body", required: true, schema: body }] : [];
    const responses = { 200: { description: "OK", schema: ref } };
    return {
      ...shared,
      consumes: types,
      produces: ["application/json"],
      parameters: [...inBody, ...parameters],
      responses,
    };
  }
  const content = (schema: Json) => Object.fromEntries(types.map((type) => [type, { schema }]));
  const responses = { 200: { description: "OK", content: { "application/json": { schema: ref } } } };
  return {
    ...shared,
    parameters,
    responses,
    ...(hasBody ? { requestBody: { required: true, content: content(body) } } : {}),
  };
}
