import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeStatus } from "./node-object.ts";

test("what an administrator adds to the capacity can be given to Pods, and goes with it", () => {
  const pluginDevices = { capacity: { "example.com/gpu": "3" }, allocatable: { "example.com/gpu": "2" } };
  const machine = { cpus: 2, memoryBytes: 1024, hostIps: [] };
  const inputs = { machine, maxPods: 1, ephemeralBytes: 0, images: [], pressure: {}, volumesInUse: [], pluginDevices };
  const status = (old: object) => nodeStatus(inputs as never, old);
  const given = status({ capacity: { cpu: "1", "example.com/dongle": "4" } });
  assert.deepEqual([given.capacity!["example.com/dongle"], given.allocatable!["example.com/dongle"]], ["4", "4"]);
  assert.equal(given.allocatable!["cpu"], "2");
  assert.deepEqual([given.capacity!["example.com/gpu"], given.allocatable!["example.com/gpu"]], ["3", "2"]);
  const taken = status({ capacity: {}, allocatable: { "example.com/dongle": "4" } });
  assert.equal(taken.allocatable!["example.com/dongle"], null);
});
