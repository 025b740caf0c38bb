import assert from "node:assert/strict";
import { test } from "node:test";
import { canonicalIp, IpRange } from "./ip-range.ts";

test("addresses by their place, in both families", () => {
  const four = new IpRange("10.96.7.9/16");
  assert.deepEqual(
    [four.cidr, four.at(1), four.at(0x1ff), four.offsetOf("10.96.1.0")],
    ["10.96.0.0/16", "10.96.0.1", "10.96.1.255", 256n],
  );
  assert.deepEqual(
    [four.offsetOf("10.97.0.0"), four.offsetOf("fd00::1"), four.usable],
    [undefined, undefined, 65_534n],
  );
  const six = new IpRange("fd00:96::/112");
  assert.deepEqual([six.at(10), six.offsetOf("fd00:96:0::ffff"), six.usable], ["fd00:96::a", 65_535n, 65_535n]);
  assert.equal(canonicalIp("FD00:96:0:0::A"), "fd00:96::a");
  for (const bad of ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0/8"]) assert.throws(() => new IpRange(bad), /no range/);
});
