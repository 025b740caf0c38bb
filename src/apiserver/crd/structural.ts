import type { k8s, Schema } from "../../api/index.ts";

type Props = k8s.JSONSchemaProps;

/** A CRD's schema as the structure that decoding, patches, managed fields and OpenAPI read. Rules stay with the CRD's own form. */
function schemaOf(props: Props | undefined): Schema {
  if (props === undefined) return { type: "object", preserveUnknownFields: true };
  return convert(props);
}

/** The root of a custom resource: upstream adds what every object has, whatever the author wrote. */
export function rootSchemaOf(props: Props | undefined, objectMeta: Schema): Schema {
  const own = schemaOf(props);
  return {
    ...own,
    properties: { ...own.properties, apiVersion: { type: "string" }, kind: { type: "string" }, metadata: objectMeta },
  };
}

function convert(props: Props): Schema {
  const field = (name: string): unknown => (props as Record<string, unknown>)[name];
  const preserve = field("x-kubernetes-preserve-unknown-fields") === true;
  const embedded = field("x-kubernetes-embedded-resource") === true;
  const schema: { -readonly [Key in keyof Schema]: Schema[Key] } = { type: typeOf(props) };
  if (props.description !== undefined) schema.description = props.description;
  if (field("x-kubernetes-int-or-string") === true) schema.format = "int-or-string";
  else if (props.format !== undefined) schema.format = props.format;
  if (props.properties !== undefined)
    schema.properties = Object.fromEntries(
      Object.entries(props.properties).map(([name, inner]) => [name, convert(inner)]),
    );
  if (embedded) schema.properties = { ...embeddedFields, ...schema.properties };
  if (typeof props.additionalProperties === "object") schema.additionalProperties = convert(props.additionalProperties);
  else if (props.additionalProperties === true)
    schema.additionalProperties = { type: "any", preserveUnknownFields: true };
  if (props.items !== undefined && !Array.isArray(props.items)) schema.items = convert(props.items as Props);
  if (props.required !== undefined) schema.required = props.required;
  if (props.default !== undefined) schema.default = props.default;
  if (props.enum !== undefined) schema.enum = props.enum;
  if (props.nullable === true) schema.nullable = true;
  if (preserve) schema.preserveUnknownFields = true;
  if (embedded) schema.embeddedResource = true;
  const listType = field("x-kubernetes-list-type");
  if (listType !== undefined) schema.listType = listType as "atomic" | "set" | "map";
  const keys = field("x-kubernetes-list-map-keys");
  if (keys !== undefined) schema.listMapKeys = keys as string[];
  const mapType = field("x-kubernetes-map-type");
  if (mapType !== undefined) schema.mapType = mapType as "atomic" | "granular";
  return schema;
}

const embeddedFields: Readonly<Record<string, Schema>> = {
  apiVersion: { type: "string" },
  kind: { type: "string" },
  metadata: { type: "object", preserveUnknownFields: true },
};

function typeOf(props: Props): Schema["type"] {
  if ((props as Record<string, unknown>)["x-kubernetes-int-or-string"] === true) return "string";
  return (props.type as Schema["type"] | undefined) ?? (props.properties === undefined ? "any" : "object");
}

/** Fills what is absent, or null where null is not allowed, from the schema's defaults. In place. */
export function applyDefaults(value: unknown, props: Props | undefined): void {
  if (props === undefined || typeof value !== "object" || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value) applyDefaults(item, props.items as Props | undefined);
    return;
  }
  const object = value as Record<string, unknown>;
  for (const [name, inner] of Object.entries(props.properties ?? {})) {
    const missing = object[name] === undefined || (object[name] === null && inner.nullable !== true);
    if (missing && inner.default !== undefined) object[name] = structuredClone(inner.default);
    applyDefaults(object[name], inner);
  }
  if (typeof props.additionalProperties !== "object") return;
  for (const [name, item] of Object.entries(object))
    if (props.properties?.[name] === undefined) applyDefaults(item, props.additionalProperties);
}
