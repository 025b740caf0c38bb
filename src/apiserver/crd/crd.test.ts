import assert from "node:assert/strict";
import { test } from "node:test";

import type { k8s, KubeObject } from "../../api/index.ts";
import type { StrategyContext } from "../machinery/kind.ts";
import { builtinKinds } from "../resources/index.ts";
import { findConflict, statusFor } from "./conditions.ts";
import { conversionFor } from "./conversion.ts";
import { compileJsonPath } from "./json-path.ts";
import { kindsOf } from "./kinds.ts";
import { compileCel } from "../../cel/index.ts";

const context: StrategyContext = { user: { name: "admin", groups: [] }, nowMs: 0, subresource: "", dryRun: false };

const schema: k8s.JSONSchemaProps = {
  type: "object",
  properties: {
    spec: {
      type: "object",
      required: ["cron"],
      "x-kubernetes-validations": [{ rule: "self.replicas <= self.max", message: "replicas must not exceed max" }],
      properties: {
        cron: { type: "string", pattern: "^[0-9*]+( [0-9*]+)*$" },
        replicas: { type: "integer", minimum: 1, default: 1 },
        max: { type: "integer", default: 10 },
        mode: { type: "string", enum: ["fast", "slow"], "x-kubernetes-validations": [{ rule: "self == oldSelf" }] },
        port: { "x-kubernetes-int-or-string": true },
        tags: { type: "array", items: { type: "string" }, "x-kubernetes-list-type": "set" },
      },
    },
    status: { type: "object", properties: { replicas: { type: "integer" } } },
  },
};

const definition = (more: Partial<k8s.CustomResourceDefinitionSpec> = {}): k8s.CustomResourceDefinition => ({
  metadata: { name: "crontabs.example.com" },
  spec: {
    group: "example.com",
    scope: "Namespaced",
    names: { plural: "crontabs", singular: "crontab", kind: "CronTab", shortNames: ["ct"] },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: schema },
        subresources: {
          status: {},
          scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas" },
        },
        additionalPrinterColumns: [{ name: "Replicas", type: "integer", jsonPath: ".spec.replicas" }],
        selectableFields: [{ jsonPath: ".spec.mode" }],
      },
    ],
    ...more,
  },
});

const [kind] = kindsOf(definition(), () => undefined);
const strategy = kind!.strategy;
const make = (spec: object): KubeObject => ({ metadata: { name: "x", namespace: "default" }, spec });
const problems = (spec: object, old?: object): string[] => {
  const object = make(spec);
  strategy.fillDefaults!(object);
  const errors =
    old === undefined ? strategy.validate!(object, context) : strategy.validateUpdate!(object, make(old), context);
  return errors.map(({ field, detail }) => `${field}: ${detail}`);
};

test("a definition becomes a kind with its subresources, columns and selectable fields", () => {
  assert.equal(kind!.plural, "crontabs");
  assert.equal(kind!.custom, true);
  assert.equal(strategy.hasStatus, true);
  assert.equal(strategy.scale?.specReplicas, "spec.replicas");
  assert.deepEqual(
    strategy.columns?.map((column) => column.cell(make({ replicas: 3 }), 0)),
    ["x", 3],
  );
  assert.equal(strategy.selectableFields?.["spec.mode"]?.(make({ mode: "fast" })), "fast");
  assert.equal(kind!.schema.properties!["spec"]!.properties!["port"]!.format, "int-or-string");
});

test("defaults are filled, and values held to the schema in upstream's words", () => {
  assert.deepEqual(problems({ cron: "* *" }), []);
  assert.deepEqual(problems({}), ["spec.cron: Required value"]);
  assert.deepEqual(problems({ cron: "x", replicas: 0, mode: "odd", port: true, tags: ["a", "a"] }), [
    "spec.cron: Invalid value: \"x\": spec.cron in body should match '^[0-9*]+( [0-9*]+)*$'",
    "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
    'spec.mode: Unsupported value: "odd": supported values: "fast", "slow"',
    'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
    'spec.tags[1]: Duplicate value: "a"',
  ]);
  assert.deepEqual(problems({ cron: 5 }), [
    'spec.cron: Invalid value: "integer": spec.cron in body must be of type string: "integer"',
  ]);
});

test("CEL rules hold, and transition rules only when there is an old value", async () => {
  const broken = async (spec: object, old?: object): Promise<string[]> => {
    const object = make(spec);
    strategy.fillDefaults!(object);
    const errors = await strategy.validateExpressions!(object, old && make(old));
    return errors.map(({ field, detail }) => `${field}: ${detail}`);
  };
  assert.deepEqual(await broken({ cron: "*", replicas: 11 }), [
    'spec: Invalid value: "object": replicas must not exceed max',
  ]);
  assert.deepEqual(await broken({ cron: "*", mode: "slow" }), []);
  assert.deepEqual(await broken({ cron: "*", mode: "slow" }, { cron: "*", mode: "fast" }), [
    'spec.mode: Invalid value: "string": failed rule: self == oldSelf',
  ]);
});

test("names are given to whoever comes first, and the conditions say so", () => {
  const first = definition();
  const status = statusFor(first, findConflict(first, []), 0)!;
  assert.deepEqual(
    status.conditions?.map(({ type, status: value }) => `${type}=${value}`),
    ["NamesAccepted=True", "Established=True"],
  );
  assert.deepEqual(status.storedVersions, ["v1"]);
  assert.equal(statusFor({ ...first, status }, undefined, 1), undefined);
  const rival = {
    ...definition({ names: { plural: "tabs", kind: "CronTab" } }),
    metadata: { name: "tabs.example.com" },
  };
  assert.deepEqual(findConflict(rival, [{ ...first, status }]), {
    reason: "KindConflict",
    message: '"CronTab" is already in use',
  });
});

