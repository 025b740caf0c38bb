import assert from "node:assert/strict";
import { test } from "node:test";

import { resources } from "../../client/index.ts";
import { world } from "../testing/world.ts";
import { resourceClaimController } from "./index.ts";

const finalizer = "resource.kubernetes.io/delete-protection";
const spec = { devices: { requests: [{ name: "gpu", exactly: { deviceClassName: "gpu" } }] } };
const podOf = (name: string, resourceClaims: object[]) => ({
  metadata: { name, namespace: "default" },
  spec: { containers: [{ name: "main", image: "x" }], resourceClaims } as never,
});

test("a Pod's claim is made from its template, given back when the Pod has ended, and goes then", async () => {
  const w = await world([resourceClaimController]);
  const claims = w.client.of(resources.resourceClaims);
  const [pods, templates] = [w.client.of(resources.pods), w.client.of(resources.resourceClaimTemplates)];
  await pods.create(podOf("p", [{ name: "device", resourceClaimTemplateName: "t" }]));
  await w.rest();
  assert.match(
    (await w.events()).join("\n"),
    /FailedResourceClaimCreation: PodResourceClaim device: resource claim template "t": /,
  );
  await templates.create({
    metadata: { name: "t", namespace: "default" },
    spec: { metadata: { labels: { a: "b" } }, spec },
  });
  await w.rest(10_000);
  const [claim] = (await claims.list()).items;
  assert.match(claim!.metadata.name, /^p-device-/);
  assert.deepEqual(claim!.metadata.labels, { a: "b" });
  assert.equal(claim!.metadata.ownerReferences?.[0]?.name, "p");
  const pod = await pods.get({ name: "p", namespace: "default" });
  assert.deepEqual(pod.status?.resourceClaimStatuses, [{ name: "device", resourceClaimName: claim!.metadata.name }]);

  const metadata = { ...claim!.metadata, finalizers: [finalizer] };
  const reserved = { resource: "pods", name: "p", uid: pod.metadata.uid };
  const held = await claims.update({ ...claim!, metadata });
  await claims.updateStatus({ ...held, status: { allocation: { devices: {} }, reservedFor: [reserved] } });
  await w.rest();
  assert.equal((await claims.list()).items[0]!.status?.reservedFor?.length, 1);
  await w.setPhase(await pods.get(pod.metadata), "Succeeded");
  await w.rest(10_000);
  assert.deepEqual((await claims.list()).items, []);
  await w.close();
});

test("a claim of somebody's own stays when its last Pod has gone, no longer allocated; one that is used by another stays so", async () => {
  const w = await world([resourceClaimController]);
  const claims = w.client.of(resources.resourceClaims);
  const pods = w.client.of(resources.pods);
  const all = [];
  for (const name of ["one", "two"])
    all.push(await pods.create(podOf(name, [{ name: "device", resourceClaimName: "shared" }])));
  const made = await claims.create({
    metadata: { name: "shared", namespace: "default", finalizers: [finalizer] },
    spec,
  });
  const reservedFor = all.map(({ metadata }) => ({ resource: "pods", name: metadata.name, uid: metadata.uid }));
  await claims.updateStatus({ ...made, status: { allocation: { devices: {} }, reservedFor } });
  await w.rest();
  const now = () => claims.get({ name: "shared", namespace: "default" });
  assert.equal((await now()).status?.reservedFor?.length, 2);
  await pods.delete({ name: "one", namespace: "default" }, { gracePeriodSeconds: 0 });
  await w.rest(5000);
  assert.deepEqual(
    (await now()).status?.reservedFor?.map(({ name }) => name),
    ["two"],
  );
  assert.ok((await now()).status?.allocation);
  await pods.delete({ name: "two", namespace: "default" }, { gracePeriodSeconds: 0 });
  await w.rest(5000);
  assert.equal((await now()).status?.allocation, undefined);
  assert.deepEqual((await now()).metadata.finalizers ?? [], []);
  await w.close();
});
