import type { Schema } from "../../api/index.ts";
import type { Kind } from "../machinery/kind.ts";

import { describe } from "./descriptions.ts";

/** OpenAPI's form of our schemas. Named ones become components that refer to each other. */
export type Definitions = Map<string, Record<string, unknown>>;

export interface Dialect {
  /** `#/definitions/` in version 2, `#/components/schemas/` in version 3. */
  readonly refPrefix: string;
  readonly version: 2 | 3;
}

/** The component that a kind's objects have. Custom kinds get a name made of group, version and kind, as upstream's. */
export function definitionName(kind: Kind): string {
  return kind.schema.name ?? `${kind.group.split(".").toReversed().join(".")}.${kind.version}.${kind.kind}`;
}

/** Adds a kind's schema and all that it refers to. */
export function addKind(definitions: Definitions, kind: Kind, dialect: Dialect): void {
  const name = definitionName(kind);
  const gvk = { group: kind.group, version: kind.version, kind: kind.kind };
  const known = definitions.get(name);
  if (known?.["x-kubernetes-group-version-kind"]) return;
  if (!known) define(definitions, name, kind.schema, dialect);
  const shape = definitions.get(name)!;
  shape["x-kubernetes-group-version-kind"] = [gvk];
  if (kind.schema.name === undefined) describeRoot(name, shape);
  const list = `${name}List`;
  const description = (field: string) => ({ description: describe(list, field) });
  definitions.set(list, {
    description: describe(list) ?? `Several objects of kind ${kind.kind}.`,
    type: "object",
    required: ["items"],
    properties: {
      apiVersion: { type: "string", ...description("apiVersion") },
      kind: { type: "string", ...description("kind") },
      metadata: { $ref: `${dialect.refPrefix}${LIST_META}` },
      items: { type: "array", items: { $ref: dialect.refPrefix + name }, ...description("items") },
    },
    "x-kubernetes-group-version-kind": [{ ...gvk, kind: kind.listKind }],
  });
  if (!definitions.has(LIST_META)) definitions.set(LIST_META, listMeta());
}

/** What custom objects have in common with all others is not in their definition. */
function describeRoot(name: string, { properties }: Record<string, unknown>): void {
  const fields = (properties ?? {}) as Record<string, Record<string, unknown>>;
  for (const field of ["apiVersion", "kind", "metadata"])
    if (fields[field]) fields[field]["description"] ??= describe(name, field);
}

const LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const listMeta = () => ({
  description: describe(LIST_META),
  type: "object",
  properties: {
    continue: { type: "string", description: describe(LIST_META, "continue") },
    remainingItemCount: { type: "integer", format: "int64", description: describe(LIST_META, "remainingItemCount") },
    resourceVersion: { type: "string", description: describe(LIST_META, "resourceVersion") },
    selfLink: { type: "string" },
  },
});

function define(definitions: Definitions, name: string, schema: Schema, dialect: Dialect): void {
  const shape: Record<string, unknown> = {};
  // Set before it is filled, so that schemas may refer to themselves.
  definitions.set(name, shape);
  Object.assign(shape, inline(definitions, schema, dialect));
}

function refer(definitions: Definitions, schema: Schema, dialect: Dialect): Record<string, unknown> {
  const { name } = schema;
  if (name === undefined) return inline(definitions, schema, dialect);
  if (!definitions.has(name)) define(definitions, name, schema, dialect);
  const ref = { $ref: dialect.refPrefix + name };
  return dialect.version === 3
    ? { allOf: [ref], ...(schema.default === undefined ? {} : { default: schema.default }) }
    : ref;
}

function inline(definitions: Definitions, schema: Schema, dialect: Dialect): Record<string, unknown> {
  const shape: Record<string, unknown> = { ...typeOf(schema, dialect) };
  // Version 2 has no word for "and others": kubectl would refuse every field that is not named.
  const isOpen = dialect.version === 2 && schema.preserveUnknownFields === true;
  const { properties, additionalProperties, items } = isOpen ? ({} as Schema) : schema;
  const { name } = schema;
  const description = schema.description ?? (name === undefined ? undefined : describe(name));
  if (description) shape["description"] = description;
  if (schema.required?.length && !isOpen) shape["required"] = schema.required;
  if (schema.default !== undefined) shape["default"] = schema.default;
  if (schema.enum) shape["enum"] = schema.enum;
  if (properties) {
    const entries = Object.entries(properties).map(([key, child]) => {
      const said = name === undefined ? undefined : describe(name, key);
      return [key, { ...refer(definitions, child, dialect), ...(said === undefined ? {} : { description: said }) }];
    });
    shape["properties"] = Object.fromEntries(entries);
  }
  if (additionalProperties) shape["additionalProperties"] = refer(definitions, additionalProperties, dialect);
  if (items) shape["items"] = plainRef(refer(definitions, items, dialect));
  return { ...shape, ...extensions(schema) };
}

/** kubectl's explain wants items to be a bare reference. */
function plainRef(shape: Record<string, unknown>): Record<string, unknown> {
  const all = shape["allOf"] as Array<Record<string, unknown>> | undefined;
  return all?.length === 1 ? all[0]! : shape;
}

function typeOf({ type, format }: Schema, { version }: Dialect): Record<string, unknown> {
  if (format === "int-or-string")
    return version === 3 ? { oneOf: [{ type: "integer" }, { type: "string" }], format } : { type: "string", format };
  if (format === "quantity")
    return version === 3 ? { oneOf: [{ type: "string" }, { type: "number" }] } : { type: "string" };
  return { ...(type === "any" ? {} : { type }), ...(format ? { format } : {}) };
}

function extensions(schema: Schema): Record<string, unknown> {
  const shape: Record<string, unknown> = {};
  if (schema.listType) shape["x-kubernetes-list-type"] = schema.listType;
  if (schema.listMapKeys) shape["x-kubernetes-list-map-keys"] = schema.listMapKeys;
  if (schema.mapType) shape["x-kubernetes-map-type"] = schema.mapType;
  if (schema.patchStrategy?.length) shape["x-kubernetes-patch-strategy"] = schema.patchStrategy.join(",");
  if (schema.patchMergeKey) shape["x-kubernetes-patch-merge-key"] = schema.patchMergeKey;
  if (schema.preserveUnknownFields) shape["x-kubernetes-preserve-unknown-fields"] = true;
  if (schema.embeddedResource) shape["x-kubernetes-embedded-resource"] = true;
  if (schema.nullable) shape["nullable"] = true;
  for (const [key, value] of Object.entries(schema.constraints ?? {})) shape[key] ??= value;
  return shape;
}
