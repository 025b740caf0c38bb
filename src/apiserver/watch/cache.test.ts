import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ResourceCache, type CacheEvent } from "./cache.ts";
import { Entry } from "./entry.ts";

const entryOf = (key: string, revision: number) => new Entry(key, revision, Buffer.from("{}"), undefined);

test("what there was at each revision is told from what has changed since, while that is known", () => {
  const keys = ["/pods/a/1", "/pods/a/2", "/pods/b/1", "/pods/b/2", "/pods/c"];
  const places = [{ prefix: "/pods/" }, { prefix: "/pods/a/" }, { prefix: "/pods/", from: "/pods/a/2" }];
  const changes = fc.array(fc.record({ key: fc.constantFrom(...keys), remove: fc.boolean() }), { maxLength: 30 });
  fc.assert(
    fc.property(changes, (list) => {
      const cache = new ResourceCache("/pods/", 0);
      const past = [new Map<string, Entry>()];
      for (const { key, remove } of list) {
        const revision = past.length;
        const now = new Map(past.at(-1));
        const old = now.get(key);
        const entry = entryOf(key, revision);
        let event: CacheEvent = { type: old ? "MODIFIED" : "ADDED", revision, entry, old };
        if (remove && !old) continue;
        if (remove) event = { ...event, type: "DELETED" };
        if (remove) now.delete(key);
        else now.set(key, entry);
        cache.apply([event], revision);
        past.push(now);
      }
      for (const [revision, state] of past.entries()) {
        for (const { prefix, from = prefix } of places) {
          const wanted = keys
            .filter((key) => key.startsWith(prefix) && key >= from)
            .flatMap((key) => state.get(key) ?? []);
          const { entries, count } = cache.at(revision, prefix, from)!;
          assert.deepEqual([...entries], wanted);
          assert.equal(count, wanted.length);
        }
      }
    }),
  );
});

test("a revision before the known history is not guessed", () => {
  const cache = new ResourceCache("/pods/", 7);
  assert.equal(cache.at(6, "/pods/"), undefined);
  assert.equal(cache.at(7, "/pods/")!.count, 0);
});
