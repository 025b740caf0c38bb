/**
 * Makes the shapes of what clients send to the Engine API out of its published description:
 *
 *     node scripts/generate-docker-bodies.ts ../shared/docker/engine-api-v1.50.yaml
 *
 * Writes src/docker/bodies.generated.json: per endpoint with a JSON body, the names and types of its fields (see src/docker/shape.ts). Facts only: the
 * description's prose stays upstream. The file is committed; run this for a new version.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { load } from "js-yaml";
import type { Shape } from "../src/docker/shape.ts";

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly allOf?: readonly Schema[];
  readonly additionalProperties?: Schema | boolean;
}
interface Operation {
  readonly parameters?: ReadonlyArray<{ readonly in: string; readonly schema?: Schema }>;
}
interface Description {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly definitions: Readonly<Record<string, Schema>>;
}

const root = path.resolve(import.meta.dirname, "..");
const source = path.resolve(process.argv[2] ?? path.join(root, "../shared/docker/engine-api-v1.50.yaml"));
// js-yaml wants the brackets that close an example deeper than its key; the description has them level with it.
const description = load(readFileSync(source, "utf8").replace(/^( *)([}\]],?)$/gm, "$1  $2")) as Description;

/** Where Docker also takes one text for a list of texts. */
const WORDS = new Set(["Cmd", "Entrypoint", "Shell"]);
const MAX_DEPTH = 20;

function shapeOf(schema: Schema, depth = 0): Shape {
  if (depth > MAX_DEPTH) return "any";
  if (schema.$ref) return shapeOf(description.definitions[schema.$ref.split("/").at(-1)!]!, depth + 1);
  const parts = [schema, ...(schema.allOf ?? [])];
  if (schema.allOf) {
    const shapes = parts
      .filter((part) => part.$ref ?? part.properties)
      .map((part) => shapeOf({ ...part, ...(part === schema ? { allOf: undefined } : {}) } as Schema, depth + 1));
    return Object.assign({}, ...shapes.filter((shape) => typeof shape === "object"));
  }
  if (schema.properties)
    return Object.fromEntries(
      Object.entries(schema.properties).map(([name, value]) => [name, fieldShape(name, value, depth + 1)]),
    );
  switch (schema.type) {
    case "string":
      return "text";
    case "boolean":
      return "flag";
    case "integer":
      return "int";
    case "number":
      return "number";
    case "array":
      return [shapeOf(schema.items ?? {}, depth + 1)];
    case "object":
      return typeof schema.additionalProperties === "object"
        ? { "*": shapeOf(schema.additionalProperties, depth + 1) }
        : "object";
    default:
      return "any";
  }
}

function fieldShape(name: string, schema: Schema, depth: number): Shape {
  const shape = shapeOf(schema, depth);
  return WORDS.has(name) && Array.isArray(shape) ? "words" : shape;
}

const bodies: Record<string, Shape> = {};
for (const [template, operations] of Object.entries(description.paths)) {
  for (const [method, operation] of Object.entries(operations)) {
    const body = operation.parameters?.find((parameter) => parameter.in === "body")?.schema;
    const shape = body && shapeOf(body);
    if (typeof shape === "object" && !/^\/(swarm|nodes|services|secrets|configs|plugins)/.test(template))
      bodies[`${method.toUpperCase()} ${template}`] = shape;
  }
}
writeFileSync(path.join(root, "src/docker/bodies.generated.json"), JSON.stringify(bodies) + "\n");
