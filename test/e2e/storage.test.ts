/** Dynamic provisioning with the real kubectl: the default class, StatefulSets, expansion, reclaim policies, devices, snapshots, clones. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { loopDevices } from "../../src/host/index.ts";
import { podOf, shell, startPods, type PodTests } from "../support/pods.ts";

let k: PodTests;
before(async () => {
  k = await startPods();
});
after(() => k?.berth.stop());

interface Claim {
  metadata: { annotations: Record<string, string> };
  spec: { volumeName: string };
  status: { phase: string; capacity?: Record<string, string> };
}
interface Snapshot {
  status: {
    readyToUse?: boolean;
    restoreSize?: string;
    boundVolumeSnapshotContentName?: string;
    error?: { message: string };
  };
}
/** Of the device that a file is. */
const loopOf = (file: string) =>
  loopDevices()
    .find((loop) => loop.file === file)
    ?.device.slice("/dev/".length);
const claim = (name: string, spec: object = {}) => ({
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: { name },
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "64Mi" } }, ...spec },
});
const using = (pod: string, name: string, script: string) =>
  podOf(
    pod,
    script,
    { volumes: [{ name: "data", persistentVolumeClaim: { claimName: name } }] },
    { volumeMounts: [{ name: "data", mountPath: "/data" }] },
  );

async function eventually(what: string, check: () => unknown): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await Promise.resolve(check()))) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

