import assert from "node:assert/strict";
import { test } from "node:test";
import { permissionDenied } from "../../base/index.ts";
import type { ApiWatchEvent, KubeObject } from "../../api/index.ts";
import { startFixture, type Fixture } from "./testing/fixture.ts";
import type { WatchStream } from "./watch.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";
const WIDGETS = "/apis/example.io/v1/namespaces/default/widgets";
const map = (name: string, data: Record<string, string> = {}, more: object = {}) => ({
  metadata: { name, ...more },
  data,
});
const merge = { "content-type": "application/merge-patch+json" };

test("create sets what the server owns, get and list answer with the same bytes", async () => {
  await using api = await startFixture();
  const { status, object } = await api.send("POST", MAPS, map("a", { k: "v" }));
  assert.equal(status, 201);
  const { metadata } = object;
  assert.match(metadata!["uid" as never], /^[0-9a-f-]{36}$/);
  assert.equal((metadata as KubeObject["metadata"]).creationTimestamp, "2026-01-01T00:00:00Z");
  assert.deepEqual(await api.ok("GET", `${MAPS}/a`), object);
  const list = await api.ok("GET", MAPS);
  assert.deepEqual([list.kind, list["items"]], ["ConfigMapList", [object]]);
});

test("refusals are upstream's: not found, exists, conflict, namespace, invalid, unknown path", async () => {
  await using api = await startFixture();
  const gone = await api.refused("GET", `${MAPS}/x`);
  assert.deepEqual([gone.code, gone.reason, gone.message], [404, "NotFound", 'configmaps "x" not found']);
  assert.deepEqual(gone.details, { name: "x", kind: "configmaps" });
  const created = await api.ok("POST", MAPS, map("a"));
  assert.equal((await api.refused("POST", MAPS, map("a"))).message, 'configmaps "a" already exists');
  await api.ok("PUT", `${MAPS}/a`, { ...created, data: { k: "1" } });
  const stale = await api.refused("PUT", `${MAPS}/a`, { ...created, data: { k: "2" } });
  assert.deepEqual([stale.code, stale.reason], [409, "Conflict"]);
  assert.equal(
    stale.message,
    'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again',
  );
  const elsewhere = await api.refused("POST", MAPS, map("b", {}, { namespace: "other" }));
  assert.equal(
    elsewhere.message,
    "the namespace of the provided object does not match the namespace sent on the request",
  );
  const invalid = await api.refused("POST", WIDGETS, { metadata: { name: "w" }, spec: { replicas: -1 } });
  assert.deepEqual([invalid.code, invalid.reason], [422, "Invalid"]);
  assert.equal(
    invalid.message,
    'Widget.example.io "w" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
  );
  assert.equal(invalid.details?.causes?.[0]?.field, "spec.replicas");
  assert.equal(
    (await api.refused("GET", "/apis/none/v1/things")).message,
    "the server could not find the requested resource",
  );
});

test("field validation: strict refuses, warn warns, ignore is silent; duplicates count as well", async () => {
  await using api = await startFixture();
  const body = '{"metadata":{"name":"a"},"foo":1,"data":{"k":"1","k":"2"}}';
  const strict = await api.refused("POST", `${MAPS}?fieldValidation=Strict`, body);
  assert.equal(
    strict.message,
    'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo", duplicate field "data.k"',
  );
  const ignored = await api.send("POST", `${MAPS}?fieldValidation=Ignore&dryRun=All`, body);
  assert.deepEqual([ignored.status, ignored.headers["warning"]], [201, undefined]);
  const warned = await api.send("POST", MAPS, body);
  assert.equal(warned.headers["warning"], '299 - "unknown field \\"foo\\"", 299 - "duplicate field \\"data.k\\""');
  assert.equal("foo" in warned.object, false);
});

