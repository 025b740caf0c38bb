import { gvkKey, refName } from "./swagger.ts";
import type { Definition, Property, Resource, Swagger } from "./swagger.ts";

/**
 * The facts table: one short string per type and per resource, so that the whole loads in a millisecond and a type is taken apart only
 * when something asks for it. src/apiserver/schema/facts.ts reads it; the grammar is written down there.
 */
export function encodeFacts(swagger: Swagger): string {
  const index = new Map([...swagger.definitions.keys()].map((name, position) => [name, position]));
  const names = [...swagger.definitions.keys()];
  const types = [...swagger.definitions.values()].map((definition) => encodeType(definition, index));
  const byKind = new Map(
    [...swagger.definitions].flatMap(([name, definition]) =>
      (definition["x-kubernetes-group-version-kind"] ?? []).map((gvk) => [gvkKey(gvk), index.get(name)!] as const),
    ),
  );
  const resources = swagger.resources
    .toSorted((a, b) => compare(resourceKey(a), resourceKey(b)))
    .map((resource) => encodeResource(resource, byKind));
  return `${JSON.stringify({ names, types, resources }, null, 0).replaceAll('","', '",\n"')}\n`;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const resourceKey = ({ group, version, plural, subresource }: Resource): string =>
  [group, version, plural, subresource].join("/");

type Index = ReadonlyMap<string, number>;

function encodeType(definition: Definition, index: Index): string {
  const required = new Set(definition.required ?? []);
  const fields = Object.entries(definition.properties ?? {}).map(
    ([name, property]) => `${name}${required.has(name) ? "!" : ""}:${encodeProperty(property, index)}`,
  );
  if (definition["x-kubernetes-map-type"] === "atomic") fields.unshift("%a");
  return fields.join(" ");
}

const scalarCodes: Readonly<Record<string, string>> = {
  "string/": "s",
  "string/byte": "y",
  "string/date-time": "t",
  "integer/": "i",
  "integer/int32": "i",
  "integer/int64": "l",
  "number/": "n",
  "number/double": "n",
  "boolean/": "b",
};

function encodeProperty(property: Property, index: Index): string {
  let code = encodeShape(property, index);
  const listType = property["x-kubernetes-list-type"];
  if (listType !== undefined) code += `^${listType[0]}`;
  if (listType === "map") code += `=${property["x-kubernetes-list-map-keys"]!.join(",")}`;
  if (property["x-kubernetes-map-type"] === "atomic") code += "%a";
  const patch = property["x-kubernetes-patch-strategy"];
  const mergeKey = property["x-kubernetes-patch-merge-key"];
  if (patch !== undefined) code += `~${patch}${mergeKey === undefined ? "" : `=${mergeKey}`}`;
  return code;
}

function encodeShape(property: Property, index: Index): string {
  if (property.$ref !== undefined) return String(index.get(refName(property.$ref))!);
  if (property.type === "array") return `[${encodeShape(property.items!, index)}`;
  if (property.type === "object")
    return property.additionalProperties === undefined ? "o" : `{${encodeShape(property.additionalProperties, index)}`;
  const code = scalarCodes[`${property.type ?? ""}/${property.format ?? ""}`];
  if (code === undefined) throw new Error(`no code for ${JSON.stringify(property)}`);
  return code;
}

const verbLetters: Readonly<Record<string, string>> = {
  create: "c",
  delete: "d",
  deletecollection: "D",
  get: "g",
  list: "l",
  patch: "p",
  update: "u",
  watch: "w",
};

function encodeResource(resource: Resource, byKind: Index): string {
  const { group, version, plural, subresource, body } = resource;
  return [
    `${group}/${version}`,
    subresource === "" ? plural : `${plural}/${subresource}`,
    resource.namespaced ? "N" : "C",
    resource.verbs.map((verb) => verbLetters[verb]).join(""),
    gvkKey(body),
    byKind.get(gvkKey(body)) ?? "-",
  ].join(" ");
}
