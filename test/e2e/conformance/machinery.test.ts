/** What upstream's conformance suite asks of the API machinery: chunks, tables, discovery, watches. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openMemoryStore, type Store } from "../../../src/storage/index.ts";
import { clusterApi } from "./cluster.ts";

let store: Store;
const api = clusterApi({ options: async () => ({ store: (store = await openMemoryStore()) }) });

async function namespace(name: string): Promise<string> {
  await api.ok("POST", "/api/v1/namespaces", { body: { metadata: { name } } });
  return `/api/v1/namespaces/${name}`;
}
const encoded = encodeURIComponent;
const container = { name: "main", image: "registry.k8s.io/pause:3.10" };

test("chunks: every page within its limit, of one revision, with what remains", async () => {
  const at = `${await namespace("chunking")}/podtemplates`;
  const total = 120;
  await Promise.all(
    Array.from({ length: total }, (_, index) =>
      api.ok("POST", at, {
        body: {
          metadata: { name: `template-${String(index).padStart(4, "0")}` },
          template: { spec: { containers: [container] } },
        },
      }),
    ),
  );
  for (const limit of [7, 50, total]) {
    let found = 0;
    let revision: string | undefined;
    let next = "";
    do {
      const list = await api.ok("GET", `${at}?limit=${limit}&continue=${encoded(next)}`);
      revision ??= list.metadata.resourceVersion;
      assert.equal(list.metadata.resourceVersion, revision);
      assert.ok(list.items.length <= limit);
      for (const item of list.items) assert.equal(item.metadata.name, `template-${String(found++).padStart(4, "0")}`);
      next = list.metadata.continue ?? "";
      assert.equal(list.metadata.remainingItemCount, next ? total - found : undefined);
    } while (next);
    assert.equal(found, total);
  }
  assert.equal((await api.ok("GET", `${at}?limit=${total + 1}`)).items.length, total);
});

test("a token that is too old is refused with one for a rest of another revision", async () => {
  const at = `${await namespace("compacted")}/podtemplates`;
  const template = { spec: { containers: [container] } };
  for (const name of ["a", "b", "c", "d", "e"]) await api.ok("POST", at, { body: { metadata: { name }, template } });
  const first = await api.ok("GET", `${at}?limit=2`);
  await api.ok("POST", at, { body: { metadata: { name: "cc" }, template } });
  // What happens after five minutes.
  await store.compact(await store.revision());
  const { status, body } = await api.call("GET", `${at}?limit=2&continue=${encoded(first.metadata.continue)}`);
  assert.deepEqual([status, body.reason], [410, "Expired"]);
  const names: string[] = [];
  let token: string = body.metadata.continue;
  let revision: string | undefined;
  while (token) {
    const page = await api.ok("GET", `${at}?limit=2&continue=${encoded(token)}`);
    names.push(...page.items.map((item: { metadata: { name: string } }) => item.metadata.name));
    // From the second page on it is one revision again, which is newer than the first list's.
    revision ??= page.metadata.resourceVersion;
    assert.equal(page.metadata.resourceVersion, revision);
    token = page.metadata.continue;
  }
  assert.deepEqual(names, ["c", "cc", "d", "e"]);
  assert.ok(Number(revision) > Number(first.metadata.resourceVersion));
});

test("a Table of what has none is refused with 406", async () => {
  const { status, body } = await api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
    body: {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: { resourceAttributes: { verb: "get", resource: "pods" } },
    },
    headers: { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" },
  });
  assert.equal(status, 406, JSON.stringify(body));
});

test("the version has a major and a minor number", async () => {
  const version = await api.ok("GET", "/version");
  assert.match(version.major, /^\d+$/);
  assert.match(version.minor, /^\d+$/);
});

test("each group's versions and preferred version are what its own document says", async () => {
  const { groups } = await api.ok("GET", "/apis");
  for (const group of groups) {
    const own = await api.ok("GET", `/apis/${group.name}`);
    assert.deepEqual(own.preferredVersion, group.preferredVersion);
    assert.ok(own.versions.some(({ version }: { version: string }) => version === own.preferredVersion.version));
    for (const { groupVersion } of own.versions) {
      const list = await api.ok("GET", `/apis/${groupVersion}`);
      assert.equal(list.groupVersion, groupVersion);
      assert.ok(list.resources.length > 0);
    }
  }
});

test("watches: by selector, from a revision, on after the last one, all in one order", async () => {
  const at = `${await namespace("watching")}/configmaps`;
  const query = `${at}?labelSelector=${encoded("watch in (A,B)")}`;
  const make = (name: string, watched: string) =>
    api.ok("POST", at, { body: { metadata: { name, labels: { watch: watched } } } });
  const first = await make("first", "A");
  const watches = await Promise.all([
    api.watch(`${at}?labelSelector=watch%3DA&resourceVersion=${first.metadata.resourceVersion}`),
    api.watch(query),
  ]);
  const [onlyA, both] = watches;
  try {
    assert.equal((await both!.next()).type, "ADDED");
    const changed = await api.patch(`${at}/first`, { data: { mutation: "1" } });
    assert.equal((await onlyA!.next()).object.data.mutation, "1");
    await api.patch(`${at}/first`, { metadata: { labels: { watch: "B" } } });
    const gone = await onlyA!.next();
    assert.equal(gone.type, "DELETED", "it stops being what is watched");
    await api.patch(`${at}/first`, { data: { mutation: "2" } });
    await api.patch(`${at}/first`, { metadata: { labels: { watch: "A" } }, data: { mutation: "3" } });
    const back = await onlyA!.next();
    assert.deepEqual([back.type, back.object.data.mutation], ["ADDED", "3"]);
    const later = await api.watch(`${query}&resourceVersion=${changed.metadata.resourceVersion}`);
    try {
      const seen = [await later.next(), await later.next(), await later.next()];
      const same = [await both!.next(), await both!.next(), await both!.next(), await both!.next()].slice(1);
      const revisions = (events: typeof seen) => events.map(({ object }) => object.metadata.resourceVersion);
      assert.deepEqual(revisions(seen), revisions(same));
    } finally {
      later.close();
    }
  } finally {
    for (const watch of watches) watch.close();
  }
});
