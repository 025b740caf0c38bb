import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../base/index.ts";
import { Inventory } from "./inventory.ts";
import type { DevicePlugin } from "./plugin.ts";

const RESOURCE = "example.com/gpu";
const plugin = () => ({}) as DevicePlugin;
const device = (id: string, healthy = true) => ({ id, healthy, nodes: [] });

test("devices are counted with their health", () => {
  const inventory = new Inventory(new FakeClock());
  const mine = plugin();
  inventory.register(RESOURCE, mine);
  inventory.update(RESOURCE, mine, [device("a"), device("b", false)]);
  assert.deepEqual(inventory.quantities(), { capacity: { [RESOURCE]: "2" }, allocatable: { [RESOURCE]: "1" } });
});

test("a plugin that went leaves its devices unhealthy, and none after a while", async () => {
  const clock = new FakeClock();
  const inventory = new Inventory(clock);
  const mine = plugin();
  inventory.register(RESOURCE, mine);
  inventory.update(RESOURCE, mine, [device("a")]);
  assert.equal(inventory.lost(RESOURCE, mine), true);
  assert.deepEqual(inventory.quantities(), { capacity: { [RESOURCE]: "1" }, allocatable: { [RESOURCE]: "0" } });
  await clock.advance(300_000);
  assert.deepEqual(inventory.quantities(), { capacity: { [RESOURCE]: "0" }, allocatable: { [RESOURCE]: "0" } });
  assert.equal(inventory.has(RESOURCE), false);
});

test("who was replaced has no say any more", () => {
  const inventory = new Inventory(new FakeClock());
  const [former, latter] = [plugin(), plugin()];
  inventory.register(RESOURCE, former);
  assert.equal(inventory.register(RESOURCE, latter), former);
  assert.equal(inventory.update(RESOURCE, former, [device("a")]), false);
  assert.equal(inventory.lost(RESOURCE, former), false);
  assert.equal(inventory.plugin(RESOURCE), latter);
});