test("values of a wrong type are refused as Go's decoder does", async () => {
  await using api = await startFixture();
  const wrong = await api.refused("POST", WIDGETS, { metadata: { name: "w" }, spec: { replicas: "three" } });
  assert.equal(
    wrong.message,
    'Widget in version "v1" cannot be handled as a Widget: json: cannot unmarshal string into Go struct field WidgetSpec.spec.replicas of type int32',
  );
  assert.equal((await api.refused("POST", MAPS, "[".repeat(600))).code, 400);
  assert.equal((await api.refused("POST", MAPS, map("a"), { "content-type": "text/csv" })).code, 415);
  assert.equal((await api.refused("GET", MAPS, undefined, { accept: "application/cbor" })).code, 406);
});

test("dry run answers as if, and changes nothing", async () => {
  await using api = await startFixture();
  await api.ok("POST", `${MAPS}?dryRun=All`, map("a"));
  assert.equal((await api.refused("GET", `${MAPS}/a`)).code, 404);
  await api.ok("POST", MAPS, map("a", { k: "1" }));
  await api.ok("PATCH", `${MAPS}/a?dryRun=All`, { data: { k: "2" } }, merge);
  await api.ok("DELETE", `${MAPS}/a?dryRun=All`);
  assert.deepEqual((await api.ok("GET", `${MAPS}/a`))["data"], { k: "1" });
});

test("an update that changes nothing keeps the resourceVersion", async () => {
  await using api = await startFixture();
  const created = await api.ok("POST", MAPS, map("a", { k: "1" }));
  const same = await api.ok("PUT", `${MAPS}/a`, created);
  assert.equal(same.metadata.resourceVersion, created.metadata.resourceVersion);
});

