/** Attaching CSI volumes to nodes, with every controller over the real API server; the test plays the CSI driver's attacher and the kubelet. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { k8s } from "../src/api/index.ts";
import { resources } from "../src/client/index.ts";
import { openControlPlane } from "./support/control-plane.ts";

const { client, run, close } = await openControlPlane({ seed: 13 });
after(close);
const namespace = "default";
const attachments = client.of(resources.volumeAttachments);
const nodes = client.of(resources.nodes);

async function createVolume(name: string, driver: string, accessModes: string[]): Promise<void> {
  const capacity = { storage: "1Gi" };
  const csi = { driver, volumeHandle: `${name}-handle` };
  const claimRef = { name, namespace };
  await client
    .of(resources.persistentVolumes)
    .create({ metadata: { name }, spec: { capacity, accessModes, csi, claimRef, storageClassName: "" } });
  await client.of(resources.persistentVolumeClaims).create({
    metadata: { name, namespace },
    spec: { accessModes, resources: { requests: capacity }, storageClassName: "", volumeName: name },
  });
  await run(1000);
}

async function createPod(name: string, claimName: string, nodeName: string): Promise<void> {
  const spec: k8s.PodSpec = {
    nodeName,
    containers: [{ name: "main", image: "v1" }],
    volumes: [{ name: "data", persistentVolumeClaim: { claimName } }],
    terminationGracePeriodSeconds: 0,
  };
  await client.of(resources.pods).create({ metadata: { name, namespace }, spec });
  await run(1000);
}

const attachedTo = async () =>
  (await attachments.list({})).items.map(({ spec }) => `${spec.source.persistentVolumeName} ${spec.nodeName}`).sort();
const inUse = (name: string, volumesInUse: string[] | null) =>
  nodes.patch({ name }, { status: { volumesInUse } }, { subresource: "status" });

test("a volume for one node is attached, reported, and goes to the next node only when it is unmounted", async () => {
  await createVolume("disk", "disks.example.com", ["ReadWriteOnce"]);
  await createPod("first", "disk", "sim-0");
  const [attachment] = (await attachments.list({})).items;
  assert.deepEqual(attachment?.spec, {
    attacher: "disks.example.com",
    nodeName: "sim-0",
    source: { persistentVolumeName: "disk" },
  });
  assert.match(attachment.metadata.name, /^csi-[0-9a-f]{64}$/);
  await attachments.updateStatus({ ...attachment, status: { attached: true } });
  await run(500);
  const unique = "kubernetes.io/csi/disks.example.com^disk-handle";
  assert.deepEqual((await nodes.get({ name: "sim-0" })).status?.volumesAttached, [{ name: unique, devicePath: "" }]);

  await inUse("sim-0", [unique]);
  await createPod("second", "disk", "sim-1");
  assert.deepEqual(await attachedTo(), ["disk sim-0"]);
  const { items: events } = await client.of(resources.coreEvents).list({ namespace });
  assert.match(events.find(({ reason }) => reason === "FailedAttachVolume")?.message ?? "", /^Multi-Attach error for/);

  await client.of(resources.pods).delete({ name: "first", namespace }, { gracePeriodSeconds: 0 });
  await run(3000);
  assert.deepEqual(await attachedTo(), ["disk sim-0"], "it is still mounted");
  await inUse("sim-0", null);
  await run(3000);
  assert.deepEqual(await attachedTo(), ["disk sim-1"]);
  assert.equal((await nodes.get({ name: "sim-0" })).status?.volumesAttached, undefined);
});

test("a volume for many nodes is attached to each; a driver may need no attaching", async () => {
  await createVolume("shared", "files.example.com", ["ReadWriteMany"]);
  for (const node of ["sim-0", "sim-2"]) await createPod(`on-${node}`, "shared", node);
  assert.deepEqual(await attachedTo(), ["disk sim-1", "shared sim-0", "shared sim-2"]);
  await client
    .of(resources.csiDrivers)
    .create({ metadata: { name: "local.example.com" }, spec: { attachRequired: false } });
  await createVolume("near", "local.example.com", ["ReadWriteOnce"]);
  await createPod("near", "near", "sim-2");
  assert.ok(!(await attachedTo()).some((text) => text.startsWith("near")));
});

test("a node that is gone gives its volumes back", async () => {
  await inUse("sim-1", ["kubernetes.io/csi/disks.example.com^disk-handle"]);
  await client.of(resources.pods).delete({ name: "second", namespace }, { gracePeriodSeconds: 0 });
  await run(2000);
  assert.ok((await attachedTo()).includes("disk sim-1"));
  const node = await nodes.get({ name: "sim-1" });
  const taints = [{ key: "node.kubernetes.io/out-of-service", value: "nodeshutdown", effect: "NoExecute" }];
  await nodes.update({ ...node, spec: { ...node.spec, taints } });
  await run(2000);
  assert.ok(!(await attachedTo()).includes("disk sim-1"));
});
