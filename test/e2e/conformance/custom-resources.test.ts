/** What upstream's conformance suite asks of custom resources, discovery of them, and strict fields. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { APPLY, eventually, JSON_PATCH } from "./client.ts";
import { clusterApi } from "./cluster.ts";

const api = clusterApi();

const encoded = encodeURIComponent;

const AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
async function aggregated(path: string, group: string, version: string, resource: string): Promise<boolean> {
  const { items } = await api.ok("GET", path, { headers: { accept: AGGREGATED } });
  const versions =
    items.find((item: { metadata: { name?: string } }) => (item.metadata.name ?? "") === group)?.versions ?? [];
  return versions.some(
    (entry: { version: string; resources: Array<{ resource: string }> }) =>
      entry.version === version && entry.resources.some((found) => found.resource === resource),
  );
}

test("aggregated discovery has what is built in and what is defined", async () => {
  assert.ok(await aggregated("/api", "", "v1", "namespaces"));
  for (const [group, version, resource] of [
    ["admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"],
    ["apiextensions.k8s.io", "v1", "customresourcedefinitions"],
    ["apiregistration.k8s.io", "v1", "apiservices"],
    ["authentication.k8s.io", "v1", "tokenreviews"],
    ["autoscaling", "v1", "horizontalpodautoscalers"],
    ["autoscaling", "v2", "horizontalpodautoscalers"],
    ["storage.k8s.io", "v1", "csinodes"],
  ] as const)
    assert.ok(await aggregated("/apis", group, version, resource), `${resource}.${version}.${group}`);
  const definition = await define("discovered", ANYTHING);
  await eventually("the custom resource in discovery", () =>
    aggregated("/apis", definition.group, "v1", definition.plural),
  );
});

const ANYTHING = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async function define(plural: string, schema: object, more: object = {}, version: object = {}) {
  const group = "conformance.example.com";
  await api.ok("POST", CRDS, {
    body: {
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `${plural}.${group}`, labels: { run: plural } },
      spec: {
        group,
        scope: "Cluster",
        names: {
          plural,
          singular: plural.slice(0, -1),
          kind: plural.toUpperCase(),
          listKind: `${plural.toUpperCase()}List`,
        },
        versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: schema }, ...version }],
        ...more,
      },
    },
  });
  const at = `/apis/${group}/v1/${plural}`;
  await eventually(`${plural} are served`, async () => (await api.call("GET", at)).status === 200);
  return {
    group,
    plural,
    at,
    crd: `${CRDS}/${plural}.${group}`,
    kind: plural.toUpperCase(),
    apiVersion: `${group}/v1`,
  };
}

const deploymentText = (extra: { meta?: string; spec?: string }) =>
  `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"my-dep",${extra.meta ?? ""}"labels":{"app":"nginx"}},"spec":{${extra.spec ?? ""}"selector":{"matchLabels":{"app":"nginx"}},"template":{"metadata":{"labels":{"app":"nginx"}},"spec":{"containers":[{"name":"nginx","image":"nginx:latest"}]}}}}`;

test("strict fields: unknown and repeated ones of built-in kinds and of custom ones", async () => {
  const deployments = "/apis/apps/v1/namespaces/default/deployments?fieldManager=m&fieldValidation=Strict";
  const message = async (text: string) => String((await api.call("POST", deployments, { body: text })).body.message);
  assert.match(
    await message(deploymentText({ spec: '"unknownField":"foo","replicas":2,"replicas":3,' })),
    /strict decoding error: unknown field "spec\.unknownField", duplicate field "spec\.replicas"/,
  );
  assert.match(
    await message(deploymentText({ meta: '"unknownMeta":"foo",' })),
    /strict decoding error: unknown field "metadata\.unknownMeta"/,
  );
  const ports = {
    type: "array",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "x-kubernetes-list-type": "map",
    items: {
      type: "object",
      required: ["containerPort", "protocol"],
      properties: {
        containerPort: { format: "int32", type: "integer" },
        name: { type: "string" },
        protocol: { type: "string" },
      },
    },
  };
  const cronSpec = { type: "string", pattern: "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$" };
  const strict = {
    type: "object",
    properties: { spec: { type: "object", properties: { foo: { type: "string" }, cronSpec, ports } } },
  };
  const template = {
    type: "object",
    "x-kubernetes-embedded-resource": true,
    properties: { metadata: { type: "object", properties: { name: { type: "string" } } }, spec: { type: "object" } },
  };
  const loose = {
    type: "object",
    properties: {
      spec: {
        type: "object",
        "x-kubernetes-preserve-unknown-fields": true,
        properties: { foo: { type: "string" }, template, cronSpec, ports },
      },
    },
  };
  const [valid, any, mixed] = await Promise.all([
    define("stricts", strict),
    define("anythings", ANYTHING),
    define("mixeds", loose),
  ]);
  const apply = async (crd: typeof valid, extra: { meta?: string; root?: string; spec?: string }) => {
    const text = `
apiVersion: ${crd.apiVersion}
kind: ${crd.kind}
metadata:
  name: mytest
${extra.meta ?? ""}  finalizers:
  - test-finalizer
${extra.root ?? ""}spec:
${extra.spec ?? ""}  cronSpec: "* * * * */5"
  ports:
  - name: x
    containerPort: 80
    protocol: TCP`;
    return api.call("PATCH", `${crd.at}/mytest?fieldManager=m&fieldValidation=Strict`, {
      body: text,
      headers: { "content-type": APPLY },
    });
  };
  assert.equal((await apply(any, { spec: "  unknown: uk1\n" })).status, 201);
  const refused = await apply(valid, { root: "unknownField: unknown\n", spec: "  foo: foo1\n" });
  assert.match(refused.body.message, /\.unknownField: field not declared in schema/);
  assert.equal((await apply(valid, { spec: "  foo: foo1\n" })).status, 201);
  const meta = await apply(mixed, {
    meta: "  unknownMeta: unknown\n",
    spec: "  template:\n    apiversion: foo/v1\n    kind: Sub\n    metadata:\n      unknownSubMeta: unknown\n      name: subobject\n",
  });
  assert.match(meta.body.message, /\.metadata\.unknown(Sub)?Meta: field not declared in schema/);
  const twice = await apply(mixed, { spec: "  unknown: uk1\n  foo: foo1\n  foo: foo2\n" });
  assert.match(twice.body.message, /line 11: key "foo" already set in map/);
});

test("defaults of custom resources: for requests, and for what was stored before", async () => {
  const schema = (properties: object) => ({ type: "object", properties });
  const definition = await define("defaults", schema({ a: { type: "string" }, b: { type: "string" } }));
  const body = (name: string) => ({ apiVersion: definition.apiVersion, kind: definition.kind, metadata: { name } });
  await api.ok("POST", definition.at, { body: body("one") });
  const replace = (properties: object) =>
    api.patch(
      definition.crd,
      [{ op: "replace", path: "/spec/versions/0/schema/openAPIV3Schema", value: schema(properties) }],
      JSON_PATCH,
    );
  await replace({ a: { type: "string", default: "A" }, b: { type: "string" } });
  await eventually(
    "the default in what was stored",
    async () => (await api.ok("GET", `${definition.at}/one`)).a === "A",
  );
  assert.equal((await api.ok("POST", definition.at, { body: body("two") })).a, "A");
  await replace({ a: { type: "string" }, b: { type: "string", default: "B" } });
  const two = await eventually("the other default", async () => {
    const object = await api.ok("GET", `${definition.at}/two`);
    return object.b === "B" && object;
  });
  assert.equal(two.a, "A", "what was stored stays");
  assert.equal((await api.ok("GET", `${definition.at}/one`)).a, undefined);
});

test("definitions themselves: status, list by label, deletecollection, watches of their objects", async () => {
  const definition = await define("statuses", ANYTHING);
  const status = await api.ok("GET", `${definition.crd}/status`);
  status.status.conditions.push({
    type: "StatusUpdate",
    status: "True",
    reason: "E2E",
    message: "Set from an e2e test",
  });
  const updated = await api.call("PUT", `${definition.crd}/status`, { body: status });
  assert.ok([200, 409].includes(updated.status), JSON.stringify(updated.body));
  const condition = { type: "StatusPatched", status: "True", reason: "E2E", message: "Set by patch" };
  const patched = await api.patch(`${definition.crd}/status`, {
    status: { conditions: [...status.status.conditions, condition] },
  });
  assert.ok(patched.status.conditions.some(({ type }: { type: string }) => type === "StatusPatched"));
  const watch = await api.watch(definition.at);
  try {
    const object = { apiVersion: definition.apiVersion, kind: definition.kind, metadata: { name: "seen" } };
    await api.ok("POST", definition.at, { body: object });
    assert.equal((await watch.next()).type, "ADDED");
    await api.patch(`${definition.at}/seen`, { dummy: "test" });
    assert.equal((await watch.next()).type, "MODIFIED");
    await api.ok("DELETE", `${definition.at}/seen`);
    assert.equal((await watch.next()).type, "DELETED");
  } finally {
    watch.close();
  }
  assert.equal((await api.ok("GET", `${CRDS}?labelSelector=run%3Dstatuses`)).items.length, 1);
  await api.ok("DELETE", `${CRDS}?labelSelector=run%3Dstatuses`);
  await eventually("the definition is gone", async () => (await api.call("GET", definition.crd)).status === 404);
});

test("selection of custom resources by the fields that their definition names", async () => {
  const schema = { type: "object", properties: { host: { type: "string" }, port: { type: "string" } } };
  const definition = await define(
    "selectables",
    schema,
    {},
    { selectableFields: [{ jsonPath: ".host" }, { jsonPath: ".port" }] },
  );
  const make = (name: string, host: string) =>
    api.ok("POST", definition.at, {
      body: { apiVersion: definition.apiVersion, kind: definition.kind, metadata: { name }, host, port: "80" },
    });
  await Promise.all([make("one", "host1"), make("two", "host2"), make("three", "host1")]);
  const watch = await api.watch(`${definition.at}?fieldSelector=host%3Dhost1`);
  try {
    const names = async (query: string) =>
      (await api.ok("GET", `${definition.at}?fieldSelector=${encoded(query)}`)).items
        .map((item: { metadata: { name: string } }) => item.metadata.name)
        .sort();
    assert.deepEqual(await names("host=host1"), ["one", "three"]);
    assert.deepEqual(await names("host=host1,port=81"), []);
    assert.deepEqual([(await watch.next()).type, (await watch.next()).type], ["ADDED", "ADDED"]);
    await api.patch(`${definition.at}/one`, { host: "host9" });
    assert.equal((await watch.next()).type, "DELETED");
    await api.ok("DELETE", `${definition.at}?fieldSelector=host%3Dhost1`);
    assert.deepEqual(await names(""), ["one", "two"]);
  } finally {
    watch.close();
  }
});

/** The type of a custom kind in OpenAPI's version 2, or undefined where it is not published. */
async function published(version: string, plural: string, group = "conformance.example.com") {
  const { definitions } = await api.ok("GET", "/openapi/v2");
  return definitions[`${group.split(".").toReversed().join(".")}.${version}.${plural.toUpperCase()}`];
}

test("OpenAPI has what is defined: with a schema, without one, open at the root and further in", async () => {
  const preserve = { "x-kubernetes-preserve-unknown-fields": true };
  const bars = {
    type: "array",
    items: { type: "object", required: ["name"], properties: { name: { type: "string" } } },
  };
  const schema = {
    type: "object",
    description: "Foo CRD for Testing",
    properties: { spec: { type: "object", description: "Specification of Foo", properties: { bars } } },
  };
  await define("published", schema);
  const shown = await eventually("a type with its schema", () => published("v1", "published"));
  assert.equal(shown.description, "Foo CRD for Testing");
  assert.deepEqual(shown.properties.spec, schema.properties.spec);
  assert.match(shown.properties.metadata.$ref, /ObjectMeta$/);
  assert.deepEqual(shown["x-kubernetes-group-version-kind"], [
    { group: "conformance.example.com", version: "v1", kind: "PUBLISHED" },
  ]);
  await define("empties", ANYTHING);
  const open = await eventually("a type that knows nothing", () => published("v1", "empties"));
  assert.deepEqual([open.type, open.properties?.spec], ["object", undefined]);
  await define("embeddeds", { type: "object", properties: { spec: { type: "object", ...preserve, properties: {} } } });
  const { properties } = await eventually("a type that is open further in", () => published("v1", "embeddeds"));
  assert.equal(properties.spec["x-kubernetes-preserve-unknown-fields"], true);
});

test("OpenAPI follows definitions: several groups, several versions, renamed and withdrawn ones", async () => {
  const schema = { openAPIV3Schema: { type: "object", properties: { size: { type: "integer" } } } };
  const version = (name: string, storage: boolean, served = true) => ({ name, served, storage, schema });
  const versions = [version("v2", true), version("v3", false)];
  const { crd } = await define("movings", schema.openAPIV3Schema, { versions: [version("v1", true)] });
  await define("stayings", schema.openAPIV3Schema);
  await eventually(
    "two kinds of one version",
    async () => (await published("v1", "movings")) && (await published("v1", "stayings")),
  );
  const other = { group: "other.example.com", scope: "Cluster", names: { plural: "movings", kind: "MOVINGS" } };
  await api.ok("POST", CRDS, {
    body: { metadata: { name: "movings.other.example.com" }, spec: { ...other, versions } },
  });
  await eventually(
    "another group with two versions",
    async () => (await published("v2", "movings", other.group)) && (await published("v3", "movings", other.group)),
  );
  // Renamed: v1 goes, v4 comes.
  const kept = version("v1", true);
  await api.patch(crd, { spec: { versions: [kept, version("v4", false)] } });
  await eventually("a new version", () => published("v4", "movings"));
  await api.patch(crd, { spec: { versions: [kept, version("v5", false)] } });
  await eventually(
    "the renamed one",
    async () => (await published("v5", "movings")) && !(await published("v4", "movings")),
  );
  assert.ok(await published("v1", "movings"));
  // Withdrawn, and back again.
  await api.patch(crd, { spec: { versions: [kept, version("v5", false, false)] } });
  await eventually("no withdrawn version", async () => !(await published("v5", "movings")));
  assert.ok(await published("v1", "stayings"));
  await api.patch(crd, { spec: { versions: [kept, version("v5", false)] } });
  await eventually("it again", () => published("v5", "movings"));
  await api.ok("DELETE", crd);
  await eventually(
    "nothing of it",
    async () => !(await published("v1", "movings")) && !(await published("v5", "movings")),
  );
});
