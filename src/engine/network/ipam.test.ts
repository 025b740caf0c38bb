import assert from "node:assert/strict";
import { test } from "node:test";
import { choosePool, cutPools } from "./ipam.ts";
import { parseSubnet } from "./subnet.ts";

test("pools of a configured range come one after the other, clear of what is taken", () => {
  assert.deepEqual(
    [...cutPools({ base: "10.200.0.0/22", size: 24 })],
    ["10.200.0.0/24", "10.200.1.0/24", "10.200.2.0/24", "10.200.3.0/24"],
  );
  const configured = [{ base: "10.200.0.0/22", size: 24 }];
  assert.equal(choosePool(4, "00112233", [parseSubnet("10.200.0.0/23")], configured), "10.200.2.0/24");
  assert.throws(() => choosePool(4, "00112233", [parseSubnet("10.0.0.0/8")], configured), {
    code: "resourceExhausted",
  });
});

test("without configuration Docker's own pools are used, also for a family that the configuration leaves out", () => {
  assert.equal(choosePool(4, "00112233", []), "172.17.0.0/16");
  assert.equal(choosePool(6, "0011223344", [], [{ base: "10.200.0.0/22", size: 24 }]), "fd00:1122:3344::/64");
});

test("a size that does not fit is refused", () => {
  assert.throws(() => [...cutPools({ base: "10.200.0.0/22", size: 16 })], { code: "invalidArgument" });
  assert.throws(() => [...cutPools({ base: "10.200.0.0/22", size: 33 })], { code: "invalidArgument" });
});
