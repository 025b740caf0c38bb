import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { widgets } from "../testing/fixture.ts";
import { applyJsonPatch } from "./json-patch.ts";
import { applyMergePatch } from "./merge-patch.ts";
import { applyStrategicMergePatch } from "./strategic-merge-patch.ts";

test("JSON patch: RFC 6902's own cases", () => {
  const cases: Array<[document: unknown, patch: unknown[], expected: unknown]> = [
    [{ foo: "bar" }, [{ op: "add", path: "/baz", value: "qux" }], { foo: "bar", baz: "qux" }],
    [{ foo: ["bar", "baz"] }, [{ op: "add", path: "/foo/1", value: "qux" }], { foo: ["bar", "qux", "baz"] }],
    [{ baz: "qux", foo: "bar" }, [{ op: "remove", path: "/baz" }], { foo: "bar" }],
    [{ baz: "qux" }, [{ op: "replace", path: "/baz", value: "boo" }], { baz: "boo" }],
    [{ foo: { a: 1 }, qux: {} }, [{ op: "move", from: "/foo/a", path: "/qux/b" }], { foo: {}, qux: { b: 1 } }],
    [
      { foo: ["all", "grass", "cows", "eat"] },
      [{ op: "move", from: "/foo/1", path: "/foo/3" }],
      { foo: ["all", "cows", "eat", "grass"] },
    ],
    [{ foo: ["bar"] }, [{ op: "add", path: "/foo/-", value: ["abc"] }], { foo: ["bar", ["abc"]] }],
    [{ "/": 9, "~1": 10 }, [{ op: "test", path: "/~01", value: 10 }], { "/": 9, "~1": 10 }],
    [{ a: 1 }, [{ op: "copy", from: "/a", path: "/b" }], { a: 1, b: 1 }],
  ];
  for (const [document, patch, expected] of cases) assert.deepEqual(applyJsonPatch(document, patch), expected);
});

test("JSON patch: what cannot be done is refused whole", () => {
  const document = { a: 1, list: [1] };
  const bad = [
    { op: "remove", path: "/none" },
    { op: "replace", path: "/none", value: 1 },
    { op: "add", path: "/list/5", value: 1 },
    { op: "test", path: "/a", value: 2 },
    { op: "add", path: "/none/x", value: 1 },
    { op: "fly", path: "/a" },
    { op: "add", path: "a", value: 1 },
  ];
  for (const operation of bad) {
    assert.throws(() => applyJsonPatch(document, [{ op: "add", path: "/b", value: 1 }, operation]), {
      code: "invalidArgument",
    });
    assert.deepEqual(document, { a: 1, list: [1] });
  }
  const polluted = applyJsonPatch({}, [{ op: "add", path: "/__proto__", value: { evil: true } }]) as Record<
    string,
    unknown
  >;
  assert.equal(({} as Record<string, unknown>)["evil"], undefined);
  assert.deepEqual(Object.keys(polluted), ["__proto__"]);
});

test("merge patch: nulls remove, lists replace, and applying twice is applying once", () => {
  assert.deepEqual(applyMergePatch({ a: { b: 1, c: 2 }, l: [1] }, { a: { b: null }, l: [2] }), { a: { c: 2 }, l: [2] });
  fc.assert(
    fc.property(fc.object(), fc.object(), (document, patch) => {
      const once = applyMergePatch(document, patch);
      assert.deepEqual(applyMergePatch(once, patch), once);
    }),
    { numRuns: 100 },
  );
});

const strategic = (document: Record<string, unknown>, patch: Record<string, unknown>) =>
  applyStrategicMergePatch({ spec: document }, { spec: patch }, widgets.schema)["spec"];

test("strategic merge patch: lists merge by key, and directives delete, replace, order", () => {
  const parts = [
    { name: "a", image: "1" },
    { name: "b", image: "1" },
  ];
  assert.deepEqual(strategic({ parts }, { parts: [{ name: "b", image: "2" }, { name: "c" }] }), {
    parts: [{ name: "a", image: "1" }, { name: "b", image: "2" }, { name: "c" }],
  });
  assert.deepEqual(strategic({ parts }, { parts: [{ name: "a", $patch: "delete" }] }), { parts: [parts[1]] });
  assert.deepEqual(strategic({ parts }, { parts: [{ $patch: "replace" }, { name: "z" }] }), { parts: [{ name: "z" }] });
  const order = { "$setElementOrder/parts": [{ name: "b" }, { name: "a" }], parts: [{ name: "a", size: 3 }] };
  assert.deepEqual(strategic({ parts }, order), { parts: [parts[1], { name: "a", image: "1", size: 3 }] });
  assert.deepEqual(strategic({ tags: ["x", "y"] }, { tags: ["z"], "$deleteFromPrimitiveList/tags": ["x"] }), {
    tags: ["y", "z"],
  });
  assert.deepEqual(strategic({ args: ["x"] }, { args: ["y"] }), { args: ["y"] });
  assert.deepEqual(strategic({ color: "red", replicas: 1 }, { $retainKeys: ["replicas"], replicas: 2 }), {
    replicas: 2,
  });
  assert.deepEqual(strategic({ color: "red" }, { $patch: "replace", replicas: 2 }), { replicas: 2 });
  assert.throws(() => strategic({ parts }, { parts: [{ image: "1" }] }), /does not contain declared merge key: name/);
});
