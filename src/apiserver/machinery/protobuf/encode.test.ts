import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import protobuf from "protobufjs";
import type { Schema } from "../../../api/index.ts";
import { readResourceFacts } from "../../schema/facts.ts";
import { decodeProtobuf } from "./decode.ts";
import { encodeProtobuf, encodeProtobufEvents, hasProtobuf } from "./encode.ts";

const RUNS_PER_KIND = 15;
const MAX_DEPTH = 5;
const SEED = 20261121;

const kinds = readResourceFacts().filter(
  ({ group, version, kind, schema }) => schema && hasProtobuf(apiVersion(group, version), kind),
);
function apiVersion(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

/** Objects as the schema allows them, with values whose zero Go leaves out left out too. */
function objectsOf(schema: Schema, depth: number): fc.Arbitrary<Record<string, unknown>> {
  // Inside of another, an object's own kind is not told in protobuf.
  const isObject = schema.properties?.["metadata"] !== undefined;
  const fields = Object.entries(schema.properties ?? {})
    .filter(([, field]) => depth < MAX_DEPTH || !isNested(field))
    .filter(([name]) => !isObject || (name !== "kind" && name !== "apiVersion"));
  const model = Object.fromEntries(fields.map(([name, field]) => [name, valuesOf(field, depth)]));
  return fc.record(model, { requiredKeys: [], noNullPrototype: true }) as fc.Arbitrary<Record<string, unknown>>;
}
const isNested = ({ type, properties, items, additionalProperties }: Schema): boolean =>
  type === "object" || properties !== undefined || additionalProperties !== undefined || items !== undefined;

const text = fc.string({ minLength: 1, maxLength: 5 });
const key = fc.stringMatching(/^[a-z]{1,4}$/);
const free = fc.dictionary(key, text, { maxKeys: 2, noNullPrototype: true });

function valuesOf(schema: Schema, depth: number): fc.Arbitrary<unknown> {
  const { type, format, items, additionalProperties, properties, name = "" } = schema;
  if (format === "quantity") return fc.constantFrom("1", "100m", "2Gi");
  if (format === "int-or-string") return fc.oneof(fc.integer({ min: 1, max: 65_535 }), fc.constantFrom("50%", "http"));
  if (format === "date-time")
    return name.endsWith("MicroTime")
      ? fc.constantFrom("2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05.000000Z")
      : fc.constantFrom("2026-01-02T03:04:05Z", "1999-12-31T23:59:59Z");
  if (format === "byte")
    return fc.uint8Array({ minLength: 1, maxLength: 6 }).map((bytes) => Buffer.from(bytes).toString("base64"));
  if (/JSONSchemaPropsOr/.test(name)) return fc.constant({ type: "string", minLength: 1 });
  if (schema.preserveUnknownFields) return free;
  if (items) return fc.array(valuesOf(items, depth + 1), { minLength: 1, maxLength: 2 });
  if (additionalProperties)
    return fc.dictionary(key, valuesOf(additionalProperties, depth + 1), {
      minKeys: 1,
      maxKeys: 2,
      noNullPrototype: true,
    });
  if (properties) return objectsOf(schema, depth + 1);
  switch (type) {
    case "integer":
      return fc.integer({ min: 1, max: format === "int32" ? 2 ** 31 - 1 : 2 ** 40 });
    case "number":
      return fc.double({ min: 0.5, max: 1e6, noNaN: true });
    case "boolean":
      return fc.constant(true);
    case "object":
      return free;
    default:
      return text;
  }
}

test("every kind that upstream has a message for comes back as it went", () => {
  assert.ok(kinds.length > 60, `only ${kinds.length} kinds`);
  for (const { group, version, kind, schema } of kinds) {
    const shape = objectsOf(schema as Schema, 0);
    const check = fc.property(shape, (fields) => {
      const object = { ...fields, apiVersion: apiVersion(group, version), kind };
      assert.deepEqual(decodeProtobuf(encodeProtobuf(object)), object, kind);
    });
    fc.assert(check, { numRuns: RUNS_PER_KIND, seed: SEED });
  }
});

test("a decoder that isn't ours reads the envelope and a Pod by upstream's field numbers", () => {
  const { root } = protobuf.parse(`syntax = "proto2";
    message Unknown { optional TypeMeta typeMeta = 1; optional bytes raw = 2; }
    message TypeMeta { optional string apiVersion = 1; optional string kind = 2; }
    message Pod { optional Meta metadata = 1; optional Spec spec = 2; optional PodStatus status = 3; }
    message Meta { optional string name = 1; optional Time creationTimestamp = 8; map<string, string> labels = 11; }
    message Time { optional int64 seconds = 1; optional int32 nanos = 2; }
    message Spec { repeated Container containers = 2; optional int64 terminationGracePeriodSeconds = 4; }
    message Container { optional string name = 1; repeated Port ports = 6; optional Resources resources = 8; }
    message Port { optional int32 hostPort = 2; optional int32 containerPort = 3; }
    message Resources { map<string, Quantity> limits = 1; }
    message Quantity { optional string string = 1; }
    message PodStatus { optional string phase = 1; }
    message WatchEvent { optional string type = 1; optional RawExtension object = 2; }
    message RawExtension { optional bytes raw = 1; }`);
  const read = (name: string, bytes: Uint8Array) => {
    const type = root.lookupType(name);
    return type.toObject(type.decode(bytes), { longs: Number }) as Record<string, unknown>;
  };
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p", creationTimestamp: "2026-01-02T03:04:05Z", labels: { app: "web" } },
    spec: {
      containers: [{ name: "c", ports: [{ containerPort: 80 }], resources: { limits: { cpu: "100m" } } }],
      terminationGracePeriodSeconds: 30,
    },
    status: { phase: "Running" },
  };
  const body = encodeProtobuf(pod);
  assert.deepEqual([...body.subarray(0, 4)], [0x6b, 0x38, 0x73, 0]);
  const { typeMeta, raw } = read("Unknown", body.subarray(4)) as { typeMeta: object; raw: Uint8Array };
  assert.deepEqual(typeMeta, { apiVersion: "v1", kind: "Pod" });
  assert.deepEqual(read("Pod", raw), {
    metadata: { name: "p", creationTimestamp: { seconds: 1_767_323_045, nanos: 0 }, labels: { app: "web" } },
    spec: {
      containers: [{ name: "c", ports: [{ containerPort: 80 }], resources: { limits: { cpu: { string: "100m" } } } }],
      terminationGracePeriodSeconds: 30,
    },
    status: { phase: "Running" },
  });

  const frames = encodeProtobufEvents([
    { type: "ADDED", object: pod },
    { type: "DELETED", object: pod },
  ]);
  const length = frames.readUInt32BE(0);
  const event = read("WatchEvent", frames.subarray(4, 4 + length)) as { type: string; object: { raw: Uint8Array } };
  assert.equal(event.type, "ADDED");
  assert.deepEqual(decodeProtobuf(event.object.raw), pod);
  assert.equal(frames.length, 4 + length + 4 + frames.readUInt32BE(4 + length));
});

test("a schema of a custom resource: names, unions and free values", () => {
  const schema = {
    type: "object",
    "x-kubernetes-preserve-unknown-fields": true,
    properties: {
      list: { type: "array", items: { type: "string" }, default: ["a"] },
      map: { type: "object", additionalProperties: true },
      closed: { type: "object", additionalProperties: false },
      rule: { type: "integer", minimum: 1.5, "x-kubernetes-validations": [{ rule: "self > 0" }] },
    },
  };
  const object = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    spec: {
      group: "x.io",
      versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  };
  assert.deepEqual(decodeProtobuf(encodeProtobuf(object)), object);
});
