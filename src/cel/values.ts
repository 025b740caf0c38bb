import { compileCel } from "./compile.ts";
import { escapeName } from "./schema-types.ts";
import type { JsonSchema } from "./schema-types.ts";

/** CEL tells integers from doubles and texts from times; JSON does not, but a schema does. Without one, names are as they stand. */
export function toCel(value: unknown, schema: JsonSchema | undefined): unknown {
  if (typeof value === "number") {
    const isInteger = schema?.type === "integer" || (schema?.type !== "number" && Number.isInteger(value));
    return isInteger && Number.isSafeInteger(value) ? BigInt(value) : value;
  }
  if (typeof value === "string") return ofText(value, schema?.format);
  if (Array.isArray(value)) return value.map((item) => toCel(item, schema?.items as JsonSchema | undefined));
  if (typeof value !== "object" || value === null) return value;
  const extra = typeof schema?.additionalProperties === "object" ? schema.additionalProperties : undefined;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => {
      const property = schema?.properties?.[name] as JsonSchema | undefined;
      const shown = property === undefined ? name : (escapeName(name) ?? name);
      return [shown, toCel(item, property ?? (extra as JsonSchema | undefined))];
    }),
  );
}

function ofText(value: string, format: string | undefined): unknown {
  if (format === "byte") return new Uint8Array(Buffer.from(value, "base64"));
  if (format === "date" || format === "date-time") {
    const at = new Date(value);
    return Number.isNaN(at.getTime()) ? value : at;
  }
  if (format !== "duration") return value;
  try {
    return compileCel("duration(self)")({ self: value });
  } catch {
    return value;
  }
}
