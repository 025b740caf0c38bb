import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { wantsTopologyHints, withTopologyHints } from "./topology.ts";

const node = (zone: string | undefined, cpu: string, ready = "True", labels = {}) =>
  ({
    metadata: { name: "n", labels: { ...(zone && { "topology.kubernetes.io/zone": zone }), ...labels } },
    status: { allocatable: { cpu }, conditions: [{ type: "Ready", status: ready }] },
  }) as unknown as Stored<k8s.Node>;

/** `a3 b1`: three endpoints in zone a, one in b. */
const endpoints = (text: string): k8s.Endpoint[] =>
  text.split(" ").flatMap((word) =>
    Array.from({ length: Number(word.slice(1)) }, (_, index) => ({
      addresses: [`${word[0]}${index}`],
      zone: word[0] === "?" ? undefined : word[0]!,
      conditions: { ready: word[0] !== "x" },
    })),
  );

/** By zone, how many endpoints are meant for it; undefined without hints. */
function meantFor(hinted: readonly k8s.Endpoint[]): Record<string, number> | undefined {
  const counts: Record<string, number> = {};
  for (const { hints } of hinted) for (const { name } of hints?.forZones ?? []) counts[name] = (counts[name] ?? 0) + 1;
  return Object.keys(counts).length === 0 ? undefined : counts;
}

const even = [node("a", "4"), node("b", "4")];

const cases: ReadonlyArray<readonly [string, string, readonly Stored<k8s.Node>[], Record<string, number> | undefined]> =
  [
    ["each zone keeps its own", "a2 b2", even, { a: 2, b: 2 }],
    ["a fifth too much is borne", "a6 b5", even, { a: 6, b: 5 }],
    ["who has too many gives", "a5 b1", even, { a: 3, b: 3 }],
    ["a zone without endpoints gets some", "a4", even, { a: 2, b: 2 }],
    ["shares go by processors", "a4 b4", [node("a", "6"), node("b", "2")], { a: 5, b: 3 }],
    ["fractions of processors count", "a2 b2", [node("a", "1500m"), node("b", "1500m")], { a: 2, b: 2 }],
    ["one zone alone needs none", "a4", [node("a", "4")], undefined],
    ["fewer endpoints than zones", "a1", even, undefined],
    ["too few for everybody's share", "a1 b1", [node("a", "7"), node("b", "1")], undefined],
    ["an endpoint of an unknown zone", "a2 ?1 b2", even, undefined],
    ["a node without a zone", "a2 b2", [...even, node(undefined, "4")], undefined],
    ["a node that is not ready counts for nothing", "a2 b2", [...even, node("c", "4", "False")], { a: 2, b: 2 }],
    [
      "a control plane's node neither",
      "a2 b2",
      [...even, node("c", "4", "True", { "node-role.kubernetes.io/control-plane": "" })],
      { a: 2, b: 2 },
    ],
  ];

for (const [name, before, nodes, wanted] of cases)
  test(`topology hints: ${name}`, () =>
    assert.deepEqual(meantFor(withTopologyHints(endpoints(before), nodes)), wanted));

test("endpoints that take no traffic have no hints, and count for nothing", () => {
  const hinted = withTopologyHints(endpoints("a2 b2 x3"), even);
  assert.equal(hinted.length, 7);
  assert.deepEqual(meantFor(hinted), { a: 2, b: 2 });
});

test("topology hints are asked for by either annotation, Auto or auto", () => {
  const service = (annotations: Record<string, string>) => ({ metadata: { annotations } }) as unknown as k8s.Service;
  assert.equal(wantsTopologyHints(service({ "service.kubernetes.io/topology-mode": "Auto" })), true);
  assert.equal(wantsTopologyHints(service({ "service.kubernetes.io/topology-aware-hints": "auto" })), true);
  assert.equal(wantsTopologyHints(service({ "service.kubernetes.io/topology-mode": "Disabled" })), false);
  assert.equal(wantsTopologyHints({} as k8s.Service), false);
});
