import assert from "node:assert/strict";
import { test } from "node:test";
import { hintsOf } from "./plan.ts";

test("trafficDistribution becomes hints on endpoints that take traffic", () => {
  const endpoint = { addresses: ["10.0.0.1"], conditions: { ready: true }, nodeName: "n1", zone: "a" };
  const zone = { forZones: [{ name: "a" }] };
  assert.equal(hintsOf(undefined, endpoint), undefined);
  assert.deepEqual(hintsOf("PreferClose", endpoint), zone);
  assert.deepEqual(hintsOf("PreferSameZone", endpoint), zone);
  assert.deepEqual(hintsOf("PreferSameNode", endpoint), { ...zone, forNodes: [{ name: "n1" }] });
  assert.equal(hintsOf("PreferSameZone", { ...endpoint, zone: undefined }), undefined);
  assert.equal(hintsOf("PreferSameNode", { ...endpoint, conditions: { ready: false } }), undefined);
});
