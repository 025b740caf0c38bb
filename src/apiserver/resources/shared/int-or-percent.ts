import type { FieldError } from "../../machinery/kind.ts";
import { invalid, nonNegative } from "./field-errors.ts";

export const isPercent = (value: number | string | undefined): value is string => typeof value === "string";

/** The number in `25%` or `25`; 0 for unset. */
export const percentOrNumber = (value: number | string | undefined): number =>
  value === undefined ? 0 : typeof value === "number" ? value : Number.parseInt(value, 10);

/** Upstream's ValidatePositiveIntOrPercent. */
export function validateIntOrPercent(field: string, value: number | string | undefined): FieldError[] {
  if (typeof value !== "string") return nonNegative(field, value);
  if (/^[0-9]+%$/.test(value)) return [];
  return [
    invalid(
      field,
      value,
      "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
    ),
  ];
}
