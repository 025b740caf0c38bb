import assert from "node:assert/strict";
import { test } from "node:test";
import { celEnvironment } from "./cel-library.ts";

const environment = celEnvironment();
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
];
for (const [expression, value] of rows)
  test(`CEL: ${expression}`, () => assert.deepEqual(environment.evaluate(expression, {}), value));

test("CEL: what is no address ends the expression with an error", () => {
  assert.throws(() => environment.evaluate("ip('x').family() == 4", {}), /parse error/);
  assert.throws(() => environment.evaluate("semver('1').major() == 1", {}), /is not a semantic version/);
});
