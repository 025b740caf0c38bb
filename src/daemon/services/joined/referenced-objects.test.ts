import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, seededRandom, silentLogger } from "../../../base/index.ts";
import { Informer, KubeClient, resources } from "../../../client/index.ts";
import { FakeApi, testUser } from "../../../client/testing/fake.ts";
import { ReferencedObjects } from "./referenced-objects.ts";

const SETTLED_MS = 1000;

test("an object is followed from when it is asked for until its namespace has no Pod here", async () => {
  const clock = new FakeClock();
  const lists: string[] = [];
  const api = new FakeApi({
    clock,
    intercept: ({ path, query }) => {
      if (path.endsWith("/configmaps") && query.get("watch") !== "true" && query.has("fieldSelector"))
        lists.push(`${path} ${query.get("fieldSelector")}`);
      return undefined;
    },
  });
  const client = new KubeClient(api.handler, { user: testUser });
  const context = { client, clock, random: seededRandom(7), log: silentLogger };
  const stop = new AbortController();
  const pods = new Informer(context, resources.pods);
  void pods.run(stop.signal);
  const maps = client.of(resources.configMaps);
  const map = (data: Record<string, string>) => ({ metadata: { name: "words", namespace: "default" }, data });
  await maps.create(map({ greeting: "hello" }));
  const pod = { metadata: { name: "p", namespace: "default" }, spec: { containers: [] } };
  await client.of(resources.pods).create(pod);

  const referenced = new ReferencedObjects(context, resources.configMaps, pods, stop.signal);
  const told: (string | undefined)[] = [];
  referenced.onChange({ updated: ({ data }) => told.push(data?.["greeting"]) });
  assert.equal(referenced.get("default/words"), undefined);
  await clock.advance(SETTLED_MS);
  assert.equal(referenced.get("default/words")?.data?.["greeting"], "hello");
  assert.deepEqual(lists, ["/api/v1/namespaces/default/configmaps metadata.name=words"]);
  // What was read beside it may have been older.
  assert.deepEqual(told, ["hello"]);
  await maps.patch({ name: "words", namespace: "default" }, { data: { greeting: "changed" } });
  await clock.advance(SETTLED_MS);
  assert.deepEqual(told, ["hello", "changed"]);

  await client.of(resources.pods).delete({ name: "p", namespace: "default" });
  await clock.advance(SETTLED_MS);
  await maps.patch({ name: "words", namespace: "default" }, { data: { greeting: "unheard" } });
  await clock.advance(SETTLED_MS);
  assert.deepEqual(told, ["hello", "changed"]);
  stop.abort();
});
