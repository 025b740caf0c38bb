/** The types of expressions (https://github.com/google/cel-spec/blob/master/doc/langdef.md#values), as the checker and the estimate of costs see them. */
export interface CelType {
  readonly kind: "scalar" | "dyn" | "list" | "map" | "optional" | "object" | "opaque" | "param" | "type";
  /** Of scalars, objects and opaque types, and the letter of a parameter. */
  readonly name: string;
  readonly params: readonly CelType[];
  /** Of objects. */
  readonly fields?: ReadonlyMap<string, CelType>;
  /** What a schema allows at most: characters, items or entries. Undefined for what comes from no schema. */
  readonly maxElements?: number;
  /** The shortest JSON of such a value. Units: bytes. */
  readonly minSerializedSize?: number;
}

const simple = (kind: CelType["kind"], name: string): CelType => ({ kind, name, params: [] });

export const dyn = simple("dyn", "dyn");
export const bool = simple("scalar", "bool");
export const int = simple("scalar", "int");
export const uint = simple("scalar", "uint");
export const double = simple("scalar", "double");
export const string = simple("scalar", "string");
export const bytes = simple("scalar", "bytes");
export const duration = simple("scalar", "duration");
export const timestamp = simple("scalar", "timestamp");
export const nullType = simple("scalar", "null");

export const listOf = (item: CelType, maxElements?: number): CelType => ({
  kind: "list",
  name: "list",
  params: [item],
  ...(maxElements === undefined ? {} : { maxElements, minSerializedSize: 2 }),
});
export const mapOf = (key: CelType, value: CelType, maxElements?: number): CelType => ({
  kind: "map",
  name: "map",
  params: [key, value],
  ...(maxElements === undefined ? {} : { maxElements, minSerializedSize: 2 }),
});
export const optionalOf = (value: CelType): CelType => ({ kind: "optional", name: "optional_type", params: [value] });
export const typeOf = (value: CelType): CelType => ({ kind: "type", name: "type", params: [value] });
export const objectOf = (name: string, fields: Readonly<Record<string, CelType>>): CelType => ({
  kind: "object",
  name,
  params: [],
  fields: new Map(Object.entries(fields)),
});

const scalars = new Map([bool, int, uint, double, string, bytes, duration, timestamp].map((type) => [type.name, type]));

/** Types by which expressions convert and compare: `int(x)`, `type(x) == int`. */
export const namedTypes: ReadonlyMap<string, CelType> = new Map([
  ...scalars,
  ["null_type", nullType],
  ["list", listOf(dyn)],
  ["map", mapOf(dyn, dyn)],
  ["optional_type", optionalOf(dyn)],
]);

/** The type that a declaration writes: `list(A)`, `map(string, dyn)`, `net.IP`. One capital letter is a parameter. */
export function parseType(text: string): CelType {
  const known = scalars.get(text) ?? (text === "dyn" ? dyn : undefined);
  if (known !== undefined) return known;
  if (/^[A-Z]$/.test(text)) return simple("param", text);
  const [, outer, inner] = /^(list|map|optional|type)\((.*)\)$/.exec(text) ?? [];
  if (outer === undefined) return simple("opaque", text);
  const params = splitTypes(inner!).map(parseType);
  if (outer === "map") return mapOf(params[0]!, params[1]!);
  return outer === "list" ? listOf(params[0]!) : outer === "optional" ? optionalOf(params[0]!) : typeOf(params[0]!);
}

/** `a, b(c, d)` in its parts. */
export function splitTypes(text: string): string[] {
  const parts: string[] = [];
  let [depth, part] = [0, ""];
  for (const letter of text) {
    if (letter === "(") depth++;
    if (letter === ")") depth--;
    if (letter === "," && depth === 0) {
      parts.push(part.trim());
      part = "";
    } else part += letter;
  }
  return part.trim() === "" ? parts : [...parts, part.trim()];
}

/** As cel-go writes a type in its messages. */
export const formatType = ({ name, params }: CelType): string =>
  params.length === 0 ? name : `${name}(${params.map(formatType).join(", ")})`;

/** Scalars whose size says nothing: all but text and bytes. */
export const isSized = ({ kind, name }: CelType): boolean =>
  kind !== "scalar" || name === "string" || name === "bytes" || name === "null";
