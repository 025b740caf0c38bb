/**
 * Reads the generated facts table. Grammar of a type's string, fields separated by spaces:
 *
 *     field   = name ["!"] ":" shape [list] [map] [patch]       "!": required
 *     shape   = "s" string | "y" bytes | "t" time | "i" int32 | "l" int64 | "n" double | "b" boolean | "o" free object
 *             | "[" shape | "{" shape                            list of, map to
 *             | digits                                           another type, by its place in the table
 *     list    = "^a" | "^s" | "^m=" key {"," key}                x-kubernetes-list-type
 *     map     = "%a"                                             x-kubernetes-map-type: atomic
 *     patch   = "~" strategy {"," strategy} ["=" merge key]      x-kubernetes-patch-strategy
 *
 * A type that is atomic itself begins with "%a". Types are taken apart when somebody first looks at them.
 */
import type { Schema } from "../../api/index.ts";
import facts from "./facts.generated.json" with { type: "json" };
import { fieldDefaults } from "./field-defaults.ts";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

const scalars: Readonly<Record<string, Schema>> = {
  s: { type: "string" },
  y: { type: "string", format: "byte" },
  t: { type: "string", format: "date-time" },
  i: { type: "integer", format: "int32" },
  l: { type: "integer", format: "int64" },
  n: { type: "number", format: "double" },
  b: { type: "boolean" },
  o: { type: "object", preserveUnknownFields: true },
};

/** Definitions that are not objects with fields, by upstream's name. */
const special: Readonly<Record<string, Omit<Schema, "name">>> = {
  "io.k8s.apimachinery.pkg.api.resource.Quantity": { type: "string", format: "quantity" },
  "io.k8s.apimachinery.pkg.util.intstr.IntOrString": { type: "string", format: "int-or-string" },
  "io.k8s.apimachinery.pkg.apis.meta.v1.Time": { type: "string", format: "date-time", nullable: true },
  "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": { type: "string", format: "date-time", nullable: true },
  "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": { type: "object", preserveUnknownFields: true, mapType: "atomic" },
  "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": { type: "object", preserveUnknownFields: true },
  "io.k8s.apimachinery.pkg.runtime.RawExtension": { type: "object", preserveUnknownFields: true },
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": { type: "any", preserveUnknownFields: true },
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": anyJson(),
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": anyJson(),
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": anyJson(),
};

function anyJson(): Omit<Schema, "name"> {
  return { type: "any", preserveUnknownFields: true };
}

/** An object type whose fields are parsed at first use; afterwards `properties` and `required` are plain values. */
class TypeSchema implements Schema {
  readonly type = "object";
  readonly name: string;
  readonly mapType?: "atomic" | "granular";
  readonly #source: string;
  #fields: { properties: Readonly<Record<string, Schema>>; required: readonly string[] } | undefined;

  constructor(name: string, source: string) {
    this.name = name;
    this.#source = source;
    if (source.startsWith("%a")) this.mapType = "atomic";
  }

  get properties(): Readonly<Record<string, Schema>> {
    return this.#expand().properties;
  }

  get required(): readonly string[] {
    return this.#expand().required;
  }

