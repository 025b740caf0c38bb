import type { JsonSchema } from "../../cel/index.ts";
import type { KubeClient } from "../../client/index.ts";

export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

type Schema = Record<string, unknown>;
interface Document {
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> };
}
interface ResourceList {
  readonly resources?: readonly { readonly name: string; readonly kind: string }[];
}

/** What the server publishes of its kinds: their names and their schemas. Nothing is kept longer than one policy is looked at. */
export class PublishedSchemas {
  readonly #client: KubeClient;
  readonly #signal: AbortSignal;
  readonly #answers = new Map<string, Promise<unknown>>();

  constructor(client: KubeClient, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
  }

  /** The kind that a resource has, undefined for one that is not served. */
  async kindOf(group: string, version: string, resource: string): Promise<GroupVersionKind | undefined> {
    const { resources = [] } = await this.#read<ResourceList>(`/${pathOf(group, version)}`);
    const found = resources.find(({ name }) => name === resource);
    return found && { group, version, kind: found.kind };
  }

  /** A kind's schema without references; undefined when it has none, or one that refers to itself. */
  async schemaOf({ group, version, kind }: GroupVersionKind): Promise<JsonSchema | undefined> {
    const { components } = await this.#read<Document>(`/openapi/v3/${pathOf(group, version)}`);
    const schemas = components?.schemas ?? {};
    const found = Object.values(schemas).find((schema) => {
      const kinds = (schema["x-kubernetes-group-version-kind"] ?? []) as GroupVersionKind[];
      return kinds.some((one) => one.group === group && one.version === version && one.kind === kind);
    });
    return found && (inlined(found, schemas, new Set()) as JsonSchema | undefined);
  }

  async #read<T>(path: string): Promise<T> {
    let answer = this.#answers.get(path);
    if (answer === undefined) this.#answers.set(path, (answer = this.#ask(path)));
    return (await answer) as T;
  }

  async #ask(path: string): Promise<unknown> {
    try {
      const { object, body } = await this.#client.send({ method: "GET", path, signal: this.#signal });
      return object ?? JSON.parse(Buffer.from(body ?? []).toString());
    } catch {
      return {}; // A group that is not served (yet) has nothing to check against; upstream skips it too.
    }
  }
}

const pathOf = (group: string, version: string): string =>
  group === "" ? `api/${version}` : `apis/${group}/${version}`;

/** A schema with what it refers to in its place; undefined below a reference to itself. */
function inlined(
  schema: Schema,
  all: Readonly<Record<string, Schema>>,
  within: ReadonlySet<string>,
): Schema | undefined {
  const reference = referenceOf(schema);
  if (reference !== undefined) {
    const name = reference.replace("#/components/schemas/", "");
    const target = all[name];
    return target === undefined || within.has(name) ? undefined : inlined(target, all, new Set([...within, name]));
  }
  const copy: Schema = { ...schema };
  if (schema["format"] === "int-or-string") copy["x-kubernetes-int-or-string"] = true;
  for (const field of ["items", "additionalProperties"])
    if (isSchema(schema[field])) copy[field] = inlined(schema[field], all, within);
  if (isSchema(schema["properties"]))
    copy["properties"] = Object.fromEntries(
      Object.entries(schema["properties"]).flatMap(([name, inner]) => {
        const found = isSchema(inner) ? inlined(inner, all, within) : undefined;
        return found === undefined ? [] : [[name, found]];
      }),
    );
  return copy;
}

function referenceOf(schema: Schema): string | undefined {
  if (typeof schema["$ref"] === "string") return schema["$ref"];
  const [only, more] = (schema["allOf"] ?? []) as Schema[];
  return more === undefined && typeof only?.["$ref"] === "string" ? only["$ref"] : undefined;
}

const isSchema = (value: unknown): value is Schema => typeof value === "object" && value !== null;
