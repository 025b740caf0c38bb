import { createHash } from "node:crypto";
import type { ApiRequest, ApiResponse } from "../../api/index.ts";
import type { Kind } from "./kind.ts";
import type { Endpoint } from "./pipeline.ts";
import { apiVersionOf, type Registry } from "./registry.ts";
import { jsonResponse } from "./respond.ts";
import { unknownPathError } from "./status.ts";

/** https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api, both forms. */
interface Resource {
  readonly name: string;
  readonly singularName: string;
  readonly namespaced: boolean;
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly storageVersionHash?: string;
}

interface GroupVersion {
  readonly group: string;
  readonly version: string;
  readonly resources: Resource[];
}

const AGGREGATED = /as=APIGroupDiscoveryList/;

/** Discovery paths, or undefined when the path is something else. */
export function discovery(registry: Registry, request: ApiRequest): ApiResponse | undefined {
  const parts = request.path.split("/").filter((part) => part !== "");
  const [root, group, version] = parts;
  if (root === "api" && parts.length === 1) return aggregated(registry, request, true) ?? legacyVersions();
  if (root === "apis" && parts.length === 1) return aggregated(registry, request, false) ?? groupList(registry);
  if (root === "api" && parts.length === 2) return resourceList(registry, "", group!);
  if (root === "apis" && parts.length === 2) return groupOf(registry, group!);
  if (root === "apis" && parts.length === 3) return resourceList(registry, group!, version!);
  return undefined;
}

function legacyVersions(): ApiResponse {
  return jsonResponse({
    kind: "APIVersions",
    versions: ["v1"],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: "" }],
  });
}

/** The order in which upstream prefers versions: GA before beta before alpha, higher before lower. */
function compareVersions(a: string, b: string): number {
  const parse = (text: string) => /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(text);
  const [left, right] = [parse(a), parse(b)];
  if (!left || !right) return left ? -1 : right ? 1 : a < b ? -1 : 1;
  const rank = ({ 2: stage }: RegExpExecArray) => (stage === undefined ? 0 : stage === "beta" ? 1 : 2);
  if (rank(left) !== rank(right)) return rank(left) - rank(right);
  return Number(right[1]) - Number(left[1]) || Number(right[3] ?? 0) - Number(left[3] ?? 0);
}

const byGeneration = new WeakMap<Registry, { generation: number; versions: GroupVersion[] }>();

function groupVersions(registry: Registry): GroupVersion[] {
  const known = byGeneration.get(registry);
  if (known?.generation === registry.generation) return known.versions;
  const map = new Map<string, GroupVersion>();
  const of = (group: string, version: string) => {
    const key = `${group}/${version}`;
    const found = map.get(key) ?? { group, version, resources: [] };
    map.set(key, found);
    return found.resources;
  };
  for (const kind of registry.all()) of(kind.group, kind.version).push(...resourcesOf(kind));
  for (const endpoint of registry.endpoints()) of(endpoint.group, endpoint.version).push(endpointResource(endpoint));
  const versions = [...map.values()].sort(
    (a, b) => groupRank(a.group) - groupRank(b.group) || compareVersions(a.version, b.version),
  );
  for (const { resources } of versions) resources.sort((a, b) => (a.name < b.name ? -1 : 1));
  byGeneration.set(registry, { generation: registry.generation, versions });
  return versions;
}

/** The order in which kubectl looks for a resource by its bare name: upstream's group priorities. */
const GROUP_ORDER = [
  "",
  "apiregistration.k8s.io",
  "apps",
  "events.k8s.io",
  "authentication.k8s.io",
  "authorization.k8s.io",
  "autoscaling",
  "batch",
  "certificates.k8s.io",
  "networking.k8s.io",
  "policy",
  "rbac.authorization.k8s.io",
  "storage.k8s.io",
  "admissionregistration.k8s.io",
  "apiextensions.k8s.io",
  "scheduling.k8s.io",
  "coordination.k8s.io",
  "node.k8s.io",
  "discovery.k8s.io",
  "flowcontrol.apiserver.k8s.io",
  "resource.k8s.io",
];
const groupRank = (group: string) => GROUP_ORDER.indexOf(group) + 1 || GROUP_ORDER.length + 1;

function resourcesOf(kind: Kind): Resource[] {
  const { plural: name, singular, namespaced, verbs, shortNames, categories, strategy } = kind;
  const storageVersionHash = hashOf(kind);
  const resources: Resource[] = [
    { name, singularName: singular, namespaced, kind, verbs, shortNames, categories, storageVersionHash },
  ];
  const sub = (subresource: string, of: Resource["kind"]) =>
    resources.push({
      name: `${name}/${subresource}`,
      singularName: "",
      namespaced,
      kind: of,
      verbs: ["get", "patch", "update"],
    });
  if (strategy.hasStatus) sub("status", kind);
  if (strategy.scale) sub("scale", { group: "autoscaling", version: "v1", kind: "Scale" });
  for (const subresource of strategy.updateSubresources ?? []) sub(subresource, kind);
  return resources;
}

