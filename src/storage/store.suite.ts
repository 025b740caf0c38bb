import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf, BerthError } from "../base/index.ts";
import type { Store, StoreEvent, WatchBatch } from "./store.ts";

/** What every store must do. `open` gives an empty one; the suite closes it. */
export function storeSuite(name: string, open: () => Promise<Store>): void {
  const check = (title: string, body: (store: Store) => Promise<void>): void => {
    it(title, async () => {
      await using store = await open();
      await body(store);
    });
  };

  describe(`store: ${name}`, () => {
    check("a commit takes the next revision, and all its changes carry it", async (store) => {
      const before = await store.revision();
      const { succeeded, revision } = await store.commit([], [put("/s/a", "1"), put("/s/b", "2")], []);
      assert.equal(succeeded, true);
      assert.equal(revision, before + 1);
      for (const key of ["/s/a", "/s/b"]) {
        const { kv } = await store.get(key);
        assert.deepEqual([kv!.createRevision, kv!.modRevision, kv!.version], [revision, revision, 1]);
      }
    });

    check("versions count writes since the key was last absent", async (store) => {
      await store.commit([], [put("/s/a", "1")], []);
      const second = await store.commit([], [put("/s/a", "2")], []);
      assert.equal((await store.get("/s/a")).kv!.version, 2);
      await store.commit([], [], ["/s/a"]);
      const again = await store.commit([], [put("/s/a", "3")], []);
      const { kv } = await store.get("/s/a");
      assert.deepEqual([kv!.version, kv!.createRevision], [1, again.revision]);
      assert.ok(again.revision > second.revision);
    });

    check("a lost comparison changes nothing and tells what is there", async (store) => {
      const first = await store.commit([{ key: "/s/a", modRevision: 0 }], [put("/s/a", "1")], []);
      const lost = await store.commit([{ key: "/s/a", modRevision: 0 }], [put("/s/a", "2"), put("/s/b", "2")], []);
      assert.equal(lost.succeeded, false);
      assert.deepEqual(lost.current.map(text), ["1"]);
      assert.equal((await store.get("/s/b")).kv, undefined);
      const won = await store.commit([{ key: "/s/a", modRevision: first.revision }], [], ["/s/a"]);
      assert.equal(won.succeeded, true);
      const gone = await store.commit([{ key: "/s/a", modRevision: first.revision }], [put("/s/a", "3")], []);
      assert.deepEqual([gone.succeeded, gone.current], [false, []]);
    });

    check("deleting what isn't there takes no revision", async (store) => {
      const before = await store.revision();
      const { succeeded, revision } = await store.commit([], [], ["/s/none"]);
      assert.deepEqual([succeeded, revision], [true, before]);
    });

    check("a range is ordered by bytes, bounded by its prefix, and paged at one revision", async (store) => {
      const names = ["a", "a/1", "a0", "b", "é", "\u{1F600}", "\uFFEE"];
      const puts = names.map((each) => put(`/r/${each}`, each));
      const { revision } = await store.commit([], [...puts, put("/q", "no"), put("/r", "no"), put("/s", "no")], []);
      const sorted = names.toSorted((one, two) => Buffer.compare(Buffer.from(one), Buffer.from(two)));
      assert.deepEqual((await store.range("/r/")).kvs.map(text), sorted);
      const first = await store.range("/r/", { limit: 3 });
      assert.deepEqual([first.kvs.length, first.more, first.count], [3, true, names.length]);
      await store.commit([], [put("/r/zz", "later")], ["/r/b"]);
      const rest = await store.range("/r/", { revision, from: `${first.kvs[2]!.key}\0` });
      assert.deepEqual([...first.kvs, ...rest.kvs].map(text), sorted);
      assert.deepEqual([rest.more, rest.count], [false, names.length - 3]);
    });

    check("the past can be read, the future can't", async (store) => {
      const one = await store.commit([], [put("/s/a", "1")], []);
      await store.commit([], [put("/s/a", "2")], []);
      await store.commit([], [], ["/s/a"]);
      assert.equal(text((await store.get("/s/a", { revision: one.revision })).kv!), "1");
      assert.equal((await store.get("/s/a")).kv, undefined);
      await assert.rejects(store.range("/s/", { revision: one.revision + 1000 }), { code: "invalidArgument" });
    });

    check("a watch from the past sees every change once and in order, then what comes", async (store) => {
      const first = await store.commit([], [put("/w/a", "1")], []);
      await store.commit([], [put("/other", "x")], []);
      await store.commit([], [put("/w/a", "2"), put("/w/b", "1")], []);
      const seen = collect(store, "/w/", first.revision, 5);
      await store.commit([], [], ["/w/a"]);
      const last = await store.commit([], [put("/w/c", "1")], []);
      const events = (await seen).map(({ type, kv }) => `${type} ${kv.key} ${Buffer.from(kv.value).toString()}`);
      assert.deepEqual(events.slice(0, 1), ["put /w/a 1"]);
      assert.deepEqual(events.slice(1, 3).sort(), ["put /w/a 2", "put /w/b 1"]);
      assert.deepEqual(events.slice(3), ["delete /w/a ", "put /w/c 1"]);
      assert.equal((await seen)[3]!.kv.modRevision, last.revision - 1);
    });

    check("a batch never splits a revision", async (store) => {
      const from = (await store.revision()) + 1;
      const reading = batches(store, "/w/", from, 40);
      for (let round = 0; round < 10; round++)
        await store.commit(
          [],
          Array.from({ length: 4 }, (_, at) => put(`/w/${at}`, String(round))),
          [],
        );
      const seen = new Set<number>();
      for (const { events } of await reading) {
        for (const revision of new Set(events.map(({ kv }) => kv.modRevision))) {
          assert.equal(seen.has(revision), false, `revision ${revision} came in two batches`);
          assert.equal(events.filter(({ kv }) => kv.modRevision === revision).length, 4);
          seen.add(revision);
        }
      }
      assert.equal(seen.size, 10);
    });

    check("writers side by side: each commit its own revision, none lost, watched complete", async (store) => {
      const from = (await store.revision()) + 1;
      const total = 200;
      const seen = collect(store, "/c/", from, total);
      const write = (at: number) =>
        store.commit([{ key: `/c/${at}`, modRevision: 0 }], [put(`/c/${at}`, String(at))], []);
      const results = await Promise.all(Array.from({ length: total }, (_, at) => write(at)));
      assert.equal(new Set(results.map(({ revision }) => revision)).size, total);
      const revisions = (await seen).map(({ kv }) => kv.modRevision);
      assert.deepEqual(
        revisions,
        revisions.toSorted((one, two) => one - two),
      );
      assert.equal((await store.range("/c/")).count, total);
    });

    check("of writers that compare with the same revision one wins", async (store) => {
      const { revision } = await store.commit([], [put("/s/a", "0")], []);
      const race = Array.from({ length: 20 }, (_, at) =>
        store.commit([{ key: "/s/a", modRevision: revision }], [put("/s/a", String(at))], []),
      );
      assert.equal((await Promise.all(race)).filter(({ succeeded }) => succeeded).length, 1);
      assert.equal((await store.get("/s/a")).kv!.version, 2);
    });

    check("a read after an acknowledged commit sees it", async (store) => {
      for (let at = 0; at < 50; at++) {
        const { revision } = await store.commit([], [put("/s/a", String(at))], []);
        assert.equal(text((await store.get("/s/a")).kv!), String(at));
        assert.ok((await store.revision()) >= revision);
      }
    });

    check("compaction forgets the past, but neither what is alive nor what comes after", async (store) => {
      await store.commit([], [put("/s/old", "kept")], []);
      const first = await store.commit([], [put("/s/a", "1")], []);
      for (let at = 2; at <= 5; at++) await store.commit([], [put("/s/a", String(at))], []);
      await store.commit([], [put("/s/b", "1")], []);
      const limit = await store.commit([], [], ["/s/b"]);
      const after = await store.commit([], [put("/s/a", "6")], []);
      await store.compact(limit.revision);
      assert.deepEqual((await store.range("/s/")).kvs.map(text), ["6", "kept"]);
      assert.deepEqual((await store.range("/s/", { revision: limit.revision })).kvs.map(text), ["5", "kept"]);
      await assert.rejects(store.range("/s/", { revision: first.revision }), isCompacted);
      await assert.rejects(collect(store, "/s/", first.revision, 1), isCompacted);
      const events = await collect(store, "/s/", limit.revision, 2);
      assert.deepEqual(
        events.map(({ type, kv }) => [type, kv.modRevision]),
        [
          ["delete", limit.revision],
          ["put", after.revision],
        ],
      );
    });

    check("a quiet watch reports progress", async (store) => {
      const { revision } = await store.commit([], [put("/else", "1")], []);
      for await (const batch of store.watch("/quiet/", revision, { progressMs: 20 })) {
        assert.deepEqual([batch.revision >= revision, batch.events], [true, []]);
        break;
      }
    });

    check("a watch ends with its signal, also while it waits", async (store) => {
      const controller = new AbortController();
      const reading = (async () => {
        for await (const _batch of store.watch("/s/", 0, { signal: controller.signal }));
      })();
      setImmediate(() => controller.abort());
      await reading.catch((error: unknown) => assert.equal(codeOf(error), "canceled"));
    });

    check("binary and empty values come back as they went in", async (store) => {
      const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
      await store.commit(
        [],
        [
          { key: "/s/b", value: bytes },
          { key: "/s/e", value: new Uint8Array(0) },
        ],
        [],
      );
      assert.deepEqual(new Uint8Array((await store.get("/s/b")).kv!.value), bytes);
      assert.equal((await store.get("/s/e")).kv!.value.length, 0);
    });
  });
}

const put = (key: string, value: string) => ({ key, value: Buffer.from(value) });
const text = ({ value }: { value: Uint8Array }) => Buffer.from(value).toString();

const isCompacted = (error: unknown) =>
  error instanceof BerthError &&
  error.code === "resourceExhausted" &&
  typeof error.details["compactRevision"] === "number";

async function batches(store: Store, prefix: string, from: number, count: number): Promise<WatchBatch[]> {
  const found: WatchBatch[] = [];
  let seen = 0;
  for await (const batch of store.watch(prefix, from)) {
    found.push(batch);
    seen += batch.events.length;
    if (seen >= count) break;
  }
  return found;
}

async function collect(store: Store, prefix: string, from: number, count: number): Promise<StoreEvent[]> {
  return (await batches(store, prefix, from, count)).flatMap(({ events }) => events);
}
