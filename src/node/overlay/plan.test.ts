import assert from "node:assert/strict";
import { test } from "node:test";
import { IpRange } from "../../base/index.ts";
import { clusterCidrs, MAX_LOCAL_NODES, overlayNode, podRanges } from "./plan.ts";

const ranges = { pod: "10.244", pod6: "fd00:244" };
/** Of Ingresses, Gateways and load balancers (daemon/services/cluster/settings.ts). */
const VIRTUAL = ["10.244.254.0/24", "10.244.255.0/24", "fd00:244:fffe::/112"];
const inside = (address: string, cidr: string) => new IpRange(cidr).offsetOf(address) !== undefined;

test("every node has addresses of its own, within the cluster's ranges and outside of those of Services", () => {
  const nodes = Array.from({ length: MAX_LOCAL_NODES }, (_, index) => overlayNode(ranges, index + 1));
  const all = nodes.flatMap(({ underlay, underlay6, ends, gateways }) => [underlay, underlay6!, ...ends, ...gateways]);
  assert.equal(new Set(all).size, all.length);
  for (const address of all) for (const cidr of VIRTUAL) assert.ok(!inside(address, cidr), `${address} is of ${cidr}`);
  // What leaves the machine from an address of these is translated there.
  for (const address of nodes.flatMap(({ underlay, underlay6 }) => [underlay, underlay6!]))
    assert.ok(
      clusterCidrs(ranges).some((cidr) => inside(address, cidr)),
      address,
    );
});

test("Pods' ranges are disjoint, and those of the nodes' own network are not among them", () => {
  const nodes = Array.from({ length: MAX_LOCAL_NODES }, (_, index) => overlayNode(ranges, index + 1));
  assert.equal(new Set(nodes.flatMap(({ podCidrs }) => podCidrs)).size, 2 * MAX_LOCAL_NODES);
  for (const { underlay, underlay6 } of nodes)
    for (const cidr of podRanges(ranges)) for (const one of [underlay, underlay6!]) assert.ok(!inside(one, cidr), one);
});

test("addresses are written as the kernel writes them, and without a second family there are none of it", () => {
  assert.equal(overlayNode({ pod: "10.1", pod6: "fd00:09da" }, 10).underlay6, "fd00:9da:0:fffd::a");
  assert.equal(overlayNode({ pod: "10.1" }, 2).underlay6, undefined);
});
