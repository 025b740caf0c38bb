import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, Metrics, codeOf, seededRandom, silentLogger } from "../base/index.ts";
import { createEventRecorder, InformerFactory, KubeClient, LeaderElector, resources, WorkQueue } from "./index.ts";
import { FakeApi, testUser } from "./testing/fake.ts";

function world() {
  const clock = new FakeClock();
  const api = new FakeApi({ clock });
  const client = new KubeClient(api.handler, { user: testUser });
  const context = { client, clock, random: seededRandom(7), log: silentLogger };
  return { clock, api, client, context, stop: new AbortController() };
}
const configMap = (name: string, data = {}) => ({ metadata: { name, namespace: "default", labels: { name } }, data });

test("verbs, conflicts and refusals", async () => {
  const { client } = world();
  const maps = client.of(resources.configMaps);
  const made = await maps.create(configMap("a"));
  await assert.rejects(maps.create(configMap("a")), (error) => codeOf(error) === "alreadyExists");
  const changed = await maps.update({ ...made, data: { x: "1" } });
  await assert.rejects(maps.update({ ...made, data: { x: "2" } }), (error) => codeOf(error) === "conflict");
  assert.equal(changed.data?.["x"], "1");
  assert.throws(() => ((changed.data as Record<string, string>)["x"] = "3"), TypeError);
  await maps.delete({ name: "a", namespace: "default" });
  await assert.rejects(maps.get({ name: "a", namespace: "default" }), (error) => codeOf(error) === "notFound");
});

test("an informer follows through dropped and expired watches, in order and complete", async () => {
  const { client, clock, api, context, stop } = world();
  const maps = client.of(resources.configMaps);
  await maps.create(configMap("a"));
  const informer = new InformerFactory(context).for(resources.configMaps);
  informer.addIndex("label", (object) => [object.metadata.labels?.["name"] ?? ""]);
  const seen: string[] = [];
  informer.onChange({
    added: (object) => seen.push(`+${object.metadata.name}`),
    updated: (object) => seen.push(`~${object.metadata.name}`),
    deleted: (object) => seen.push(`-${object.metadata.name}`),
  });
  void informer.run(stop.signal);
  await informer.whenSynced();
  await maps.create(configMap("b"));
  await clock.advance(1000);
  assert.deepEqual(seen, ["+a", "+b"]);

  api.dropWatches();
  await maps.patch({ name: "b", namespace: "default" }, { data: { x: "1" } });
  await clock.advance(10_000);
  assert.deepEqual(seen.slice(2), ["~b"]);

  api.dropWatches();
  await maps.delete({ name: "a", namespace: "default" });
  await maps.create(configMap("c"));
  api.compact();
  await clock.advance(30_000);
  assert.deepEqual(seen.slice(3), ["-a", "+c"]);
  assert.deepEqual(
    informer.byIndex("label", "c").map((object) => object.metadata.name),
    ["c"],
  );
  assert.deepEqual(informer.byIndex("label", "a"), []);
  assert.ok(Object.isFrozen(informer.get("default/b")));
  stop.abort();
});

test("a queue hands a key to one worker at a time, merges repeats and backs off", async () => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const metrics = new Metrics();
  const queue = new WorkQueue({ clock, baseDelayMs: 100, measured: { metrics, name: "q" } });
  const calls: number[] = [];
  let inside = 0;
  let failures = 2;
  const running = queue.run(
    4,
    async () => {
      assert.equal(++inside, 1);
      calls.push(clock.monotonicMs());
      await Promise.resolve();
      inside--;
      if (failures-- > 0) throw new Error("not yet");
    },
    stop.signal,
  );
  queue.add("k");
  queue.add("k");
  await clock.advance(99);
  assert.equal(calls.length, 1);
  await clock.advance(1000);
  assert.deepEqual(calls, [0, 100, 300]);
  assert.equal(queue.failures("k"), 0);
  const text = metrics.text();
  assert.match(text, /^workqueue_adds_total\{name="q"\} 3$/m);
  assert.match(text, /^workqueue_retries_total\{name="q"\} 2$/m);
  assert.match(text, /^workqueue_work_duration_seconds_count\{name="q"\} 3$/m);
  assert.match(text, /^workqueue_depth\{name="q"\} 0$/m);
  stop.abort();
  await running;
});

test("repeated events are counted, floods are held back", async () => {
  const { client, clock, context } = world();
  const recorder = createEventRecorder({ ...context, component: "replicaset-controller" });
  const about = await client
    .of(resources.configMaps)
    .create({ ...configMap("a"), kind: "ConfigMap", apiVersion: "v1" });
  for (let index = 0; index < 40; index++) recorder.event(about, "Normal", "SuccessfulCreate", "Created pod: x");
  await clock.advance(10_000);
  const { items } = await client.of(resources.coreEvents).list();
  assert.deepEqual(
    items.map((event) => [event.reason, event.count, event.source?.component]),
    [["SuccessfulCreate", 25, "replicaset-controller"]],
  );
});

test("one leader at a time; the next takes over when the lease runs out", async () => {
  const { clock, context } = world();
  const leading: string[] = [];
  const candidate = (identity: string, signal: AbortSignal) =>
    new LeaderElector({ ...context, name: "x", identity }).run(async (term) => {
      leading.push(identity);
      await new Promise((resolve) => term.addEventListener("abort", resolve, { once: true }));
      leading.splice(leading.indexOf(identity), 1);
    }, signal);
  const first = new AbortController();
  const second = new AbortController();
  const done = candidate("a", first.signal);
  await clock.advance(100);
  void candidate("b", second.signal);
  await clock.advance(60_000);
  assert.deepEqual(leading, ["a"]);
  first.abort();
  await clock.advance(10);
  await done;
  await clock.advance(20_000);
  assert.deepEqual(leading, ["b"]);
  second.abort();
});
