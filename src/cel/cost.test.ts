import assert from "node:assert/strict";
import { test } from "node:test";

import { checkCel } from "./compile.ts";
import { estimateCost } from "./cost.ts";
import { maxCardinality, typeOfSchema } from "./schema-types.ts";
import type { JsonSchema } from "./schema-types.ts";

function costOf(schema: JsonSchema, rule: string): number {
  const self = typeOfSchema(schema)!;
  const { checked, problem } = checkCel(rule, { self, oldSelf: self });
  assert.equal(problem, undefined);
  return estimateCost(checked!, { self, oldSelf: self });
}

type Make = (most: number | undefined) => JsonSchema;
const typed = (type: string): JsonSchema => {
  if (type === "int-or-string") return { "x-kubernetes-int-or-string": true };
  return ["duration", "date", "date-time"].includes(type) ? { type: "string", format: type } : { type };
};
const list =
  (items: JsonSchema): Make =>
  (maxItems) => ({ type: "array", items, maxItems });
const map =
  (additionalProperties: JsonSchema): Make =>
  (maxProperties) => ({ type: "object", additionalProperties, maxProperties });
const text: Make = (maxLength) => ({ type: "string", maxLength });
const bytes: Make = (maxLength) => ({ type: "string", format: "byte", maxLength });
const pair: JsonSchema = {
  type: "object",
  required: ["required"],
  properties: { required: { type: "string" }, optional: { type: "string" } },
};
const nested: Make = (most) => map({ type: "string", maxLength: most })(most);
const allBound: Make = (most) => list(map(pair)(most))(most);
const innerBound: Make = (most) => list(map(pair)(most))(undefined);

/** What upstream's test of its own compiler asserts (apiextensions-apiserver, pkg/apiserver/schema/cel/compilation_test.go). */
const rows: readonly [schema: Make, rule: string, unbound: number, most: number, bound: number][] = [
  [list(typed("number")), "self.all(x, true)", 4_718_591, 10, 32],
  [list(typed("string")), "self.all(x, true)", 3_145_727, 20, 62],
  [list(typed("boolean")), "self.all(x, true)", 1_887_437, 5, 17],
  [list(list(typed("number"))(undefined)), "self.all(x, true)", 3_145_727, 100, 302],
  [list(pair), "self.all(x, true)", 555_128, 50, 152],
  [map(typed("number")), "self.all(x, true)", 1_348_169, 10, 32],
  [map(typed("string")), "self.all(x, true)", 1_179_647, 3, 11],
  [map(typed("boolean")), "self.all(x, true)", 943_718, 100, 302],
  [text, "self.contains('test')", 314_574, 10, 5],
  [text, "self.startsWith('test')", 2, 15, 2],
  [text, "self.endsWith('test')", 2, 30, 2],
  [text, 'size(self + "hello") > size("hello")', 314_578, 4, 7],
  [list(typed("number")), "self[1] == 0.0", 2, 5000, 2],
  [list(typed("string")), "self[1] == self[1]", 314_577, 8, 314_577],
  [list(typed("number")), "self.all(x, self.all(y, true))", 7_421_701_914_624, 10, 352],
  [text, 'self.matches("x")', 314_574, 50, 22],
  [text, '"".matches("(((((((((())))))))))[0-9]")', 7, 10, 7],
  [text, 'self.matches("")', 1, 100, 1],
  [nested, "self.all(x, x.contains(self[x]))", 2_752_507, 10, 72],
  [map(typed("number")), 'self["x"] == 0.0', 2, 0, 2],
  [text, 'self == "x"', 2, 0, 1],
  [bytes, 'self == b"x"', 2, 0, 1],
  [list(typed("number")), "self.all(x, x == 0.0)", 6_291_454, 3 * 1024 * 2048, 25_165_826],
  [allBound, 'self.all(x, x["y"].required == "z")', 7_340_027, 10, 72],
  [innerBound, 'self.all(x, x["y"].required == "z")', 7_340_027, 10, 7_340_027],
  [list(typed("int-or-string")), "self.all(x, true)", 4_718_591, 10, 32],
  [list(typed("int-or-string")), "self[0] == 5", 3, 10, 3],
  [list(typed("boolean")), "self[0] == false", 2, 25, 2],
  [list(pair), "self[0] == null", 2, 422, 2],
  [list(list(typed("number"))(undefined)), "self[0][0] == -1.0", 3, 51, 3],
  [list(map(typed("number"))(undefined)), "self.all(x, x.y == 25.2)", 6_291_452, 12, 74],
  [list(map(typed("number"))(undefined)), "self[0].x > 2.0", 4, 3000, 4],
  [list(typed("duration")), "self.all(x, true)", 2_359_295, 5, 17],
  [list(typed("duration")), "self[0].getHours() == 2", 4, 525, 4],
  [list(typed("date")), "self.all(x, true)", 725_936, 15, 47],
  [list(typed("date")), "self[2].getDayOfMonth() == 13", 4, 42, 4],
  [list(typed("date-time")), "self.all(x, true)", 428_963, 25, 77],
  [map(typed("int-or-string")), "self.all(x, true)", 1_348_169, 15, 47],
  [map(pair), "self.all(x, true)", 428_963, 20, 62],
  [map(map(typed("number"))(undefined)), "self.all(x, true)", 1_179_647, 10, 32],
  [map(typed("duration")), "self.all(x, true)", 1_048_577, 5, 17],
  [map(typed("date")), "self.all(x, true)", 524_288, 10, 32],
];
for (const [make, rule, unbound, most, bound] of rows)
  test(`the cost of ${rule} on ${JSON.stringify(make(undefined))}`, () =>
    assert.deepEqual([costOf(make(undefined), rule), costOf(make(most), rule)], [unbound, bound]));

test("how often a rule may run is what fits into a request", () => {
  assert.equal(maxCardinality(typeOfSchema({ type: "boolean" })!), 629_145);
});
