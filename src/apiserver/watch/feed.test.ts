import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle, silentLogger } from "../../base/index.ts";
import { openMemoryStore, type Store } from "../../storage/index.ts";
import { Feed } from "./feed.ts";

test("a watch that ends by itself is asked for again after a pause, not at once", async () => {
  const clock = new FakeClock();
  const store = await openMemoryStore({ clock });
  let watches = 0;
  // As a store that was closed under an API server which was not.
  const closed = new Proxy(store, {
    get(target, name: keyof Store) {
      if (name === "watch")
        return async function* () {
          assert.ok(++watches < 1000, "it spins");
          yield* [];
        };
      const value = target[name] as unknown;
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
  const feed = new Feed(closed, clock, silentLogger);
  await feed.start();
  for (let turn = 0; turn < 20; turn++) await settle();
  assert.equal(watches, 1);
  await clock.advance(500);
  await settle();
  assert.equal(watches, 2);
  await feed.close();
  await store.close();
});

test("who waits for a closed feed, or watches it, hears so", async () => {
  const clock = new FakeClock();
  const store = await openMemoryStore({ clock });
  const feed = new Feed(store, clock, silentLogger);
  await feed.start();
  const waiting = feed.reached(feed.revision + 1);
  const cache = feed.cache("core/pods");
  await Promise.all([assert.rejects(waiting, { code: "unavailable" }), feed.close()]);
  await assert.rejects(feed.reached(feed.revision + 1), { code: "unavailable" });
  let ended = false;
  cache.subscribe({ deliver: () => {}, end: () => (ended = true) });
  assert.ok(ended);
  await store.close();
});
