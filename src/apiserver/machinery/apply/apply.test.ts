import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "../../../api/index.ts";
import { startFixture, type Fixture } from "../testing/fixture.ts";
import { FieldSet, formatPath } from "./field-set.ts";

const WIDGETS = "/apis/example.io/v1/namespaces/default/widgets";
const WIDGET = `${WIDGETS}/w`;
const type = { "content-type": "application/apply-patch+yaml" };
const merge = { "content-type": "application/merge-patch+json" };
const config = (spec: object, metadata: object = {}) => ({
  apiVersion: "example.io/v1",
  kind: "Widget",
  metadata,
  spec,
});

const apply = (api: Fixture, manager: string, spec: object, more = "") =>
  api.ok("PATCH", `${WIDGET}?fieldManager=${manager}${more}`, config(spec), type);
const fieldsOf = ({ metadata }: KubeObject, manager: string) =>
  metadata.managedFields?.find((entry) => entry.manager === manager)?.fieldsV1;

test("apply creates, owns what it states, and removes what it no longer states", async () => {
  await using api = await startFixture();
  const created = await apply(api, "a", { color: "red", replicas: 1, parts: [{ name: "x", image: "1" }] });
  assert.deepEqual(fieldsOf(created, "a"), {
    "f:spec": {
      "f:color": {},
      "f:parts": { 'k:{"name":"x"}': { ".": {}, "f:image": {}, "f:name": {} } },
      "f:replicas": {},
    },
  });
  const less = await apply(api, "a", { replicas: 1 });
  assert.deepEqual(less["spec"], { replicas: 1 });
  const same = await apply(api, "a", { replicas: 1 });
  assert.equal(same.metadata.resourceVersion, less.metadata.resourceVersion);
});

test("two managers merge keyed lists, and each removes only its own", async () => {
  await using api = await startFixture();
  await apply(api, "a", { parts: [{ name: "x", image: "1" }], tags: ["one"] });
  const both = await apply(api, "b", { parts: [{ name: "y" }, { name: "x", size: 2 }], tags: ["two"] });
  assert.deepEqual(both["spec"], { parts: [{ name: "y" }, { name: "x", image: "1", size: 2 }], tags: ["one", "two"] });
  const left = await apply(api, "a", { replicas: 3 });
  assert.deepEqual(left["spec"], { parts: [{ name: "y" }, { name: "x", size: 2 }], tags: ["two"], replicas: 3 });
});

test("a conflict names the other manager and the fields, and force takes them over", async () => {
  await using api = await startFixture();
  await apply(api, "a", { color: "red", replicas: 1 });
  const one = await api.refused("PATCH", `${WIDGET}?fieldManager=b`, config({ color: "blue" }), type);
  assert.deepEqual([one.code, one.reason], [409, "Conflict"]);
  assert.equal(one.message, 'Apply failed with 1 conflict: conflict with "a": .spec.color');
  assert.deepEqual(one.details?.causes, [
    { reason: "FieldManagerConflict", message: 'conflict with "a"', field: ".spec.color" },
  ]);
  await api.ok("PATCH", `${WIDGET}?fieldManager=c`, { spec: { replicas: 5 } }, merge);
  const two = await api.refused("PATCH", `${WIDGET}?fieldManager=b`, config({ color: "blue", replicas: 2 }), type);
  assert.equal(
    two.message,
    'Apply failed with 2 conflicts: conflicts with "a":\n- .spec.color\nconflicts with "c" using example.io/v1 at 2026-01-01T00:00:00Z:\n- .spec.replicas',
  );
  const forced = await apply(api, "b", { color: "blue" }, "&force=true");
  assert.deepEqual([fieldsOf(forced, "a"), fieldsOf(forced, "b")], [undefined, { "f:spec": { "f:color": {} } }]);
});

