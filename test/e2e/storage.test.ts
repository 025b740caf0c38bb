/** Dynamic provisioning with the real kubectl: the default class, StatefulSets, expansion, reclaim policies. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
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
});
