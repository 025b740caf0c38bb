import type { FieldError } from "../../machinery/kind.ts";

/**
 * Makers of field errors with the wording of apimachinery's field.Error.ErrorBody
 * (https://pkg.go.dev/k8s.io/apimachinery/pkg/util/validation/field).
 */
const withDetail = (text: string, detail: string): string => (detail === "" ? text : `${text}: ${detail}`);

/** Strings as Go's %q, numbers and booleans bare, everything else as JSON. */
function quoteValue(value: unknown): string {
  return value === undefined || value === null ? "null" : JSON.stringify(value);
}

export const required = (field: string, detail = ""): FieldError => ({
  type: "FieldValueRequired",
  field,
  detail: withDetail("Required value", detail),
});

export const invalid = (field: string, value: unknown, detail: string): FieldError => ({
  type: "FieldValueInvalid",
  field,
  detail: withDetail(`Invalid value: ${quoteValue(value)}`, detail),
});

export const duplicate = (field: string, value: unknown): FieldError => ({
  type: "FieldValueDuplicate",
  field,
  detail: `Duplicate value: ${quoteValue(value)}`,
});

export const forbidden = (field: string, detail: string): FieldError => ({
  type: "FieldValueForbidden",
  field,
  detail: withDetail("Forbidden", detail),
});

export const notSupported = (field: string, value: unknown, supported: readonly string[]): FieldError => ({
  type: "FieldValueNotSupported",
  field,
  detail: `Unsupported value: ${quoteValue(value)}: supported values: ${supported.map((item) => JSON.stringify(item)).join(", ")}`,
});

export const notFound = (field: string, value: unknown): FieldError => ({
  type: "FieldValueNotFound",
  field,
  detail: `Not found: ${quoteValue(value)}`,
});

export const tooLong = (field: string, maxBytes: number): FieldError => ({
  type: "FieldValueTooLong",
  field,
  detail: `Too long: may not be more than ${maxBytes} bytes`,
});

export const tooMany = (field: string, actual: number, most: number): FieldError => ({
  type: "FieldValueTooMany",
  field,
  detail: `Too many: ${actual}: must have at most ${most} ${most === 1 ? "item" : "items"}`,
});

/** `notSupported` unless the value is unset or one of the supported ones. */
export function oneOf(field: string, value: unknown, supported: readonly string[]): FieldError[] {
  if (value === undefined || supported.includes(value as string)) return [];
  return [notSupported(field, value, supported)];
}

export function nonNegative(field: string, value: number | undefined): FieldError[] {
  return value !== undefined && value < 0 ? [invalid(field, value, "must be greater than or equal to 0")] : [];
}

/** Upstream's ValidateImmutableField. */
export function immutable(field: string, now: unknown, old: unknown): FieldError[] {
  return deepEqual(now, old) ? [] : [invalid(field, now, "field is immutable")];
}

/** Semantic equality as apimachinery's: unset, empty list and empty map are the same. */
export function deepEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (isEmpty(a) && isEmpty(b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, index) => deepEqual(item, b[index]));
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  return [...new Set([...Object.keys(left), ...Object.keys(right)])].every((key) => deepEqual(left[key], right[key]));
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}