test("stating the same value shares it without a conflict", async () => {
  await using api = await startFixture();
  await apply(api, "a", { color: "red" });
  const shared = await apply(api, "b", { color: "red" });
  assert.deepEqual(
    [fieldsOf(shared, "a"), fieldsOf(shared, "b")],
    [{ "f:spec": { "f:color": {} } }, { "f:spec": { "f:color": {} } }],
  );
  const left = await apply(api, "a", { replicas: 1 });
  assert.deepEqual(left["spec"], { color: "red", replicas: 1 });
});

test("updates take over what they change, and status has managers of its own", async () => {
  await using api = await startFixture();
  const created = await api.ok(
    "POST",
    `${WIDGETS}?fieldManager=maker`,
    config({ color: "red", parts: [{ name: "x" }] }, { name: "w" }),
  );
  const parts = { ".": {}, 'k:{"name":"x"}': { ".": {}, "f:name": {} } };
  assert.deepEqual(fieldsOf(created, "maker"), { "f:spec": { "f:color": {}, "f:parts": parts } });
  await api.ok("PATCH", `${WIDGET}?fieldManager=painter`, { spec: { color: "blue" } }, merge);
  const updated = await api.ok("PATCH", `${WIDGET}/status?fieldManager=watcher`, { status: { phase: "On" } }, merge);
  assert.deepEqual(fieldsOf(updated, "maker"), { "f:spec": { "f:parts": parts } });
  assert.deepEqual(fieldsOf(updated, "painter"), { "f:spec": { "f:color": {} } });
  const watcher = updated.metadata.managedFields?.find(({ manager }) => manager === "watcher");
  assert.deepEqual([watcher?.subresource, watcher?.fieldsV1], ["status", { "f:status": { "f:phase": {} } }]);
});

test("kubectl takes over from its own client-side apply without a conflict", async () => {
  await using api = await startFixture();
  const last = JSON.stringify(config({ color: "red" }));
  const annotations = { "kubectl.kubernetes.io/last-applied-configuration": last };
  const made = config({ color: "red", replicas: 1 }, { name: "w", annotations });
  await api.ok("POST", `${WIDGETS}?fieldManager=kubectl-client-side-apply`, made);
  const upgraded = await apply(api, "kubectl", { color: "green" });
  assert.deepEqual(upgraded["spec"], { color: "green", replicas: 1 });
  const refused = await api.refused(
    "PATCH",
    `${WIDGET}?fieldManager=kubectl`,
    config({ color: "green", replicas: 2 }),
    type,
  );
  assert.match(refused.message!, /Apply failed with 1 conflict: .*: \.spec\.replicas$/);
});

test("apply needs a manager and refuses managedFields; one empty entry wipes them", async () => {
  await using api = await startFixture();
  const nameless = await api.refused("PATCH", WIDGET, config({}), type);
  assert.match(nameless.message!, /fieldManager: Required value: is required for apply patch/);
  const given = { ...config({}), metadata: { managedFields: [{ manager: "x" }] } };
  assert.equal(
    (await api.refused("PATCH", `${WIDGET}?fieldManager=a`, given, type)).message,
    "metadata.managedFields must be nil",
  );
  await apply(api, "a", { color: "red" });
  const wiped = await api.ok("PATCH", WIDGET, { metadata: { managedFields: [{}] } }, merge);
  assert.equal(wiped.metadata.managedFields, undefined);
});

test("field sets: algebra and text", () => {
  const a = FieldSet.fromFieldsV1({ "f:a": {}, "f:b": { ".": {}, "f:c": {} } });
  const b = FieldSet.fromFieldsV1({ "f:b": { "f:c": {} }, "f:d": {} });
  assert.deepEqual(a.union(b).toFieldsV1(), { "f:a": {}, "f:b": { ".": {}, "f:c": {} }, "f:d": {} });
  assert.deepEqual(a.difference(b).toFieldsV1(), { "f:a": {}, "f:b": {} });
  assert.deepEqual(a.intersection(b).toFieldsV1(), { "f:b": { "f:c": {} } });
  assert.equal(
    formatPath(["f:spec", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name"]),
    '.spec[containerPort=80,protocol="TCP"].name',
  );
});
