import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { resources } from "../../client/index.ts";
import { world } from "../testing/world.ts";
import { freePodCidr, nodeIpamController } from "./index.ts";

test("the first part of the range that nobody has", () => {
  const node = (podCIDR?: string): k8s.Node => ({ metadata: { name: "n" }, spec: { podCIDR } });
  const rows: [range: string, taken: (string | undefined)[], free: string | undefined][] = [
    ["10.244.0.0/16", [], "10.244.0.0/24"],
    ["10.244.0.0/16", ["10.244.0.0/24", "10.244.2.0/24", undefined], "10.244.1.0/24"],
    ["10.244.3.7/24", [], "10.244.3.0/24"],
    ["10.244.3.0/24", ["10.244.3.0/24"], undefined],
    ["10.255.255.0/24", [], "10.255.255.0/24"],
    ["10.244.0.0/25", [], undefined],
    ["fd00::/48", [], undefined],
  ];
  for (const [range, taken, free] of rows) assert.equal(freePodCidr(range, taken.map(node)), free);
});

test("each node gets a range of its own; one too many is told so, and served when another leaves", async () => {
  const w = await world([nodeIpamController], { podCidr: "10.9.0.0/23" });
  const nodes = w.client.of(resources.nodes);
  for (const name of ["a", "b", "c"]) await nodes.create({ metadata: { name } });
  await w.rest();
  const cidrs = async () =>
    Object.fromEntries((await nodes.list()).items.map(({ metadata, spec }) => [metadata.name, spec?.podCIDRs?.join()]));
  assert.deepEqual(await cidrs(), { a: "10.9.0.0/24", b: "10.9.1.0/24", c: undefined });
  assert.deepEqual(await w.events(), ["CIDRNotAvailable: Node c status is now: CIDRNotAvailable"]);
  await nodes.delete({ name: "a" });
  await w.rest();
  assert.deepEqual(await cidrs(), { b: "10.9.1.0/24", c: "10.9.0.0/24" });
  await w.close();
});
