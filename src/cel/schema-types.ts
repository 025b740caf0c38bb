import { dyn, bool, bytes, double, duration, int, listOf, mapOf, objectOf, string, timestamp } from "./types.ts";
import type { CelType } from "./types.ts";

/** As much of a JSON schema as types are made of: of CustomResourceDefinitions and of the server's own kinds. */
export interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly properties?: Readonly<Record<string, unknown>>;
  readonly additionalProperties?: unknown;
  readonly items?: unknown;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly maxItems?: number;
  readonly maxLength?: number;
  readonly maxProperties?: number;
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-embedded-resource"?: boolean;
}

/** No value is longer than a request may be. */
const maxRequestBytes = 3 * 1024 * 1024;
const reserved = new Set(
  "true false null in as break const continue else for function if import let loop package namespace return var void while".split(
    " ",
  ),
);
const escapes: Readonly<Record<string, string>> = {
  __: "__underscores__",
  ".": "__dot__",
  "-": "__dash__",
  "/": "__slash__",
};

/** A property's name as expressions write it, undefined for one that they can't (https://kubernetes.io/docs/reference/using-api/cel/#escaping). */
export function escapeName(name: string): string | undefined {
  if (reserved.has(name)) return `__${name}__`;
  if (!/^[a-zA-Z_.\-/][a-zA-Z0-9_.\-/]*$/.test(name)) return undefined;
  return name.replaceAll(/__|[-./]/g, (found) => escapes[found]!);
}

const metadata = objectOf("object", { name: unbounded(string), generateName: unbounded(string) });

function unbounded(type: CelType): CelType {
  return { ...type, maxElements: maxRequestBytes - 2, minSerializedSize: 2 };
}

/**
 * The type of the values that a schema allows; undefined for what expressions can't speak of (no type is known, or unknown fields are
 * kept). `isRoot`: apiVersion, kind and the names in metadata are there whatever the schema says.
 */
export function typeOfSchema(schema: JsonSchema, isRoot = false, name = "object"): CelType | undefined {
  if (schema["x-kubernetes-int-or-string"] === true)
    return { ...dyn, maxElements: textLimit(schema), minSerializedSize: 1 };
  const root = isRoot || schema["x-kubernetes-embedded-resource"] === true;
  switch (schema.type ?? (root ? "object" : undefined)) {
    case "array":
      return typeOfArray(schema, name);
    case "object":
      return typeOfObject(schema, root, name);
    case "string":
      return typeOfText(schema);
    case "boolean":
      return { ...bool, maxElements: 0, minSerializedSize: 4 };
    case "number":
      return { ...double, maxElements: 0, minSerializedSize: 1 };
    case "integer":
      return { ...int, maxElements: 0, minSerializedSize: 1 };
    default:
      return undefined;
  }
}

function typeOfArray({ items, maxItems }: JsonSchema, name: string): CelType | undefined {
  const item = isSchema(items) ? typeOfSchema(items, false, `${name}.@idx`) : undefined;
  if (item === undefined) return undefined;
  return listOf(item, maxItems ?? Math.floor((maxRequestBytes - 2) / (item.minSerializedSize! + 1)));
}

function typeOfObject(schema: JsonSchema, root: boolean, name: string): CelType | undefined {
  if (isSchema(schema.additionalProperties) && !root) {
    const value = typeOfSchema(schema.additionalProperties, false, `${name}.@elem`);
    if (value === undefined) return undefined;
    const most = schema.maxProperties ?? Math.floor((maxRequestBytes - 2) / (value.minSerializedSize! + 6));
    return mapOf({ ...string, maxElements: 0, minSerializedSize: 2 }, value, most);
  }
  const fields = new Map<string, CelType>();
  let size = 2;
  for (const [property, inner] of Object.entries(schema.properties ?? {})) {
    const type = isSchema(inner) ? typeOfSchema(inner, false, `${name}.${property}`) : undefined;
    const escaped = escapeName(property);
    if (type === undefined) continue;
    if (escaped !== undefined) fields.set(escaped, type);
    if (schema.required?.includes(property) && (inner as JsonSchema).default === undefined)
      size += property.length + type.minSerializedSize! + 4;
  }
  if (root) {
    for (const property of ["apiVersion", "kind"]) fields.set(property, unbounded(string));
    if (!fields.get("metadata")?.fields?.has("name")) fields.set("metadata", metadata);
  }
  return { kind: "object", name, params: [], fields, maxElements: 0, minSerializedSize: size };
}

const formats: Readonly<Record<string, CelType>> = {
  byte: { ...bytes, minSerializedSize: 2 },
  duration: { ...duration, maxElements: 32, minSerializedSize: 3 },
  date: { ...timestamp, maxElements: 12, minSerializedSize: 12 },
  "date-time": { ...timestamp, maxElements: 32, minSerializedSize: 21 },
};

function typeOfText(schema: JsonSchema): CelType {
  const special = formats[schema.format ?? ""];
  if (special === undefined) return { ...string, maxElements: textLimit(schema), minSerializedSize: 2 };
  return { maxElements: schema.maxLength ?? maxRequestBytes - 2, ...special };
}

/** Units: bytes, at most four for a character. */
function textLimit({ maxLength, enum: values = [] }: JsonSchema): number {
  if (maxLength !== undefined) return Math.max(maxLength, 0) * 4;
  if (values.length === 0) return maxRequestBytes - 2;
  return Math.max(...values.map((value) => (typeof value === "string" ? Buffer.byteLength(value) : 0)));
}

const isSchema = (value: unknown): value is JsonSchema => typeof value === "object" && value !== null;

/** How often values of a type fit into one request: how often a rule of an item runs where nothing bounds the items. */
export const maxCardinality = ({ minSerializedSize = 1 }: CelType): number =>
  Math.floor(maxRequestBytes / (minSerializedSize + 1));
