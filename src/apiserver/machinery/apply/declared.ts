import type { KubeObject, Schema } from "../../../api/index.ts";
import { isObject } from "../decode.ts";
import type { Kind } from "../kind.ts";
import { apiVersionOf } from "../registry.ts";
import { statusError } from "../status.ts";

/**
 * A configuration may only state fields that the kind declares, each of its type. Unlike other writes, apply refuses whatever
 * `fieldValidation` says, and upstream answers with a bare 500.
 */
export function assertTyped(kind: Kind, applied: KubeObject): void {
  const problems: string[] = [];
  walk(applied, kind.schema, "", problems);
  if (problems.length === 0) return;
  const { namespace = "", name = "" } = applied.metadata;
  const type = `${kind.group === "" ? "/v1" : apiVersionOf(kind)}, Kind=${kind.kind}`;
  const text = problems.length === 1 ? problems[0] : `errors:\n  ${[...new Set(problems)].sort().join("\n  ")}`;
  throw statusError("internal", {
    reason: "",
    message: `failed to create typed patch object (${namespace}/${name}; ${type}): ${text}`,
  });
}

function walk(value: unknown, schema: Schema, path: string, problems: string[]): void {
  if (value === null || value === undefined) return;
  switch (schema.type) {
    case "any":
      return;
    case "object":
      if (isObject(value)) walkFields(value, schema, path, problems);
      else if (schema.properties || schema.additionalProperties) problems.push(expected("map", value, path));
      return;
    case "array":
      if (!Array.isArray(value)) problems.push(expected("list", value, path));
      else if (schema.items)
        for (const [index, item] of value.entries())
          walk(item, schema.items, `${path}${element(schema, item, index)}`, problems);
      return;
    default:
      if (!isScalarOf(schema, value)) problems.push(expected(scalars[schema.type], value, path));
  }
}

function walkFields(object: Record<string, unknown>, schema: Schema, path: string, problems: string[]): void {
  const { properties, additionalProperties, preserveUnknownFields } = schema;
  if (!properties && !additionalProperties) return;
  for (const [key, value] of Object.entries(object)) {
    if (path === "" && (key === "apiVersion" || key === "kind")) continue;
    const inner = `${path}.${key}`;
    const child = properties && Object.hasOwn(properties, key) ? properties[key] : additionalProperties;
    if (child) walk(value, child, inner, problems);
    else if (!preserveUnknownFields) problems.push(`${inner}: field not declared in schema`);
  }
}

/** `[name="web"]` in a list that is merged by keys, `[0]` in any other. */
function element({ listType, listMapKeys }: Schema, item: unknown, index: number): string {
  if (listType !== "map" || !isObject(item)) return `[${index}]`;
  return `[${(listMapKeys ?? []).map((key) => `${key}=${JSON.stringify(item[key] ?? "")}`).join(",")}]`;
}

const scalars = {
  string: "string",
  integer: "numeric (int or float)",
  number: "numeric (int or float)",
  boolean: "boolean",
};

function isScalarOf({ type, format }: Schema, value: unknown): boolean {
  if (format === "int-or-string" || format === "quantity")
    return typeof value === "string" || typeof value === "number";
  if (type === "integer" || type === "number") return typeof value === "number";
  return typeof value === type;
}

function expected(what: string, value: unknown, path: string): string {
  const shown = typeof value === "object" ? goMap(value) : JSON.stringify(value);
  return `${path}: expected ${what}, got &value.valueUnstructured{Value:${shown}}`;
}

/** As Go's %#v shows what came out of JSON, without going into it. */
const goMap = (value: object | null) => (Array.isArray(value) ? "[]interface {}{…}" : "map[string]interface {}{…}");