test("generateName makes free names", async () => {
  await using api = await startFixture();
  const names = new Set<string>();
  for (let at = 0; at < 20; at++)
    names.add((await api.ok("POST", MAPS, { metadata: { generateName: "g-" } })).metadata.name!);
  assert.equal(names.size, 20);
  for (const name of names) assert.match(name, /^g-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
});

test("status is a subresource, and the generation counts changes of spec alone", async () => {
  await using api = await startFixture();
  const created = await api.ok("POST", WIDGETS, {
    metadata: { name: "w" },
    spec: { replicas: 1 },
    status: { phase: "x" },
  });
  assert.deepEqual([created.metadata.generation, created["status"]], [1, undefined]);
  const status = await api.ok("PUT", `${WIDGETS}/w/status`, {
    ...created,
    spec: { replicas: 9 },
    status: { phase: "On" },
  });
  assert.deepEqual(
    [status.metadata.generation, status["spec"], status["status"]],
    [1, { replicas: 1 }, { phase: "On" }],
  );
  const patched = await api.ok("PATCH", `${WIDGETS}/w`, { spec: { replicas: 2 }, status: { phase: "Off" } }, merge);
  assert.deepEqual([patched.metadata.generation, patched["status"]], [2, { phase: "On" }]);
  const scale = await api.ok("PATCH", `${WIDGETS}/w/scale`, { spec: { replicas: 5 } }, merge);
  assert.deepEqual([scale.kind, scale["spec"]], ["Scale", { replicas: 5 }]);
  assert.deepEqual((await api.ok("GET", `${WIDGETS}/w`))["spec"], { replicas: 5 });
});

test("finalizers hold a deletion up until the last one is gone", async () => {
  await using api = await startFixture();
  await api.ok("POST", MAPS, map("a", {}, { finalizers: ["example.io/wait"] }));
  const marked = await api.ok("DELETE", `${MAPS}/a`);
  assert.ok(marked.metadata.deletionTimestamp);
  const more = await api.refused(
    "PATCH",
    `${MAPS}/a`,
    { metadata: { finalizers: ["example.io/wait", "example.io/b"] } },
    merge,
  );
  assert.match(more.message!, /no new finalizers can be added if the object is being deleted/);
  await api.ok("PATCH", `${MAPS}/a`, { metadata: { finalizers: null } }, merge);
  assert.equal((await api.refused("GET", `${MAPS}/a`)).code, 404);
});

test("delete: preconditions, propagation, the final status", async () => {
  await using api = await startFixture();
  const created = await api.ok("POST", MAPS, map("a"));
  const wrong = await api.refused("DELETE", `${MAPS}/a`, { preconditions: { uid: "other" } });
  assert.match(wrong.message!, /Precondition failed: UID in precondition: other, UID in object meta: /);
  const waiting = await api.ok("DELETE", `${MAPS}/a?propagationPolicy=Foreground`);
  assert.deepEqual(waiting.metadata.finalizers, ["foregroundDeletion"]);
  await api.ok("PATCH", `${MAPS}/a`, { metadata: { finalizers: [] } }, merge);
  await api.ok("POST", MAPS, map("b"));
  const { object } = await api.send("DELETE", `${MAPS}/b`);
  assert.deepEqual([object.kind, object.status, object.details?.kind], ["Status", "Success", "configmaps"]);
  assert.notEqual(created.metadata.uid, object.details?.uid);
  for (const name of ["c", "d"]) await api.ok("POST", MAPS, map(name, {}, { labels: { x: name } }));
  await api.ok("DELETE", `${MAPS}?labelSelector=x=c`);
  assert.deepEqual(await namesOf(api, MAPS), ["d"]);
});

test("selectors by label and field; a field nobody indexes is refused", async () => {
  await using api = await startFixture();
  for (const color of ["red", "blue"])
    await api.ok("POST", WIDGETS, { metadata: { name: color, labels: { c: color } }, spec: { color } });
  assert.deepEqual(await namesOf(api, `${WIDGETS}?fieldSelector=spec.color=red`), ["red"]);
  assert.deepEqual(await namesOf(api, `${WIDGETS}?fieldSelector=metadata.name!=red`), ["blue"]);
  assert.deepEqual(await namesOf(api, `${WIDGETS}?labelSelector=${encodeURIComponent("c in (red,green)")}`), ["red"]);
  assert.deepEqual(await namesOf(api, `${WIDGETS}?labelSelector=!c`), []);
  assert.equal(
    (await api.refused("GET", `${WIDGETS}?fieldSelector=spec.size=1`)).message,
    "field label not supported: spec.size",
  );
});

test("pages are of one revision; an expired page can be continued inconsistently", async () => {
  await using api = await startFixture();
  for (const name of ["a", "b", "c", "d"]) await api.ok("POST", MAPS, map(name));
  const first = await api.ok("GET", `${MAPS}?limit=2`);
  const { continue: token, remainingItemCount } = first.metadata as { continue?: string; remainingItemCount?: number };
  assert.equal(remainingItemCount, 2);
  await api.ok("DELETE", `${MAPS}/d`);
  assert.deepEqual(await namesOf(api, `${MAPS}?limit=2&continue=${token}`), ["c", "d"]);
  await api.ok("POST", MAPS, map("e"));
  await api.store.compact(await api.store.revision());
  const expired = await api.refused("GET", `${MAPS}?limit=2&continue=${token}`);
  assert.deepEqual([expired.code, expired.reason], [410, "Expired"]);
  assert.deepEqual(await namesOf(api, `${MAPS}?limit=2&continue=${expired.metadata?.continue}`), ["c", "e"]);
});

test("resourceVersion rules: exact, not older, the future, and what may not be combined", async () => {
  await using api = await startFixture();
  const { metadata } = await api.ok("POST", MAPS, map("a"));
  await api.ok("POST", MAPS, map("b"));
  const at = metadata.resourceVersion;
  assert.deepEqual(await namesOf(api, `${MAPS}?resourceVersion=${at}&resourceVersionMatch=Exact`), ["a"]);
  assert.deepEqual(await namesOf(api, `${MAPS}?resourceVersion=${at}&resourceVersionMatch=NotOlderThan`), ["a", "b"]);
  const forbidden = await api.refused("GET", `${MAPS}?resourceVersionMatch=Exact`);
  assert.match(forbidden.message!, /resourceVersionMatch is forbidden unless resourceVersion is provided/);
  const future = api.refused("GET", `${MAPS}?resourceVersion=1000&resourceVersionMatch=NotOlderThan`);
  await api.clock.advance(3100);
  assert.deepEqual(
    [(await future).code, (await future).details?.causes?.[0]?.reason],
    [504, "ResourceVersionTooLarge"],
  );
});

test("a watch tells changes of a selector's view, and begins where it was told", async () => {
  await using api = await startFixture();
  const { metadata } = await api.ok("POST", MAPS, map("a", {}, { labels: { x: "1" } }));
  const query = `watch=1&labelSelector=x=1&resourceVersion=${metadata.resourceVersion}`;
  const seen = watch(api, `${MAPS}?${query}`, 4);
  await api.ok("POST", MAPS, map("b", {}, { labels: { x: "1" } }));
  await api.ok("PATCH", `${MAPS}/a`, { data: { k: "1" } }, merge);
  await api.ok("PATCH", `${MAPS}/a`, { metadata: { labels: { x: "2" } } }, merge);
  await api.ok("PATCH", `${MAPS}/a`, { metadata: { labels: { x: "1" } } }, merge);
  assert.deepEqual(names(await seen), ["ADDED b", "MODIFIED a", "DELETED a", "ADDED a"]);
});

test("a streaming list sends the state, then the bookmark that ends it", async () => {
  await using api = await startFixture();
  await api.ok("POST", MAPS, map("a"));
  const query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
  const [added, bookmark] = await watch(api, `${MAPS}?${query}`, 2);
  assert.deepEqual([added!.type, bookmark!.type], ["ADDED", "BOOKMARK"]);
  const { metadata } = bookmark!.object as KubeObject;
  assert.deepEqual(metadata.annotations, { "k8s.io/initial-events-end": "true" });
});

test("a watch from what is forgotten gets Expired as its event", async () => {
  await using api = await startFixture();
  for (let at = 0; at < 3; at++) await api.ok("POST", MAPS, map(`a${at}`));
  await using later = await startFixture({ store: api.store });
  await api.store.compact(await api.store.revision());
  const [error] = await watch(later, `${MAPS}?watch=1&resourceVersion=1`, 1);
  assert.equal(error!.type, "ERROR");
  assert.deepEqual(
    [(error!.object as { code: number }).code, (error!.object as { reason: string }).reason],
    [410, "Expired"],
  );
});

test("tables and partial metadata, for one, for lists and for watches", async () => {
  await using api = await startFixture();
  await api.ok("POST", MAPS, map("a", { k: "v" }));
  const table = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json" };
  const list = (await api.ok("GET", MAPS, undefined, table)) as unknown as {
    rows: [{ cells: unknown[]; object: KubeObject }];
  };
  assert.equal(list.rows[0].cells[0], "a");
  assert.equal(list.rows[0].object.kind, "PartialObjectMetadata");
  const [event] = await watch(api, `${MAPS}?watch=1`, 1, table);
  assert.equal((event!.object as KubeObject).kind, "Table");
  const partial = { accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io" };
  const meta = await api.ok("GET", MAPS, undefined, partial);
  assert.deepEqual([meta.kind, "data" in (meta["items"] as object[])[0]!], ["PartialObjectMetadataList", false]);
});

test("mutating admission changes what is stored, validating admission refuses it", async () => {
  const plugin = {
    mutate: ({ object }: { object: KubeObject | undefined }) => {
      if (object) (object.metadata.labels ??= {})["seen"] = "yes";
    },
    validate: ({ name }: { name: string }) => {
      if (name === "bad") throw permissionDenied("not this one");
    },
  };
  await using api = await startFixture({ admission: [plugin] });
  assert.deepEqual((await api.ok("POST", MAPS, map("a"))).metadata.labels, { seen: "yes" });
  assert.deepEqual([(await api.refused("POST", MAPS, map("bad"))).code], [403]);
});

test("who may not is told so in upstream's words", async () => {
  const nobody = { authorize: () => ({ allowed: false, reason: "no rule" }) };
  await using api = await startFixture({ authorizers: [nobody] });
  assert.equal(
    (await api.refused("GET", MAPS)).message,
    'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" in the namespace "default": no rule',
  );
  assert.equal(
    (await api.refused("GET", "/version")).message,
    'forbidden: User "system:anonymous" cannot get path "/version": no rule',
  );
});

test("endpoints answer for what isn't stored", async () => {
  const kind = { group: "example.io", version: "v1", kind: "Echo" };
  const endpoint = { ...kind, resource: "echoes", subresource: "", namespaced: false, kind, verbs: ["create"] };
  const handle = async (call: never, tools: { decode(call: never): Promise<KubeObject> }) => tools.decode(call);
  await using api = await startFixture({ endpoints: [{ ...endpoint, handle }] });
  const { status, object } = await api.send("POST", "/apis/example.io/v1/echoes", { kind: "Echo", spec: 1 });
  assert.deepEqual([status, object.kind], [201, "Echo"]);
  assert.equal((await api.refused("GET", "/apis/example.io/v1/echoes")).code, 405);
});

test("discovery in both forms, health and version", async () => {
  await using api = await startFixture();
  const resources = (await api.ok("GET", "/apis/example.io/v1"))["resources"] as Array<{ name: string; kind: string }>;
  assert.deepEqual(
    resources.map(({ name, kind }) => `${name} ${kind}`),
    ["widgets Widget", "widgets/scale Scale", "widgets/status Widget"],
  );
  const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
  const found = await api.send("GET", "/apis", undefined, { accept });
  assert.match(found.headers["content-type"]!, /as=APIGroupDiscoveryList/);
  assert.equal(
    (found.object as unknown as { items: [{ metadata: { name: string } }] }).items[0].metadata.name,
    "example.io",
  );
  assert.equal(Buffer.from((await api.send("GET", "/readyz")).response.body!).toString(), "ok");
  assert.equal(((await api.ok("GET", "/version")) as unknown as { major: string }).major, "1");
});

async function namesOf(api: Fixture, url: string): Promise<string[]> {
  return ((await api.ok("GET", url))["items"] as KubeObject[]).map(({ metadata }) => metadata.name!);
}

const names = (events: readonly ApiWatchEvent[]) =>
  events.map(({ type, object }) => `${type} ${(object as KubeObject).metadata.name}`);

async function watch(api: Fixture, url: string, count: number, headers = {}): Promise<ApiWatchEvent[]> {
  const { response } = await api.send("GET", url, undefined, headers);
  const events: ApiWatchEvent[] = [];
  for await (const event of response.events!) {
    events.push(event);
    if (events.length >= count) break;
  }
  return events;
}

test("a reader that falls too far behind loses its watch; others keep theirs", async () => {
  await using api = await startFixture();
  const sinks = [0, 0].map((_, at) => ({
    lines: 0,
    broken: false,
    buffered: 0,
    write(bytes: Uint8Array) {
      this.lines++;
      if (at === 0) this.buffered += bytes.length;
    },
    end() {},
    destroy() {
      this.broken = true;
    },
    get bufferedBytes() {
      return this.buffered;
    },
  }));
  for (const sink of sinks) {
    const { response } = await api.send("GET", `${MAPS}?watch=1`);
    await (response.events as WatchStream).pipe(sink);
  }
  const data = { k: "x".repeat(1_000_000) };
  for (let at = 0; at < 80; at++) await api.ok("POST", MAPS, map(`m${at}`, data));
  assert.deepEqual(
    sinks.map(({ broken }) => broken),
    [true, false],
  );
  assert.ok(sinks[0]!.buffered < 70_000_000);
  assert.equal(sinks[1]!.lines, 80);
});

test("an in-process caller's object stays the caller's, and its undefined fields are absent", async () => {
  await using api = await startFixture();
  const object = { metadata: { name: "a", labels: undefined, namespace: undefined }, data: { k: "v" } };
  const query = new URLSearchParams("fieldValidation=Strict");
  const { status, object: answer } = await api.server.handler({
    method: "POST",
    path: MAPS,
    query,
    headers: {},
    object,
  });
  assert.deepEqual([status, Object.isFrozen(answer), "uid" in object.metadata], [201, true, false]);
});
