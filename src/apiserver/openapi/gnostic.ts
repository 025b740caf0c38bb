/**
 * The version-2 document in gnostic's protobuf form (google/gnostic openapiv2/OpenAPIv2.proto), which kubectl up to 1.28 and client-go's
 * OpenAPISchema read and take no substitute for. Field numbers are that file's; what clients don't look at is left out.
 */
type Json = Readonly<Record<string, unknown>>;

export const GNOSTIC_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

export function encodeGnostic(document: Json): Buffer {
  const info = document["info"] as Json;
  return message(
    text(1, document["swagger"]),
    bytes(2, message(text(1, info["title"]), text(2, info["version"]))),
    bytes(8, message(...named(2, document["paths"] as Json, encodePath))),
    bytes(9, message(...named(1, document["definitions"] as Json, encodeSchema))),
  );
}

const message = (...parts: readonly Buffer[]): Buffer => Buffer.concat(parts);

function varint(value: number): Buffer {
  const out: number[] = [];
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 128)) out.push((left % 128) | 0x80);
  return Buffer.from([...out, left]);
}

const NOTHING = Buffer.alloc(0);

const bytes = (field: number, value: Buffer): Buffer =>
  Buffer.concat([varint(field * 8 + 2), varint(value.length), value]);
const text = (field: number, value: unknown): Buffer =>
  typeof value === "string" && value !== "" ? bytes(field, Buffer.from(value)) : NOTHING;
const texts = (field: number, values: unknown): Buffer =>
  Array.isArray(values) ? message(...values.map((value) => text(field, value))) : NOTHING;
const flag = (field: number, value: unknown): Buffer =>
  value === true ? Buffer.concat([varint(field * 8), varint(1)]) : NOTHING;

/** A map, as messages of name and value. */
function named(field: number, map: Json, encode: (value: Json) => Buffer): Buffer[] {
  return Object.entries(map).map(([name, value]) =>
    bytes(field, message(text(1, name), bytes(2, encode(value as Json)))),
  );
}

/** `x-…` fields, whose values travel as YAML; JSON is YAML. */
function extensions(field: number, owner: Json): Buffer {
  const found = Object.entries(owner).filter(([name]) => name.startsWith("x-"));
  return message(
    ...found.map(([name, value]) => bytes(field, message(text(1, name), bytes(2, text(2, JSON.stringify(value)))))),
  );
}

function encodeSchema(schema: Json): Buffer {
  const { additionalProperties, items, properties, type } = schema as Record<string, Json | undefined>;
  return message(
    text(1, schema["$ref"]),
    text(2, schema["format"]),
    text(4, schema["description"]),
    texts(19, schema["required"]),
    additionalProperties ? bytes(21, bytes(1, encodeSchema(additionalProperties))) : NOTHING,
    typeof type === "string" ? bytes(22, text(1, type)) : NOTHING,
    items ? bytes(23, bytes(1, encodeSchema(items))) : NOTHING,
    properties ? bytes(25, message(...named(1, properties, encodeSchema))) : NOTHING,
    extensions(31, schema),
  );
}

const METHODS: Readonly<Record<string, number>> = { get: 2, put: 3, post: 4, delete: 5, patch: 8 };

function encodePath(path: Json): Buffer {
  const operations = Object.entries(METHODS).filter(([method]) => path[method] !== undefined);
  return message(...operations.map(([method, field]) => bytes(field, encodeOperation(path[method] as Json))));
}

function encodeOperation(operation: Json): Buffer {
  const parameters = (operation["parameters"] ?? []) as Json[];
  const queries = parameters.filter((parameter) => parameter["in"] === "query");
  return message(
    text(5, operation["operationId"]),
    texts(6, operation["produces"]),
    texts(7, operation["consumes"]),
    // ParametersItem.parameter → Parameter.non_body_parameter → NonBodyParameter.query_parameter_sub_schema
    ...queries.map((query) => bytes(8, bytes(1, bytes(2, bytes(3, encodeQuery(query)))))),
    extensions(13, operation),
  );
}

function encodeQuery(query: Json): Buffer {
  return message(text(2, query["in"]), text(4, query["name"]), text(6, query["type"]), flag(20, query["uniqueItems"]));
}
