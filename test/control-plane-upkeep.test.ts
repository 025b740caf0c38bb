/** The controllers that tidy up, mirror and combine, with scheduler and simulated nodes over the real API server. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { k8s } from "../src/api/index.ts";
import { draft, resources } from "../src/client/index.ts";
import { openControlPlane } from "./support/control-plane.ts";

const { client, run, close } = await openControlPlane({ seed: 14, settings: { terminatedPodThreshold: 3 } });
after(close);
const namespace = "default";
const pods = client.of(resources.pods);
const nodes = client.of(resources.nodes);

const template = (app: string, image = "v1"): k8s.PodTemplateSpec => ({
  metadata: { labels: { app } },
  spec: { containers: [{ name: "main", image }] },
});
const podsOf = async (app: string) => (await pods.list({ namespace, labelSelector: `app=${app}` })).items;
const nameOf = ({ metadata }: { metadata: { name: string } }) => metadata.name;

test("a ReplicationController keeps its number, adopts what fits, and releases what no longer does", async () => {
  await pods.create({ metadata: { name: "orphan", namespace, labels: { app: "rc" } }, spec: template("rc").spec! });
  const controllers = client.of(resources.replicationControllers);
  await controllers.create({
    metadata: { name: "rc", namespace },
    spec: { replicas: 3, selector: { app: "rc" }, template: template("rc") },
  });
  await run(3000);
  assert.equal((await podsOf("rc")).length, 3);
  const adopted = await pods.get({ name: "orphan", namespace });
  assert.equal(adopted.metadata.ownerReferences?.[0]?.kind, "ReplicationController");
  await pods.patch({ name: "orphan", namespace }, { metadata: { labels: { app: "own" } } });
  await run(3000);
  assert.equal((await pods.get({ name: "orphan", namespace })).metadata.ownerReferences, undefined);
  assert.equal((await podsOf("rc")).length, 3);
  await controllers.patch({ name: "rc", namespace }, { spec: { replicas: 1 } });
  await run(3000);
  assert.equal((await podsOf("rc")).length, 1);
  assert.equal((await controllers.get({ name: "rc", namespace })).status?.readyReplicas, 1);
});

test("a DaemonSet that surges has the new Pod ready before the old one goes", async () => {
  const sets = client.of(resources.daemonSets);
  const rollingUpdate = { maxSurge: 1, maxUnavailable: 0 };
  await sets.create({
    metadata: { name: "surge", namespace },
    spec: {
      selector: { matchLabels: { app: "surge" } },
      template: template("surge"),
      updateStrategy: { rollingUpdate },
    },
  });
  await run(3000);
  const set = draft(await sets.get({ name: "surge", namespace }));
  set.spec!.template = template("surge", "v2");
  await sets.update(set);
  let surging = 0;
  for (let step = 0; step < 80; step++) {
    await run(250);
    const running = await podsOf("surge");
    const ready = running.filter(({ status }) =>
      status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"),
    );
    const served = new Set(ready.map(({ spec }) => spec?.nodeName));
    assert.equal(served.size, 3, "each node has one that is ready, all the time");
    surging = Math.max(surging, running.length - ready.length);
  }
  assert.equal(surging, 1, "one at a time");
  assert.deepEqual(new Set((await podsOf("surge")).map(({ spec }) => spec?.containers[0]?.image)), new Set(["v2"]));
});

test("Endpoints that somebody writes by hand are mirrored into slices, until they say no or go", async () => {
  const endpoints = client.of(resources.endpoints);
  const slices = async () =>
    (await client.of(resources.endpointSlices).list({ namespace, labelSelector: "kubernetes.io/service-name=outside" }))
      .items;
  await client
    .of(resources.services)
    .create({ metadata: { name: "outside", namespace }, spec: { ports: [{ name: "web", port: 80 }] } });
  await endpoints.create({
    metadata: { name: "outside", namespace },
    subsets: [
      {
        addresses: [{ ip: "192.0.2.7" }],
        notReadyAddresses: [{ ip: "192.0.2.8" }],
        ports: [{ name: "web", port: 8080 }],
      },
    ],
  });
  await run(2000);
  const [slice] = await slices();
  assert.equal(
    slice?.metadata.labels?.["endpointslice.kubernetes.io/managed-by"],
    "endpointslicemirroring-controller.k8s.io",
  );
  const seen = slice.endpoints.map(({ addresses, conditions }) => `${addresses[0]} ${conditions?.ready}`);
  assert.deepEqual(seen.sort(), ["192.0.2.7 true", "192.0.2.8 false"]);
  assert.deepEqual(
    slice.ports?.map(({ name, port }) => [name, port]),
    [["web", 8080]],
  );
  const skip = { "endpointslice.kubernetes.io/skip-mirror": "true" };
  await endpoints.patch({ name: "outside", namespace }, { metadata: { labels: skip } });
  await run(2000);
  assert.deepEqual(await slices(), []);
});

test("a finished Job goes when its time is over, with its Pods", async () => {
  const jobs = client.of(resources.jobs);
  const spec = template("brief");
  await jobs.create({
    metadata: { name: "brief", namespace },
    spec: { ttlSecondsAfterFinished: 30, template: { ...spec, spec: { ...spec.spec!, restartPolicy: "Never" } } },
  });
  await run(20_000);
  assert.equal((await jobs.get({ name: "brief", namespace })).status?.succeeded, 1);
  await run(30_000);
  await assert.rejects(jobs.get({ name: "brief", namespace }), /not found/);
  assert.deepEqual(await podsOf("brief"), []);
});

test("an aggregated ClusterRole has the rules of those it selects, as they come and go", async () => {
  const roles = client.of(resources.clusterRoles);
  const labels = { "rbac.example.com/to-all": "true" };
  const rule = (resource: string) => ({ apiGroups: [""], resources: [resource], verbs: ["get"] });
  await roles.create({
    metadata: { name: "all" },
    rules: [rule("nothing")],
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: labels }] },
  });
  for (const name of ["pods", "secrets"]) await roles.create({ metadata: { name, labels }, rules: [rule(name)] });
  await run(1000);
  const granted = async () => (await roles.get({ name: "all" })).rules?.map((each) => each.resources?.[0]);
  assert.deepEqual(await granted(), ["pods", "secrets"]);
  await roles.delete({ name: "secrets" });
  await run(1000);
  assert.deepEqual(await granted(), ["pods"]);
});

test("Pods that nobody else removes: too many finished, on nodes that are gone, on one declared out of service", async () => {
  for (let at = 0; at < 5; at++) {
    const name = `done-${at}`;
    await pods.create({ metadata: { name, namespace }, spec: { ...template("done").spec!, nodeName: "sim-0" } });
    const pod = await pods.get({ name, namespace });
    await pods.updateStatus({ ...pod, status: { ...pod.status, phase: "Succeeded" } });
  }
  const spec = template("x").spec!;
  await nodes.create({ metadata: { name: "leaving" } });
  await run(500);
  await pods.create({ metadata: { name: "on-leaving", namespace }, spec: { ...spec, nodeName: "leaving" } });
  await nodes.create({
    metadata: { name: "broken" },
    spec: { taints: [{ key: "node.kubernetes.io/out-of-service", value: "nodeshutdown", effect: "NoExecute" }] },
  });
  const tolerations = [{ operator: "Exists" }];
  for (const name of ["deleted", "kept"])
    await pods.create({
      metadata: { name: `on-broken-${name}`, namespace },
      spec: { ...spec, tolerations, nodeName: "broken" },
    });
  await pods.delete({ name: "on-broken-deleted", namespace });
  await nodes.delete({ name: "leaving" });
  await run(90_000);
  const left = (await pods.list({ namespace })).items.map(nameOf);
  assert.equal(left.filter((name) => name.startsWith("done-")).length, 3);
  assert.ok(!left.includes("on-leaving") && !left.includes("on-broken-deleted"), left.join(", "));
  assert.ok(left.includes("on-broken-kept"), "only what is deleted already");
});
