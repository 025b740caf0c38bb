import assert from "node:assert/strict";
import { test } from "node:test";

import { Budget } from "./budget.ts";
import { checkCel, compileCel } from "./compile.ts";
import { dyn } from "./types.ts";

const rows: readonly [expression: string, value: unknown][] = [
  ["ip('10.0.0.1').family()", 4n],
  ["ip('FE80::0001').isLinkLocalUnicast()", true],
  ["string(ip('2001:DB8:0::1'))", "2001:db8::1"],
  ["ip('127.0.0.1').isLoopback() && !ip('127.0.0.1').isGlobalUnicast()", true],
  ["ip('0.0.0.0').isUnspecified()", true],
  ["ip('224.0.0.1').isLinkLocalMulticast()", true],
  ["isIP('300.1.1.1') || isIP('::1%eth0') || isIP('1.2.3')", false],
  ["cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('::1'))", true],
  ["cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16')) && !cidr('10.1.0.0/16').containsCIDR('10.0.0.0/8')", true],
  ["string(cidr('10.1.2.3/8').masked())", "10.0.0.0/8"],
  ["cidr('fd00::/64').prefixLength()", 64n],
  ["isCIDR('10.0.0.0/33') || isCIDR('10.0.0.0')", false],
  ["url('https://u@[::1]:443/a%20b?x=1&x=2').getHost()", "[::1]:443"],
  ["url('https://example.com:443/a%20b').getPort() + url('https://example.com').getPort()", "443"],
  ["url('https://example.com/a%20b').getEscapedPath()", "/a%20b"],
  ["url('https://example.com/?x=1&x=2').getQuery()['x'].size()", 2n],
  ["isURL('no url')", false],
  ["semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))", true],
  [
    "semver('1.2.3-rc.10').isGreaterThan(semver('1.2.3-rc.9')) && semver('1.0.0-a').isGreaterThan(semver('1.0.0-1'))",
    true,
  ],
  ["semver('1.10.0').compareTo(semver('1.9.9')) + semver('1.0.0').compareTo(semver('1.0.0'))", 1n],
  ["isSemver('v1.0.0') || isSemver('1.0') || isSemver('01.0.0')", false],
  ["sets.contains([1, 2, 3], [2, 2])", true],
  ["sets.contains([1], [2]) || sets.intersects([1, 2], [])", false],
  ["sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects(['a'], ['b', 'a'])", true],
  ["ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1') && ip('10.0.0.1').family() == 4", true],
  // What Go's expressions mean and JavaScript's don't.
  ["'a\\nb'.matches('(?s)a.b') && 'É'.matches('^\\\\pL$')", true],
  // Quantities.
  ["quantity('1Ki').add(quantity('24')).sub(24).asInteger() == 1024 && quantity('1.5').isInteger() == false", true],
  ["quantity('1000m') == quantity('1') && quantity('-1').sign() == -1 && isQuantity('1Q') == false", true],
  // Formats.
  [
    "format.dns1123Label().validate('My_Name').hasValue() && !format.named('uuid').value().validate('no').orValue([]).isSorted() == false",
    true,
  ],
  ["!format.date().validate('2021-02-01').hasValue() && !format.named('nothing').hasValue()", true],
  ["format.dns1123LabelPrefix().validate('my-label-prefix-').hasValue()", false],
  // Strings.
  ["'%s is %.2f'.format(['a', dyn(1.5)]) + '%d %x %b'.format([3, 255, 5])", "a is 1.503 ff 101"],
  ["'hello hello'.replace('he', 'we', 1) + 'abc'.charAt(2) + strings.quote('a\"b')", 'wello helloc"a\\"b"'],
  // Lists.
  ["[1, 2, 3].sum() + [2, 3].min() + [4, 5].max() + [1, 2, 1].lastIndexOf(1) + ['a', 'b'].indexOf('b')", 16n],
  // Optional values.
  [
    "{'a': 1}[?'b'].orValue(3) + optional.of(2).optMap(x, x + 1).value() + optional.none().or(optional.of(1)).value()",
    7n,
  ],
  ["optional.ofNonZeroValue('').hasValue() || optional.of(optional.none()).optFlatMap(x, x).hasValue()", false],
  // Macros of two variables.
  [
    "[5, 6].all(i, v, v == i + 5) && {'a': 1}.exists(k, v, k == 'a' && v == 1) && [1, 1].existsOne(v, v == 1) == false",
    true,
  ],
  ["[1, 2].transformList(i, v, i > 0, v * 2) == [4] && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2}", true],
  ["[[1, 2], [3]].map(a, a.map(b, b * 2)) == [[2, 4], [6]]", true],
  [
    "has({'a': {'b': 1}}['a'].b) && ![{'a': 1}].exists(m, has(m.b)) && optional.of({'a': 1}).optMap(m, has(m.a)).value()",
    true,
  ],
  // Rewriting leaves the meaning alone.
  ["1 - (2 - 3) == 2 && -(1 + 2) == -3 && 1.0e30 > 1.0e29 && ((1 < 2) ? true : false)", true],
];
for (const [expression, value] of rows)
  test(`CEL: ${expression}`, () => {
    assert.equal(checkCel(expression, {}).problem, undefined);
    assert.deepEqual(compileCel(expression)({}), value);
  });

