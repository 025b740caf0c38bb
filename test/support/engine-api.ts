/**
 * The published description of the Engine API, and whether an answer is as it says. The description is not ours to ship: it is read from beside the
 * checkout, or from where BERTH_ENGINE_API_SPEC says.
 */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { load } from "js-yaml";

const FILE =
  process.env["BERTH_ENGINE_API_SPEC"] ??
  path.resolve(import.meta.dirname, "../../../shared/docker/engine-api-v1.50.yaml");
/** For `test`'s option `skip`. */
export const skipWithoutDescription = existsSync(FILE)
  ? false
  : `${FILE} is not here; name it in BERTH_ENGINE_API_SPEC`;

export interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly allOf?: readonly Schema[];
  readonly additionalProperties?: Schema | boolean;
  readonly enum?: readonly unknown[];
  readonly "x-nullable"?: boolean;
}

interface Operation {
  readonly responses: Readonly<Record<string, { readonly schema?: Schema }>>;
}

export interface Description {
  readonly info: { readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly definitions: Readonly<Record<string, Schema>>;
}

/** js-yaml wants the brackets that close an example deeper than its key; the description has them level with it. */
export const readDescription = (): Description =>
  load(readFileSync(FILE, "utf8").replace(/^( *)([}\]],?)$/gm, "$1  $2")) as Description;

export class EngineApi {
  readonly description = readDescription();

  /** What a status of an endpoint answers; undefined when the description knows no such status, null for no body. */
  response(method: string, route: string, status: number): Schema | null | undefined {
    const response = this.description.paths[route]?.[method.toLowerCase()]?.responses[String(status)];
    return response && (response.schema ?? null);
  }

  /** What in a value is not as the schema says: unknown, missing and null fields, wrong types, by path. */
  mismatches(value: unknown, schema: Schema, at = "$"): string[] {
    const { properties, required, ...plain } = this.#flat(schema);
    if (value === null || value === undefined) return plain["x-nullable"] === false ? [`${at}: null`] : [];
    if (plain.enum && typeof value !== "object" && !plain.enum.includes(value))
      return [`${at}: ${JSON.stringify(value)} is none of ${plain.enum.join(", ")}`];
    switch (plain.type) {
      case "array":
        if (!Array.isArray(value)) return [`${at}: no array`];
        return value.flatMap((item, index) => this.mismatches(item, plain.items ?? {}, `${at}[${index}]`));
      case "object":
        if (typeof value !== "object" || Array.isArray(value)) return [`${at}: no object`];
        return this.#fields(value as Record<string, unknown>, { ...plain, properties, required }, at);
      case "integer":
        return Number.isInteger(value) ? [] : [`${at}: ${JSON.stringify(value)} is no whole number`];
      case "string":
      case "number":
      case "boolean":
        return typeof value === plain.type ? [] : [`${at}: ${JSON.stringify(value)} is no ${plain.type}`];
      default:
        return [];
    }
  }

  /** Fields of the schema that the value lacks, by path: an answer may leave them out, and somebody should know. */
  absent(value: unknown, schema: Schema, at = "$"): string[] {
    const { properties = {}, items, additionalProperties } = this.#flat(schema);
    if (typeof value !== "object" || value === null) return [];
    if (Array.isArray(value)) return value.length > 0 && items ? this.absent(value[0], items, `${at}[]`) : [];
    const own = Object.entries(properties).flatMap(([name, property]) =>
      name in value
        ? this.absent((value as Record<string, unknown>)[name], property, `${at}.${name}`)
        : [`${at}.${name}`],
    );
    const [first] = Object.values(value);
    return typeof additionalProperties === "object" && own.length === 0
      ? this.absent(first, additionalProperties, `${at}.*`)
      : own;
  }

  #fields(value: Record<string, unknown>, schema: Schema, at: string): string[] {
    const missing = (schema.required ?? []).filter((name) => !(name in value)).map((name) => `${at}.${name}: missing`);
    const wrong = Object.entries(value).flatMap(([name, item]) => {
      const property = schema.properties?.[name];
      if (property) return this.mismatches(item, property, `${at}.${name}`);
      if (typeof schema.additionalProperties === "object")
        return this.mismatches(item, schema.additionalProperties, `${at}.${name}`);
      return schema.properties && !schema.additionalProperties ? [`${at}.${name}: unknown field`] : [];
    });
    return [...missing, ...wrong];
  }

  /** References and `allOf` resolved, one level deep. */
  #flat(schema: Schema): Schema {
    if (schema.$ref) return { ...this.#flat(this.description.definitions[schema.$ref.split("/").at(-1)!]!) };
    if (!schema.allOf) return schema;
    const parts = schema.allOf.map((part) => this.#flat(part));
    return {
      type: parts.find(({ type }) => type)?.type ?? "object",
      properties: Object.assign({}, ...parts.map(({ properties }) => properties ?? {})) as Record<string, Schema>,
      required: parts.flatMap(({ required }) => required ?? []),
      ...(parts.length === 1 && parts[0]!.enum ? { enum: parts[0]!.enum } : {}),
    };
  }
}
