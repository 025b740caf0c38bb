import assert from "node:assert/strict";
import { test } from "node:test";
import { compileCel } from "./cel-compile.ts";

const rows: readonly [expression: string, value: unknown][] = [
  ["sets.contains([1, 2, 3], [2, 2])", true],
  ["sets.contains([1], [2]) || sets.intersects([1, 2], [])", false],
  ["sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects(['a'], ['b', 'a'])", true],
  ["ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1') && ip('10.0.0.1').family() == 4", true],
  // What Go's expressions mean and JavaScript's don't.
  ["'a\\nb'.matches('(?s)a.b') && 'É'.matches('^\\\\pL$')", true],
];
for (const [expression, value] of rows)
  test(`CEL: ${expression}`, () => assert.equal(compileCel(expression)({}), value));

test("a pattern takes time in proportion to the text, whatever it is", () => {
  const text = `${"a".repeat(5000)}!`;
  assert.equal(compileCel("self.matches('^(a+)+$')")({ self: text }), false);
});