test("CEL: what is no address or version ends the expression with an error", () => {
  assert.throws(() => compileCel("ip('x').family() == 4")({}), /parse error/);
  assert.throws(() => compileCel("semver('1').major() == 1")({}), /is not a semantic version/);
});

test("a pattern takes time in proportion to the text, whatever it is", () => {
  const text = `${"a".repeat(5000)}!`;
  assert.equal(compileCel("self.matches('^(a+)+$')")({ self: text }), false);
});

test("an expression that costs too much ends, and takes all of its budget with it", () => {
  const list = Array.from({ length: 1000 }, (_, at) => BigInt(at));
  const budget = new Budget(1_500_000);
  const expensive = compileCel("self.all(a, self.all(b, self.all(c, a + b + c >= 0))) || true");
  assert.throws(() => expensive({ self: list }, budget), /operation cancelled: actual cost limit exceeded/);
  assert.equal(budget.isSpent, false);
  assert.throws(() => expensive({ self: list }, budget), /cost limit/);
  assert.equal(budget.isSpent, true);
  assert.equal(compileCel("self.all(a, a >= 0)")({ self: list }), true);
});

const wrong: readonly [expression: string, problem: string][] = [
  [
    "object.x && b",
    "ERROR: <input>:1:13: undeclared reference to 'b' (in container '')\n | object.x && b\n | ............^",
  ],
  [
    "1 == 'a'",
    "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, string)'\n | 1 == 'a'\n | ..^",
  ],
  [
    "'a'.startsWith(1)",
    "ERROR: <input>:1:15: found no matching overload for 'startsWith' applied to 'string.(int)'\n | 'a'.startsWith(1)\n | ..............^",
  ],
  ["'a'.b", "ERROR: <input>:1:4: type 'string' does not support field selection\n | 'a'.b\n | ...^"],
  ["nothing(1)", "ERROR: <input>:1:8: undeclared reference to 'nothing' (in container '')\n | nothing(1)\n | .......^"],
  [
    "true.all(x, x)",
    "ERROR: <input>:1:1: expression of type 'bool' cannot be range of a comprehension (must be list, map, or dynamic)\n | true.all(x, x)\n | ^",
  ],
  [
    "[1, 'a'].size() == 2",
    "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a'].size() == 2\n | ....^",
  ],
];
for (const [expression, problem] of wrong)
  test(`CEL is wrong in cel-go's words: ${expression}`, () =>
    assert.equal(checkCel(expression, { object: dyn }).problem, problem));
