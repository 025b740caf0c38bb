import assert from "node:assert/strict";
import { test } from "node:test";

import { withAdvice } from "./advice.ts";
import { refuse } from "./framework.ts";

const said = (...reasons: string[]) =>
  withAdvice("0/3 nodes are available.", {
    nodeCount: 3,
    refusals: new Map(reasons.map((reason, at) => [`n${at}`, refuse("Any", false, reason)])),
  });

test("what refuses the most nodes is advised about, behind upstream's words", () => {
  assert.equal(
    said("Insufficient cpu", "node(s) were unschedulable", "node(s) were unschedulable"),
    "0/3 nodes are available. (berth: the node is cordoned: kubectl uncordon NODE)",
  );
  const lines = [
    "Insufficient cpu",
    "Insufficient example.com/gpu",
    "Too many pods",
    "node(s) had untolerated taint {dedicated: db}",
    "node(s) had untolerated taint {node.kubernetes.io/not-ready: }",
    "node(s) didn't match Pod's node affinity/selector",
    "node(s) didn't have free ports for the requested pod ports",
    "node(s) didn't match pod topology spread constraints",
    "pod has unbound immediate PersistentVolumeClaims",
    'persistentvolumeclaim "a" not found',
    "cannot allocate all claims",
    "request r: device class gpu does not exist",
  ].map((reason) => said(reason));
  assert.equal(new Set(lines).size, lines.length);
  assert.ok(lines.every((line) => line.includes("(berth: ")));
  assert.equal(said("something new"), "0/3 nodes are available.");
});
