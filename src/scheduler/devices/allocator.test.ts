import assert from "node:assert/strict";
import { test } from "node:test";

import type { k8s } from "../../api/index.ts";
import { NodeInfo } from "../node-info.ts";
import { allocate } from "./allocator.ts";
import { gatherPools } from "./pools.ts";
import { Selectors } from "./selectors.ts";

const selectors = new Selectors();
await selectors.load();

const node = new NodeInfo("n1");
node.setNode({ metadata: { name: "n1", labels: { zone: "a" } }, spec: {}, status: {} } as never);

const driver = "gpu.example.com";
const device = (name: string, numa: number, memory: string, more: Partial<k8s.Device> = {}): k8s.Device => ({
  name,
  attributes: { numa: { int: numa }, "other.com/model": { string: "x" }, version: { version: "1.2.3" } },
  capacity: { memory: { value: memory } },
  ...more,
});
const slice = (devices: k8s.Device[], more: Partial<k8s.ResourceSliceSpec> = {}): k8s.ResourceSlice => ({
  metadata: { name: "s" },
  spec: { driver, pool: { name: "pool", generation: 1, resourceSliceCount: 1 }, nodeName: "n1", devices, ...more },
});
const classes: Record<string, k8s.DeviceClass> = {
  gpu: {
    metadata: { name: "gpu" },
    spec: {
      selectors: [{ cel: { expression: `device.driver == '${driver}'` } }],
      config: [{ opaque: { driver, parameters: { a: 1 } as never } }],
    },
  },
};
const four = slice([device("a", 0, "10Gi"), device("b", 1, "20Gi"), device("c", 0, "20Gi"), device("d", 1, "40Gi")]);

const claim = (devices: k8s.DeviceClaim): k8s.ResourceClaim => ({
  metadata: { name: "c", namespace: "default" },
  spec: { devices },
});
const exactly = (name: string, more: Partial<k8s.ExactDeviceRequest> = {}): k8s.DeviceRequest => ({
  name,
  exactly: { deviceClassName: "gpu", allocationMode: "ExactCount", count: 1, ...more },
});
const cel = (expression: string) => ({ selectors: [{ cel: { expression } }] });
const run = (claims: k8s.ResourceClaim[], options: { slices?: k8s.ResourceSlice[]; taken?: string[] } = {}) =>
  allocate(claims, {
    pools: gatherPools(options.slices ?? [four], node),
    classes: (name) => classes[name],
    select: selectors.forCycle(),
    taken: new Set(options.taken),
  });
const devicesOf = (result: k8s.AllocationResult[] | undefined) =>
  result?.map(({ devices }) => devices!.results!.map(({ request, device: name }) => `${request}=${name}`).join(" "));

test("devices are chosen by class, selectors and what is free; the result says where they are and how they are set up", () => {
  const [result] = run([claim({ requests: [exactly("r")] })])!;
  assert.deepEqual(result, {
    devices: {
      results: [{ request: "r", driver, pool: "pool", device: "a" }],
      config: [{ opaque: { driver, parameters: { a: 1 } }, source: "FromClass", requests: ["r"] }],
    },
    nodeSelector: { nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["n1"] }] }] },
  });
  const big = cel(`device.capacity['${driver}'].memory.compareTo(quantity('20Gi')) >= 0`);
  assert.deepEqual(devicesOf(run([claim({ requests: [exactly("r", { ...big, count: 2 })] })])), ["r=b r=c"]);
  assert.deepEqual(devicesOf(run([claim({ requests: [exactly("r", big)] })], { taken: [`${driver}/pool/b`] })), [
    "r=c",
  ]);
  const version = cel(
    `device.attributes['${driver}'].version.isGreaterThan(semver('1.0.0')) && !has(device.attributes['no.where'].x)`,
  );
  assert.deepEqual(devicesOf(run([claim({ requests: [exactly("r", { ...version, count: 4 })] })])), [
    "r=a r=b r=c r=d",
  ]);
  assert.equal(run([claim({ requests: [exactly("r", { count: 5 })] })]), undefined);
});

