import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareUtf8, SortedMap } from "./sorted-map.ts";

test("text is ordered as its UTF-8 bytes are", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), (a, b) => {
      const bytes = Buffer.compare(Buffer.from(a), Buffer.from(b));
      assert.equal(Math.sign(compareUtf8(a, b)), bytes);
    }),
  );
});

test("ranges and counts are those of a sorted list, through inserts and deletes", () => {
  const key = fc.integer({ min: 0, max: 3000 }).map((number) => `/${"abc"[number % 3]}/${number}`);
  const step = fc.record({ key, add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { minLength: 500, maxLength: 3000 }), key, (steps, from) => {
      const map = new SortedMap<number>();
      const plain = new Map<string, number>();
      for (const [at, { key: each, add }] of steps.entries()) {
        if (add || at % 4 !== 0) {
          map.set(each, at);
          plain.set(each, at);
        } else assert.equal(map.delete(each), plain.delete(each));
      }
      const sorted = [...plain].toSorted(([a], [b]) => (a < b ? -1 : 1));
      for (const prefix of ["", "/b/"]) {
        const all = sorted.filter(([each]) => each.startsWith(prefix));
        const rest = all.filter(([each]) => each >= from);
        assert.deepEqual([...map.range(prefix)], all);
        assert.deepEqual([...map.range(prefix, from)], rest);
        assert.deepEqual([map.count(prefix), map.count(prefix, from)], [all.length, rest.length]);
      }
    }),
    { numRuns: 30 },
  );
});
