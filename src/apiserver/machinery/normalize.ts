import type { Schema } from "../../api/index.ts";
import { goType, isObject } from "./decode.ts";

/** What decoding into a kind's types found. `problem`: the first value of a wrong type, worded as Go's json package does. */
export interface Normalized {
  readonly unknown: readonly string[];
  readonly keyCount: number;
  readonly problem: string | undefined;
  /** What `problem` is about, for who words it otherwise. */
  readonly mismatch?: Mismatch | undefined;
}

export interface Mismatch {
  readonly value: unknown;
  readonly schema: Schema;
}

interface Walk {
  readonly unknown: string[];
  keyCount: number;
  problem: string | undefined;
  mismatch?: Mismatch;
  readonly custom: boolean;
}

/**
 * Decodes in place, as the types would: unknown fields and nulls go, quantities given as numbers become text, and values of a wrong type
 * are reported. Custom resources keep nulls and wrong types for their own validation to judge.
 */
export function normalize(value: Record<string, unknown>, schema: Schema, custom: boolean): Normalized {
  const walk: Walk = { unknown: [], keyCount: 0, problem: undefined, custom };
  walkObject(value, schema, "", lastName(schema), walk);
  return walk;
}

const lastName = (schema: Schema, fallback = "") => schema.name?.slice(schema.name.lastIndexOf(".") + 1) ?? fallback;

function walkObject(object: Record<string, unknown>, schema: Schema, path: string, owner: string, walk: Walk): void {
  const { properties, additionalProperties } = schema;
  if (!properties && !additionalProperties) {
    walk.keyCount += countKeys(object);
    return;
  }
  for (const key in object) {
    const value = object[key];
    if (value === undefined) {
      // Only in-process callers can hand over such a field; JSON has none.
      delete object[key];
      continue;
    }
    const child = properties && Object.hasOwn(properties, key) ? properties[key] : additionalProperties;
    const inner = path === "" ? key : `${path}.${key}`;
    walk.keyCount++;
    if (!child) {
      walk.keyCount += countKeys(value);
      if (schema.preserveUnknownFields) continue;
      if (path === "" && (key === "apiVersion" || key === "kind")) continue;
      walk.unknown.push(inner);
      delete object[key];
    } else if (value === null) {
      if (!walk.custom) {
        // A null in a map is a zero value; a null field is an absent field.
        if (properties?.[key]) delete object[key];
        else if (child.type === "string") object[key] = "";
      }
    } else if (isOmitted(value, child, schema, key) && (!walk.custom || path === "metadata")) {
      delete object[key];
    } else {
      const replaced = walkValue(value, child, inner, owner, walk);
      if (replaced !== value) object[key] = replaced;
    }
  }
}

/** Go's types leave out lists and maps without entries (`omitempty`); a struct without fields is still something. */
function isOmitted(value: unknown, child: Schema, { required, properties }: Schema, key: string): boolean {
  if (!properties || required?.includes(key)) return false;
  if (child.type === "array") return Array.isArray(value) && value.length === 0;
  return (
    child.type === "object" &&
    child.additionalProperties !== undefined &&
    !child.properties &&
    isObject(value) &&
    Object.keys(value).length === 0
  );
}

function walkValue(value: unknown, schema: Schema, path: string, owner: string, walk: Walk): unknown {
  switch (schema.type) {
    case "object":
      if (isObject(value)) walkObject(value, schema, path, lastName(schema, owner), walk);
      else if (schema.properties || schema.additionalProperties) mismatch(value, schema, path, owner, walk);
      return value;
    case "array":
      if (!Array.isArray(value)) return mismatch(value, schema, path, owner, walk);
      if (schema.items) walkItems(value, schema.items, path, owner, walk);
      return value;
    case "any":
      walk.keyCount += countKeys(value);
      return value;
    default:
      return walkScalar(value, schema, path, owner, walk);
  }
}

function walkItems(items: unknown[], schema: Schema, path: string, owner: string, walk: Walk): void {
  for (let at = 0; at < items.length; at++) {
    const item = items[at];
    if (item === null) continue;
    const replaced = walkValue(item, schema, `${path}[${at}]`, owner, walk);
    if (replaced !== item) items[at] = replaced;
  }
}

function walkScalar(value: unknown, schema: Schema, path: string, owner: string, walk: Walk): unknown {
  const { type, format } = schema;
  if (format === "int-or-string") {
    if (typeof value === "string" || typeof value === "number") return value;
    return mismatch(value, schema, path, owner, walk);
  }
  if (type === "string") {
    if (typeof value === "string") {
      if (format === "byte" && !BASE64.test(value))
        walk.problem ??= `illegal base64 data at input byte ${badByte(value)}`;
      if (format === "date-time" && !walk.custom) checkTime(value, walk);
      return value;
    }
    if (typeof value === "number" && format === "quantity") return String(value);
    return mismatch(value, schema, path, owner, walk);
  }
  if (type === "boolean") return typeof value === "boolean" ? value : mismatch(value, schema, path, owner, walk);
  if (typeof value !== "number") return mismatch(value, schema, path, owner, walk);
  if (type === "integer" && !Number.isInteger(value)) return mismatch(value, schema, path, owner, walk);
  return value;
}

const BASE64 = /^(?:[A-Za-z0-9+/\r\n]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?[\r\n]*$/;
const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

const badByte = (value: string) => {
  const at = value.search(/[^A-Za-z0-9+/]/);
  return at < 0 ? value.length - (value.length % 4) : at;
};

function checkTime(value: string, walk: Walk): void {
  if (RFC3339.test(value)) return;
  walk.problem ??= `parsing time "${value}" as "2006-01-02T15:04:05Z07:00": cannot parse "${value}" as "2006"`;
}

function mismatch(value: unknown, schema: Schema, path: string, owner: string, walk: Walk): unknown {
  if (!walk.custom) {
    const field = path.replace(/\[\d+\]/g, "");
    const number = schema.type === "integer" && typeof value === "number" ? `number ${value}` : goType(value);
    if (walk.problem === undefined) walk.mismatch = { value, schema };
    walk.problem ??= `json: cannot unmarshal ${number} into Go struct field ${owner}.${field} of type ${goTypeOf(schema)}`;
  }
  return value;
}

function goTypeOf(schema: Schema): string {
  if (schema.name) {
    const parts = schema.name.split(".");
    return `${parts.at(-2)}.${parts.at(-1)}`;
  }
  switch (schema.type) {
    case "array":
      return `[]${schema.items ? goTypeOf(schema.items) : "interface {}"}`;
    case "object":
      return `map[string]${schema.additionalProperties ? goTypeOf(schema.additionalProperties) : "interface {}"}`;
    case "integer":
      return schema.format === "int64" ? "int64" : "int32";
    case "boolean":
      return "bool";
    case "number":
      return "float64";
    default:
      return "string";
  }
}

function countKeys(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + countKeys(item), 0);
  let count = 0;
  for (const key in value) count += 1 + countKeys((value as Record<string, unknown>)[key]);
  return count;
}