describe("storage", { concurrency: 4 }, () => {
  test("a claim waits for its Pod, then is a directory of the node; it grows and goes", async () => {
    await k.apply(claim("waits"));
    assert.equal((await k.get<Claim>("pvc", "waits")).status.phase, "Pending");
    await k.apply(using("writer", "waits", "echo kept > /data/file"));
    await k.finished("writer");
    const bound = await k.get<Claim>("pvc", "waits");
    assert.equal(bound.status.phase, "Bound");
    assert.equal(bound.status.capacity!["storage"], "64Mi");
    const folder = bound.metadata.annotations["berth.dev/host-path"]!;
    assert.equal(folder, path.join(k.berth.dataDir, "local-volumes", bound.spec.volumeName));
    assert.equal(readFileSync(path.join(folder, "file"), "utf8"), "kept\n");

    const larger = { spec: { resources: { requests: { storage: "128Mi" } } } };
    await k.kubectl("patch", "pvc", "waits", "-p", JSON.stringify(larger));
    await k.until<Claim>("pvc", "waits", (object) => object.status.capacity!["storage"] === "128Mi");

    await k.kubectl("delete", "pod", "writer", "--now");
    await k.kubectl("delete", "pvc", "waits");
    await eventually("the volume to go", async () => (await k.try("get", "pv", bound.spec.volumeName)).code !== 0);
    assert.equal(existsSync(folder), false);
  });

  test("a class of policy Retain keeps volume and files", async () => {
    await k.apply(
      {
        apiVersion: "storage.k8s.io/v1",
        kind: "StorageClass",
        metadata: { name: "kept" },
        provisioner: "berth.dev/local",
        reclaimPolicy: "Retain",
        volumeBindingMode: "Immediate",
      },
      claim("kept", { storageClassName: "kept" }),
    );
    const bound = await k.until<Claim>("pvc", "kept", (object) => object.status?.phase === "Bound");
    await k.kubectl("delete", "pvc", "kept");
    await k.until<Claim>("pv", bound.spec.volumeName, (volume) => volume.status.phase === "Released");
    assert.equal(existsSync(path.join(k.berth.dataDir, "local-volumes", bound.spec.volumeName)), true);
  });

  test("a StatefulSet's Pods each have their own volume, and find it again", async () => {
    const container = {
      ...shell("main", "hostname >> /data/log; trap 'exit 0' TERM; while :; do sleep 0.1; done"),
      volumeMounts: [{ name: "data", mountPath: "/data" }],
    };
    await k.apply({
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      metadata: { name: "db" },
      spec: {
        replicas: 2,
        serviceName: "db",
        selector: { matchLabels: { app: "db" } },
        template: {
          metadata: { labels: { app: "db" } },
          spec: { terminationGracePeriodSeconds: 1, containers: [container] },
        },
        volumeClaimTemplates: [claim("data")],
      },
    });
    await k.kubectl("rollout", "status", "statefulset/db", "--timeout=30s");
    const { metadata } = await k.get("pod", "db-1");
    await k.kubectl("delete", "pod", "db-1");
    await k.until("pod", "db-1", (pod) => pod.metadata.uid !== metadata.uid);
    await k.running("db-1");
    await eventually("both lines", async () => (await k.exec("db-1", "cat", "/data/log")) === "db-1\ndb-1\n");
    assert.equal(await k.exec("db-0", "cat", "/data/log"), "db-0\n");
  });

  test("a generic ephemeral volume lives and dies with its Pod", async () => {
    const volumeClaimTemplate = { spec: claim("x").spec };
    await k.apply(
      podOf(
        "ephemeral",
        "echo x > /data/file; cat /data/file",
        { volumes: [{ name: "data", ephemeral: { volumeClaimTemplate } }] },
        { volumeMounts: [{ name: "data", mountPath: "/data" }] },
      ),
    );
    assert.equal(await k.finished("ephemeral"), "x\n");
    await k.kubectl("delete", "pod", "ephemeral", "--now");
    await eventually("its claim to go", async () => (await k.try("get", "pvc", "ephemeral-data")).code !== 0);
  });

  test("a claim of mode Block is a device in the container, which keeps what is written and grows", async () => {
    const device = { volumeDevices: [{ name: "disk", devicePath: "/dev/disk" }] };
    const volumes = [{ name: "disk", persistentVolumeClaim: { claimName: "block" } }];
    const forever = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    await k.apply(
      claim("block", { volumeMode: "Block", resources: { requests: { storage: "1Mi" } } }),
      podOf("blocks", `echo kept > /dev/disk; ${forever}`, { volumes }, device),
    );
    await k.running("blocks");
    const { spec, metadata } = await k.get<Claim>("pvc", "block");
    const file = metadata.annotations["berth.dev/host-path"]!;
    await eventually("what is written to be in the file", () => readFileSync(file, "utf8").startsWith("kept\n"));
    assert.equal(statSync(file).size, 2 ** 20);
    const sectors = () => k.exec("blocks", "cat", `/sys/block/${loopOf(file)}/size`);
    assert.equal(await sectors(), "2048\n");
    await k.kubectl("patch", "pvc", "block", "-p", '{"spec":{"resources":{"requests":{"storage":"2Mi"}}}}');
    await k.until<Claim>("pvc", "block", (object) => object.status.capacity!["storage"] === "2Mi");
    await k.apply(podOf("again", "head -c 5 /dev/disk", { volumes }, device));
    assert.equal(await k.finished("again"), "kept\n");
    assert.equal(await sectors(), "4096\n");
    await k.kubectl("delete", "pod", "blocks", "again", "--now");
    assert.equal(loopOf(file), undefined, "no device is left");

    const mounted = { volumeMounts: [{ name: "disk", mountPath: "/disk" }] };
    await k.apply(podOf("mounts", "true", { volumes }, mounted));
    await eventually("the reason", async () =>
      (await k.events("mounts")).some(({ message }) =>
        message.includes("volume disk has volumeMode Block, but is specified in volumeMounts"),
      ),
    );
    await k.kubectl("delete", "pod", "mounts", "--now");
    await k.kubectl("delete", "pvc", "block");
    await eventually("the volume to go", async () => (await k.try("get", "pv", spec.volumeName)).code !== 0);
    assert.equal(existsSync(file), false);
  });

  test("a snapshot is restored, a claim is cloned; what can't be is said; everything goes again", async () => {
    await k.apply(claim("origin"));
    await k.apply(using("origin", "origin", "echo one > /data/file; chown 12:34 /data/file; ln -s file /data/link"));
    await k.finished("origin");
    const snapshot = { apiVersion: "snapshot.storage.k8s.io/v1", kind: "VolumeSnapshot" };
    const of = (name: string, source: object) => ({ ...snapshot, metadata: { name }, spec: { source } });
    await eventually("snapshots to be served", async () => (await k.try("get", "volumesnapshots")).code === 0);
    await k.apply(of("s1", { persistentVolumeClaimName: "origin" }), of("s2", { persistentVolumeClaimName: "nobody" }));
    const ready = await k.until<Snapshot>("volumesnapshot", "s1", ({ status }) => status?.readyToUse);
    assert.equal(ready.status.restoreSize, String(64 * 2 ** 20));
    const refused = await k.until<Snapshot>("volumesnapshot", "s2", ({ status }) => status?.error);
    assert.match(
      refused.status.error!.message,
      /^Failed to create snapshot content with error failed to retrieve PVC nobody/,
    );

    const apiGroup = "snapshot.storage.k8s.io";
    await k.apply(using("changer", "origin", "echo two > /data/file"));
    await k.finished("changer");
    await k.apply(
      claim("restored", { dataSource: { apiGroup, kind: "VolumeSnapshot", name: "s1" } }),
      claim("cloned", { dataSource: { kind: "PersistentVolumeClaim", name: "origin" } }),
      claim("small", {
        dataSource: { apiGroup, kind: "VolumeSnapshot", name: "s1" },
        resources: { requests: { storage: "1Mi" } },
      }),
      using("reads", "restored", "cat /data/link; stat -c %u:%g /data/file"),
      using("copies", "cloned", "cat /data/file"),
      using("waits-for-ever", "small", "true"),
    );
    assert.equal(await k.finished("reads"), "one\n12:34\n");
    assert.equal(await k.finished("copies"), "two\n");
    await eventually("the reason", async () =>
      (await k.events("small")).some(({ message }) =>
        message.endsWith("requested volume size 1048576 is less than the size 67108864 for the source snapshot s1"),
      ),
    );
    const content = ready.status.boundVolumeSnapshotContentName!;
    const folder = path.join(k.berth.dataDir, "local-snapshots", content);
    assert.equal(readFileSync(path.join(folder, "file"), "utf8"), "one\n");
    await k.kubectl("delete", "volumesnapshot", "s1", "s2");
    await eventually("the content to go", async () => (await k.try("get", "vsc", content)).code !== 0);
    assert.equal(existsSync(folder), false);
    await k.kubectl("delete", "pod", "waits-for-ever", "--now");
  });
});

test("a reset gives devices back that are still in use", async () => {
  await k.apply(
    claim("left", { volumeMode: "Block" }),
    podOf(
      "left",
      "trap 'exit 0' TERM; while :; do sleep 0.1; done",
      { volumes: [{ name: "disk", persistentVolumeClaim: { claimName: "left" } }] },
      { volumeDevices: [{ name: "disk", devicePath: "/dev/disk" }] },
    ),
  );
  await k.running("left");
  const left = () => loopDevices().filter(({ file }) => file.startsWith(k.berth.directory)).length;
  assert.equal(left(), 1);
  await k.berth.stop();
  assert.equal(left(), 0);
});
