import type { BerthError } from "../../../base/index.ts";
import type { Mismatch } from "../normalize.ts";
import { invalidError } from "../status.ts";

/**
 * The refusal of a strategic merge patch that puts a value of a wrong type somewhere: upstream merges such patches untyped and
 * converts what comes out, which words it otherwise than decoding does.
 */
export function conversionError(patch: unknown, { value, schema }: Mismatch): BerthError {
  const detail = `Invalid value: ${JSON.stringify(goFormat(patch))}: ${problemOf(value, schema)}`;
  return invalidError({ group: "", kind: "" }, "", [{ type: "FieldValueInvalid", field: "patch", detail }]);
}

function problemOf(value: unknown, schema: Mismatch["schema"]): string {
  if (schema.type === "array") return `cannot restore slice from ${kindOf(value)}`;
  if (schema.additionalProperties) return `cannot restore map from ${kindOf(value)}`;
  if (schema.type === "object") return `cannot restore struct from: ${kindOf(value)}`;
  const wanted = scalarOf(schema);
  return isConvertible(value, wanted) ? `cannot convert ${kindOf(value)} to ${wanted}` : `unrecognized type: ${wanted}`;
}

/** What Go could convert, but JSON's types should not: whole numbers to text, fractions to integers. */
const isConvertible = (value: unknown, wanted: string): boolean =>
  typeof value === "number" && (wanted === "string" ? Number.isInteger(value) : wanted !== "bool");

/** The Go kind that a JSON value has before its type is known. */
function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "slice";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return Number.isInteger(value) ? "int64" : "float64";
  return typeof value === "string" ? "string" : "map";
}

function scalarOf({ type, format }: Mismatch["schema"]): string {
  if (type === "integer") return format === "int64" ? "int64" : "int32";
  if (type === "boolean") return "bool";
  return type === "number" ? "float64" : "string";
}

/** A value as Go prints it with %+v. */
function goFormat(value: unknown): string {
  if (value === null) return "<nil>";
  if (Array.isArray(value)) return `[${value.map(goFormat).join(" ")}]`;
  if (typeof value !== "object") return typeof value === "string" ? value : JSON.stringify(value);
  const entries = Object.entries(value as object).toSorted(([left], [right]) => (left < right ? -1 : 1));
  return `map[${entries.map(([key, inner]) => `${key}:${goFormat(inner)}`).join(" ")}]`;
}