test("versions convert by name alone, or by a webhook that may not touch the rest of metadata", async () => {
  const versions = ["v1", "v2"].map((name) => ({ name, served: true, storage: name === "v1" }));
  const object = { ...make({ cron: "*" }), apiVersion: "example.com/v1", kind: "CronTab" };
  const none = conversionFor(
    definition({ versions }),
    "v2",
    () => assert.fail("no webhook to call"),
    () => "u",
  );
  assert.equal((await none.fromStorage([object]))[0]!.apiVersion, "example.com/v2");
  const clientConfig = { url: "https://localhost/convert" };
  const conversion = { strategy: "Webhook", webhook: { clientConfig, conversionReviewVersions: ["v1"] } };
  const hook = conversionFor(
    definition({ versions, conversion }),
    "v2",
    (_config, review) => {
      const { request } = review as { request: { uid: string; objects: KubeObject[]; desiredAPIVersion: string } };
      const convertedObjects = request.objects.map((one) => ({
        ...one,
        apiVersion: request.desiredAPIVersion,
        metadata: { name: "stolen" },
      }));
      return Promise.resolve({ response: { uid: request.uid, result: { status: "Success" }, convertedObjects } });
    },
    () => "u",
  );
  const [converted] = await hook.fromStorage([object]);
  assert.equal(converted!.apiVersion, "example.com/v2");
  assert.equal(converted!.metadata.name, "x");
});

test("what was stored before another version was is converted too, in that version as well", async () => {
  const versions = ["v1", "v2"].map((name) => ({ name, served: true, storage: name === "v2", schema: {} }));
  const kindsWhen = (storedVersions: string[]) => {
    const { metadata, spec } = definition({ versions });
    const status = { acceptedNames: spec.names, storedVersions };
    const moved = { metadata, spec, status };
    return kindsOf(moved, (version) =>
      conversionFor(
        moved,
        version,
        () => Promise.reject(new Error("asked")),
        () => "u",
      ),
    );
  };
  const stored = { apiVersion: "example.com/v1", kind: "CronTab", metadata: { name: "a" } };
  const [, before] = kindsWhen(["v1", "v2"]);
  const [shown] = await before!.conversion!.fromStorage([stored]);
  assert.equal(shown!.apiVersion, "example.com/v2");
  const [, after] = kindsWhen(["v2"]);
  assert.equal(after!.conversion, undefined);
});

test("paths of columns: fields, indexes, filters, escaped dots", () => {
  const object = {
    metadata: { labels: { "a.b/c": "d" } },
    status: {
      conditions: [
        { type: "Ready", status: "True" },
        { type: "Live", status: "False" },
      ],
      list: [1, 2],
    },
  };
  const read = (path: string) => compileJsonPath(path)(object);
  assert.deepEqual(read(".status.list[1]"), [2]);
  assert.deepEqual(read(".status.list[*]"), [1, 2]);
  assert.deepEqual(read('.status.conditions[?(@.type=="Live")].status'), ["False"]);
  assert.deepEqual(read(".metadata.labels.a\\.b/c"), ["d"]);
  assert.deepEqual(read(".metadata.labels['a\\.b/c']"), ["d"]);
  assert.deepEqual(read(".nothing.here"), []);
});

test("a definition without types or with two storage versions is refused", () => {
  const crds = builtinKinds().find(({ plural }) => plural === "customresourcedefinitions")!;
  const bad = definition({
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: "object", properties: { spec: {} } } },
      },
      { name: "v2", served: true, storage: true },
    ],
  });
  assert.deepEqual(
    crds.strategy.validate!(bad as KubeObject, context).map(({ field }) => field),
    [
      "spec.versions",
      "spec.versions[0].schema.openAPIV3Schema.properties[spec].type",
      "spec.versions[1].schema.openAPIV3Schema",
    ],
  );
});

test("what Kubernetes adds to CEL", () => {
  const value = (expression: string): unknown =>
    compileCel(expression)({ self: { list: [1n, 3n, 2n], text: "a-22-b" } });
  assert.equal(value("quantity('1Gi').isGreaterThan(quantity('100Mi'))"), true);
  assert.equal(value("quantity('1500m').add(quantity('500m')).asInteger() == 2"), true);
  assert.equal(value("isQuantity('nope')"), false);
  assert.equal(value("self.list.isSorted() || self.list.max() == 3"), true);
  assert.equal(value("self.text.find('[0-9]+')"), "22");
  assert.equal(value("isURL('https://a.b') && isIP('::1') && isCIDR('10.0.0.0/8')"), true);
});

test("a deprecated version warns, in its own words if it has any", () => {
  const version = definition().spec.versions[0]!;
  const warningOf = (more: Partial<k8s.CustomResourceDefinitionVersion>) =>
    kindsOf(definition({ versions: [{ ...version, ...more }] }), () => undefined)[0]!.strategy.deprecation;
  assert.equal(warningOf({}), undefined);
  assert.equal(warningOf({ deprecated: true }), "example.com/v1 CronTab is deprecated");
  assert.equal(warningOf({ deprecated: true, deprecationWarning: "use v2" }), "use v2");
});
