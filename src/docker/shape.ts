/**
 * What a JSON body must look like. The published description gives names and types (`bodies.generated.json`); this holds documents to them as Docker's
 * own decoder does: `null` is as good as nothing, fields nobody knows are left alone, and a field of another type is the client's mistake.
 */
import { invalidArgument } from "../base/index.ts";

/**
 * `words` is a list of texts for which one text may stand. A list with one shape is a list of such, `{"*": shape}` a map, other objects are
 * fields by name.
 */
export type Shape =
  | "text"
  | "flag"
  | "int"
  | "number"
  | "words"
  | "object"
  | "any"
  | readonly [Shape]
  | { readonly [name: string]: Shape };

/** The document as its shape has it. Throws invalidArgument that names the field. */
export function conform(value: unknown, shape: Shape, where = ""): unknown {
  if (value === null || value === undefined) return zero(shape);
  if (shape === "any") return value;
  if (typeof shape === "string") return conformPlain(value, shape, where);
  if (isList(shape)) {
    if (!Array.isArray(value)) throw mismatch(where, "a list", value);
    return value.map((item, index) => conform(item, shape[0], `${where}[${index}]`));
  }
  if (!isObject(value)) throw mismatch(where, "an object", value);
  const every = shape["*"];
  // No prototype: a field named __proto__ is a field.
  const result = Object.create(null) as Record<string, unknown>;
  for (const [name, item] of Object.entries(value)) {
    const fieldShape = every ?? (Object.hasOwn(shape, name) ? shape[name]! : "any");
    if (!every && item === null) continue;
    result[name] = conform(item, fieldShape, where === "" ? name : `${where}.${name}`);
  }
  return { ...result };
}

function conformPlain(value: unknown, shape: Exclude<Shape, object | "any">, where: string): unknown {
  switch (shape) {
    case "text":
      if (typeof value !== "string") throw mismatch(where, "a text", value);
      return value;
    case "flag":
      if (typeof value !== "boolean") throw mismatch(where, "true or false", value);
      return value;
    case "int":
      if (!Number.isSafeInteger(value)) throw mismatch(where, "a whole number", value);
      return value;
    case "number":
      if (typeof value !== "number") throw mismatch(where, "a number", value);
      return value;
    case "words":
      return typeof value === "string" ? [value] : conform(value, ["text"], where);
    case "object":
      if (!isObject(value)) throw mismatch(where, "an object", value);
      return value;
  }
}

/** What `null` means inside a list or a map. */
function zero(shape: Shape): unknown {
  switch (shape) {
    case "text":
      return "";
    case "flag":
      return false;
    case "int":
    case "number":
      return 0;
    case "words":
      return [];
    case "any":
      return null;
    default:
      return typeof shape === "object" && isList(shape) ? [] : {};
  }
}

function isList(shape: Exclude<Shape, string>): shape is readonly [Shape] {
  return Array.isArray(shape);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function mismatch(where: string, wanted: string, value: unknown) {
  const got = Array.isArray(value)
    ? "a list"
    : typeof value === "number"
      ? String(value)
      : `a value of type ${typeof value}`;
  return invalidArgument(`invalid JSON: ${where === "" ? "the document" : where}: ${wanted} is expected, not ${got}`);
}