  #expand() {
    if (this.#fields !== undefined) return this.#fields;
    const properties: Record<string, Schema> = {};
    const required: string[] = [];
    const defaults = fieldDefaults[this.name];
    for (const field of this.#source.split(" ")) {
      const colon = field.indexOf(":");
      if (colon < 0) continue;
      const isRequired = field[colon - 1] === "!";
      const name = field.slice(0, isRequired ? colon - 1 : colon);
      if (isRequired) required.push(name);
      const schema = parseField(field.slice(colon + 1));
      properties[name] = defaults?.[name] === undefined ? schema : withExtras(schema, { default: defaults[name] });
    }
    return (this.#fields = { properties, required });
  }
}

const fieldPattern =
  /^(?<shape>[[{]*(?:[a-z]|\d+))(?:\^(?<list>[asm])(?:=(?<keys>[\w,]+))?)?(?<atomic>%a)?(?:~(?<patch>[\w,]+)(?:=(?<mergeKey>\w+))?)?$/;
const listTypes = { a: "atomic", s: "set", m: "map" } as const;

function parseField(text: string): Schema {
  const match = fieldPattern.exec(text)!.groups!;
  const base = parseShape(match["shape"]!);
  const extras: Partial<Mutable<Schema>> = {};
  if (match["list"] !== undefined) extras.listType = listTypes[match["list"] as keyof typeof listTypes];
  if (match["keys"] !== undefined) extras.listMapKeys = match["keys"].split(",");
  if (match["atomic"] !== undefined) extras.mapType = "atomic";
  if (match["patch"] !== undefined) extras.patchStrategy = match["patch"].split(",");
  if (match["mergeKey"] !== undefined) extras.patchMergeKey = match["mergeKey"];
  return withExtras(base, extras);
}

/** What a field says on top of its type. A shared type stays shared: the field's schema delegates to it. */
function withExtras(base: Schema, extras: Partial<Schema>): Schema {
  if (Object.keys(extras).length === 0) return base;
  if (!(base instanceof TypeSchema)) return { ...base, ...extras };
  return new FieldOfType(base, extras);
}

class FieldOfType implements Schema {
  readonly type = "object";
  readonly name: string;
  readonly mapType?: "atomic" | "granular";
  readonly patchStrategy?: readonly string[];
  readonly patchMergeKey?: string;
  readonly default?: unknown;
  readonly #base: TypeSchema;

  constructor(base: TypeSchema, extras: Partial<Schema>) {
    this.#base = base;
    this.name = base.name;
    if (base.mapType !== undefined) this.mapType = base.mapType;
    Object.assign(this, extras);
  }

  get properties(): Readonly<Record<string, Schema>> {
    return this.#base.properties;
  }

  get required(): readonly string[] {
    return this.#base.required;
  }
}

function parseShape(shape: string): Schema {
  if (shape[0] === "[") return { type: "array", items: parseShape(shape.slice(1)) };
  if (shape[0] === "{") return { type: "object", additionalProperties: parseShape(shape.slice(1)) };
  return scalars[shape] ?? typeAt(Number(shape));
}

const types: (Schema | undefined)[] = [];

function typeAt(index: number): Schema {
  const known = types[index];
  if (known !== undefined) return known;
  const name = facts.names[index]!;
  const scalar = special[name];
  return (types[index] = scalar === undefined ? new TypeSchema(name, facts.types[index]!) : { ...scalar, name });
}

/** The schema of a definition, for example `io.k8s.api.core.v1.PodSpec`. */
export function schemaNamed(name: string): Schema | undefined {
  const index = facts.names.indexOf(name);
  return index < 0 ? undefined : typeAt(index);
}

export interface ResourceFacts {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  /** "" for the resource itself. */
  readonly subresource: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  /** Of the body: a subresource's may be another kind, `autoscaling/v1 Scale`. */
  readonly bodyGroup: string;
  readonly bodyVersion: string;
  readonly kind: string;
  readonly schema: Schema | undefined;
}

const verbNames: Readonly<Record<string, string>> = {
  c: "create",
  d: "delete",
  D: "deletecollection",
  g: "get",
  l: "list",
  p: "patch",
  u: "update",
  w: "watch",
};

/** Every resource and subresource that v1.34 serves by default, sorted by group, version and name. */
export function readResourceFacts(): ResourceFacts[] {
  return facts.resources.map((line) => {
    const [groupVersion = "", path = "", scope, letters = "", body = "", index = "-"] = line.split(" ");
    const [group = "", version = ""] = groupVersion.split("/");
    const [plural = "", subresource = ""] = path.split("/");
    const [bodyGroup = "", bodyVersion = "", kind = ""] = body.split("/");
    return {
      group,
      version,
      plural,
      subresource,
      namespaced: scope === "N",
      verbs: letters.split("").map((letter) => verbNames[letter]!),
      bodyGroup,
      bodyVersion,
      kind,
      schema: index === "-" ? undefined : typeAt(Number(index)),
    };
  });
}