test("requests of one claim may have to be on one side; the search goes back where the first choice leads nowhere", () => {
  const big = cel(`device.capacity['${driver}'].memory.compareTo(quantity('40Gi')) >= 0`);
  const requests = [exactly("small"), exactly("large", big)];
  const constraints = [{ matchAttribute: `${driver}/numa`, requests: ["small", "large"] }];
  assert.deepEqual(devicesOf(run([claim({ requests, constraints })])), ["small=b large=d"]);
  const three = [exactly("r", { count: 3 })];
  assert.equal(run([claim({ requests: three, constraints: [{ matchAttribute: `${driver}/numa` }] })]), undefined);
  assert.deepEqual(devicesOf(run([claim({ requests: three, constraints: [{ matchAttribute: "other.com/model" }] })])), [
    "r=a r=b r=c",
  ]);
});

test("alternatives are tried in their order; all devices are all or nothing; administrators share", () => {
  const alternatives = (first: number): k8s.DeviceRequest => ({
    name: "r",
    firstAvailable: [
      { name: "many", deviceClassName: "gpu", allocationMode: "ExactCount", count: first },
      { name: "one", deviceClassName: "gpu", allocationMode: "ExactCount", count: 1 },
    ],
  });
  assert.deepEqual(devicesOf(run([claim({ requests: [alternatives(5)] })])), ["r/one=a"]);
  assert.deepEqual(devicesOf(run([claim({ requests: [alternatives(2)] })])), ["r/many=a r/many=b"]);
  const all = exactly("r", {
    allocationMode: "All",
    count: undefined,
    ...cel(`device.attributes['${driver}'].numa == 0`),
  });
  assert.deepEqual(devicesOf(run([claim({ requests: [all] })])), ["r=a r=c"]);
  assert.equal(run([claim({ requests: [all] })], { taken: [`${driver}/pool/c`] }), undefined);
  const admin = exactly("r", { adminAccess: true, allocationMode: "All", count: undefined });
  const taken = ["a", "b", "c", "d"].map((name) => `${driver}/pool/${name}`);
  assert.equal(run([claim({ requests: [admin] })], { taken })?.[0]?.devices?.results?.length, 4);
  const two = [claim({ requests: [exactly("x", { count: 3 })] }), claim({ requests: [exactly("y")] })];
  assert.deepEqual(devicesOf(run(two)), ["x=a x=b x=c", "y=d"]);
});

test("pools count in their newest generation, whole, and where the node may use them", () => {
  const pool = (generation: number, resourceSliceCount = 1) => ({
    pool: { name: "pool", generation, resourceSliceCount },
  });
  const newer = slice([device("new", 0, "1Gi")], pool(2));
  assert.deepEqual(devicesOf(run([claim({ requests: [exactly("r")] })], { slices: [four, newer] })), ["r=new"]);
  const all = exactly("r", { allocationMode: "All", count: undefined });
  assert.throws(
    () => run([claim({ requests: [all] })], { slices: [slice([device("a", 0, "1")], pool(1, 2))] }),
    /claim default\/c, request r: asks for all devices, but resource pool gpu\.example\.com\/pool is currently being updated/,
  );
  const inZone = (value: string) => ({
    nodeName: undefined,
    nodeSelector: { nodeSelectorTerms: [{ matchExpressions: [{ key: "zone", operator: "In", values: [value] }] }] },
  });
  const requests = [exactly("r")];
  assert.equal(run([claim({ requests })], { slices: [slice([device("a", 0, "1")], inZone("b"))] }), undefined);
  const [result] = run([claim({ requests })], { slices: [slice([device("a", 0, "1")], inZone("a"))] })!;
  assert.deepEqual(result!.nodeSelector, inZone("a").nodeSelector);
  const anywhere = slice([device("a", 0, "1")], { nodeName: undefined, allNodes: true });
  assert.equal(run([claim({ requests })], { slices: [anywhere] })![0]!.nodeSelector, undefined);
  assert.throws(
    () => run([claim({ requests: [exactly("r", cel("device.attributes['x'].y == 1"))] })]),
    /selector #1: CEL runtime error: no such key: y/,
  );
});
