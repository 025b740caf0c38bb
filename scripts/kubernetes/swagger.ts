/** The parts of upstream's swagger.json that the generators read, narrowed to what v1.34 serves by default. */
export interface Property {
  readonly type?: string;
  readonly format?: string;
  readonly $ref?: string;
  readonly items?: Property;
  readonly additionalProperties?: Property;
  readonly "x-kubernetes-list-type"?: "atomic" | "set" | "map";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: "atomic" | "granular";
  readonly "x-kubernetes-patch-strategy"?: string;
  readonly "x-kubernetes-patch-merge-key"?: string;
}

export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

export interface Definition extends Property {
  readonly properties?: Readonly<Record<string, Property>>;
  readonly required?: readonly string[];
  readonly "x-kubernetes-group-version-kind"?: readonly GroupVersionKind[];
}

interface Operation {
  readonly "x-kubernetes-action"?: string;
  readonly "x-kubernetes-group-version-kind"?: GroupVersionKind;
}

export interface Swagger {
  /** By name, for example `io.k8s.api.core.v1.Pod`: only those reachable from a served resource, sorted. */
  readonly definitions: ReadonlyMap<string, Definition>;
  readonly resources: readonly Resource[];
}

/** One resource or subresource of one group and version. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  /** Of the resource, not of the bodies of a subresource. */
  readonly plural: string;
  readonly subresource: string;
  /** What the bodies are; a subresource's may be of another group (`autoscaling/v1 Scale`). */
  readonly body: GroupVersionKind;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
}

/** Alpha and beta versions are off unless asked for, upstream as here. */
const servedVersion = /^v\d+$/;

export function readSwagger(text: string): Swagger {
  const parsed = JSON.parse(text) as {
    definitions: Record<string, Definition>;
    paths: Record<string, Record<string, Operation>>;
  };
  const resources = readResources(parsed.paths);
  return { definitions: reachable(parsed.definitions, resources), resources };
}

export const refName = (ref: string): string => ref.slice("#/definitions/".length);

const resourcePath =
  /^\/(?:api|apis\/(?<group>[^/]+))\/(?<version>[^/]+)\/(?<namespaced>namespaces\/\{namespace\}\/)?(?<plural>[a-z]+)(?:\/\{name\}(?:\/(?<subresource>[a-z]+))?)?$/;

const verbOfAction: Readonly<Record<string, string>> = {
  get: "get",
  list: "list",
  post: "create",
  put: "update",
  patch: "patch",
  delete: "delete",
  deletecollection: "deletecollection",
  connect: "connect",
};

function readResources(paths: Record<string, Record<string, Operation>>): Resource[] {
  const found = new Map<string, { resource: Omit<Resource, "verbs">; verbs: Set<string> }>();
  for (const [path, operations] of Object.entries(paths)) {
    const match = resourcePath.exec(normalize(path))?.groups;
    if (match === undefined || !servedVersion.test(match["version"]!)) continue;
    for (const [method, operation] of Object.entries(operations)) {
      const action = operation["x-kubernetes-action"];
      const body = operation["x-kubernetes-group-version-kind"];
      const verb =
        action === "connect" ? connectVerbs[method] : action === undefined ? undefined : verbOfAction[action];
      if (body === undefined || verb === undefined) continue;
      const { group = "", version, plural, subresource = "", namespaced } = match;
      const key = [group, version, plural, subresource].join("/");
      const entry = found.get(key) ?? {
        resource: { group, version: version!, plural: plural!, subresource, body, namespaced: false },
        verbs: new Set<string>(),
      };
      if (namespaced !== undefined) entry.resource = { ...entry.resource, namespaced: true };
      // A list across namespaces says nothing about the resource's own bodies.
      if (action !== "list" || entry.verbs.size === 0) entry.resource = { ...entry.resource, body };
      entry.verbs.add(verb);
      if (verb === "list") entry.verbs.add("watch");
      found.set(key, entry);
    }
  }
  return [...found.values()].map(({ resource, verbs }) => ({ ...resource, verbs: [...verbs].sort() }));
}

const connectVerbs: Readonly<Record<string, string>> = {
  get: "get",
  post: "create",
  put: "update",
  patch: "patch",
  delete: "delete",
};

/** `namespaces` itself and its subresources look like a namespaced path's beginning. */
function normalize(path: string): string {
  return path.replace(/^\/api\/v1\/namespaces\/\{name\}/, "/api/v1/namespaces/{name}");
}

function reachable(definitions: Record<string, Definition>, resources: readonly Resource[]): Map<string, Definition> {
  const wanted = new Set(resources.map(({ body }) => gvkKey(body)));
  const queue = Object.entries(definitions)
    .filter(([, definition]) => definition["x-kubernetes-group-version-kind"]?.some((gvk) => wanted.has(gvkKey(gvk))))
    .map(([name]) => name);
  const seen = new Set<string>();
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    const definition = definitions[name]!;
    for (const property of [definition, ...Object.values(definition.properties ?? {})]) queue.push(...refsOf(property));
  }
  return new Map([...seen].sort().map((name) => [name, definitions[name]!]));
}

function refsOf(property: Property): string[] {
  if (property.$ref !== undefined) return [refName(property.$ref)];
  return [property.items, property.additionalProperties].flatMap((inner) => (inner === undefined ? [] : refsOf(inner)));
}

export const gvkKey = ({ group, version, kind }: GroupVersionKind): string => `${group}/${version}/${kind}`;