/** Tells clients that migrate stored objects when the stored version has changed: upstream's form of it. */
function hashOf({ group, storageVersion, kind }: Kind): string {
  const hash = createHash("sha256").update(`${group}/${storageVersion}/${kind}`).digest();
  return hash.subarray(0, 8).toString("base64");
}

function endpointResource({ resource, subresource, namespaced, kind, verbs, shortNames }: Endpoint): Resource {
  const name = subresource === "" ? resource : `${resource}/${subresource}`;
  const singularName = subresource === "" ? kind.kind.toLowerCase() : "";
  return { name, singularName, namespaced, kind, verbs, shortNames };
}

function resourceList(registry: Registry, group: string, version: string): ApiResponse {
  const found = groupVersions(registry).find((one) => one.group === group && one.version === version);
  if (!found) throw unknownPathError();
  const resources = found.resources.map(({ name, singularName, namespaced, kind, verbs, ...more }) => ({
    name,
    singularName,
    namespaced,
    ...(kind.group === group && kind.version === version ? {} : { group: kind.group, version: kind.version }),
    kind: kind.kind,
    verbs,
    ...(more.shortNames?.length ? { shortNames: more.shortNames } : {}),
    ...(more.categories?.length ? { categories: more.categories } : {}),
    ...(more.storageVersionHash === undefined ? {} : { storageVersionHash: more.storageVersionHash }),
  }));
  return jsonResponse({ kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf(found), resources });
}

function apiGroup(versions: readonly GroupVersion[]) {
  const all = versions.map(({ group, version }) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: versions[0]!.group, versions: all, preferredVersion: all[0] };
}

function byGroup(registry: Registry): GroupVersion[][] {
  return [...Map.groupBy(groupVersions(registry), ({ group }) => group).values()];
}

function groupList(registry: Registry): ApiResponse {
  const groups = byGroup(registry)
    .filter(([first]) => first!.group !== "")
    .map(apiGroup);
  return jsonResponse({ kind: "APIGroupList", apiVersion: "v1", groups });
}

function groupOf(registry: Registry, name: string): ApiResponse {
  const versions = byGroup(registry).find(([first]) => first!.group === name);
  if (!versions || name === "") throw unknownPathError();
  return jsonResponse({ kind: "APIGroup", apiVersion: "v1", ...apiGroup(versions) });
}

function aggregated(registry: Registry, { headers }: ApiRequest, core: boolean): ApiResponse | undefined {
  const clause = (headers["accept"] ?? "").split(",").find((part) => AGGREGATED.test(part));
  const version = clause && /v=(v2beta1|v2)(?:;|$)/.exec(clause.replaceAll(" ", ""))?.[1];
  if (!version) return undefined;
  const items = byGroup(registry)
    .filter(([first]) => (first!.group === "") === core)
    .map((versions) => ({
      metadata: { name: versions[0]!.group || undefined, creationTimestamp: null },
      versions: versions.map((one) => ({
        version: one.version,
        resources: discoveryResources(one),
        freshness: "Current",
      })),
    }));
  const body = { kind: "APIGroupDiscoveryList", apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {}, items };
  const type = `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;
  return jsonResponse(body, 200, { "content-type": type, vary: "Accept" });
}

function discoveryResources({ resources }: GroupVersion): unknown[] {
  const responseKind = ({ kind }: Resource) => ({ group: kind.group, version: kind.version, kind: kind.kind });
  const scope = ({ namespaced }: Resource) => (namespaced ? "Namespaced" : "Cluster");
  const subresourcesOf = (parent: string) =>
    resources
      .filter(({ name }) => name.startsWith(`${parent}/`))
      .map((one) => ({
        subresource: one.name.slice(parent.length + 1),
        responseKind: responseKind(one),
        verbs: one.verbs,
      }));
  return resources
    .filter(({ name }) => !name.includes("/"))
    .map((one) => {
      const subresources = subresourcesOf(one.name);
      return {
        resource: one.name,
        responseKind: responseKind(one),
        scope: scope(one),
        singularResource: one.singularName,
        verbs: one.verbs,
        ...(one.shortNames?.length ? { shortNames: one.shortNames } : {}),
        ...(one.categories?.length ? { categories: one.categories } : {}),
        ...(subresources.length ? { subresources } : {}),
      };
    });
}
