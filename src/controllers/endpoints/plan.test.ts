import assert from "node:assert/strict";
import { test } from "node:test";
import type { Pod } from "../common/index.ts";
import { desiredGroups, hintsOf, type Service } from "./plan.ts";

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

test("the annotation for hints by topology goes before trafficDistribution", () => {
  const nodes = ["a", "b"].map((zone) => ({
    metadata: { name: `node-${zone}`, labels: { "topology.kubernetes.io/zone": zone } },
    status: { allocatable: { cpu: "4" }, conditions: [{ type: "Ready", status: "True" }] },
  })) as never[];
  const pod = (name: string, ip: string) =>
    ({
      metadata: { name, namespace: "default", uid: name },
      spec: { nodeName: "node-a", containers: [] },
      status: { phase: "Running", podIP: ip, conditions: [{ type: "Ready", status: "True" }] },
    }) as unknown as Pod;
  const service = (annotations: Record<string, string>) =>
    ({
      metadata: { name: "web", namespace: "default", annotations },
      spec: { ports: [{ port: 80 }], trafficDistribution: "PreferSameZone" },
    }) as unknown as Service;
  const zonesOf = (annotations: Record<string, string>) =>
    desiredGroups(service(annotations), [pod("one", "10.0.0.1"), pod("two", "10.0.0.2")], {
      get: () => nodes[0],
      list: () => nodes,
    }).flatMap(({ endpoints }) => endpoints.map(({ hints }) => hints?.forZones?.[0]?.name));
  assert.deepEqual(zonesOf({}), ["a", "a"]);
  assert.deepEqual(new Set(zonesOf({ "service.kubernetes.io/topology-mode": "Auto" })), new Set(["a", "b"]));
});
