/** What upstream's conformance suite asks of the garbage collector, of scales, and of Pods that their controllers take up and let go. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually } from "./client.ts";
import { clusterApi } from "./cluster.ts";

const api = clusterApi();

const CORE = "/api/v1/namespaces/default";
const APPS = "/apis/apps/v1/namespaces/default";
const container = { name: "main", image: "registry.k8s.io/pause:3.10" };
const template = (app: string) => ({ metadata: { labels: { app } }, spec: { containers: [container] } });
// oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind
const labelled = async (path: string, app: string): Promise<any[]> =>
  (await api.ok("GET", `${path}?labelSelector=app%3D${app}`)).items;
const podsOf = (app: string) => labelled(`${CORE}/pods`, app);

const rc = (name: string, replicas: number) =>
  api.ok("POST", `${CORE}/replicationcontrollers`, {
    body: { metadata: { name }, spec: { replicas, selector: { app: name }, template: template(name) } },
  });
const deployment = (name: string, replicas: number) =>
  api.ok("POST", `${APPS}/deployments`, {
    body: {
      metadata: { name },
      spec: {
        replicas,
        selector: { matchLabels: { app: name } },
        template: { ...template(name), metadata: { labels: { app: name } } },
      },
    },
  });
const remove = (path: string, propagationPolicy: string) =>
  api.ok("DELETE", path, { body: { kind: "DeleteOptions", apiVersion: "v1", propagationPolicy } });
const count = (app: string, wanted: number) =>
  eventually(`${wanted} Pods of ${app}`, async () => {
    const pods = await podsOf(app);
    return pods.length === wanted && pods;
  });
const gone = (path: string) => eventually(`${path} is gone`, async () => (await api.call("GET", path)).status === 404);

describe("collection", { concurrency: 8 }, () => {
  test("background: what a Deployment and a ReplicationController made goes after them", async () => {
    await Promise.all([deployment("background", 2), rc("background-rc", 2)]);
    await Promise.all([count("background", 2), count("background-rc", 2)]);
    await remove(`${APPS}/deployments/background`, "Background");
    await remove(`${CORE}/replicationcontrollers/background-rc`, "Background");
    await Promise.all([count("background", 0), count("background-rc", 0)]);
    await eventually("no ReplicaSets", async () => (await labelled(`${APPS}/replicasets`, "background")).length === 0);
  });

  test("orphan: it stays, without an owner", async () => {
    await Promise.all([deployment("orphans", 1), rc("orphans-rc", 3)]);
    await Promise.all([count("orphans", 1), count("orphans-rc", 3)]);
    await remove(`${APPS}/deployments/orphans`, "Orphan");
    await remove(`${CORE}/replicationcontrollers/orphans-rc`, "Orphan");
    await Promise.all([gone(`${APPS}/deployments/orphans`), gone(`${CORE}/replicationcontrollers/orphans-rc`)]);
    const [set] = await labelled(`${APPS}/replicasets`, "orphans");
    assert.equal(set.metadata.ownerReferences, undefined);
    assert.equal((await podsOf("orphans")).length, 1);
    const left = await podsOf("orphans-rc");
    assert.equal(left.length, 3);
    assert.ok(left.every(({ metadata }) => !metadata.ownerReferences && !metadata.deletionTimestamp));
  });

  test("foreground: the owner stays until all of its Pods are gone", async () => {
    await rc("foreground", 5);
    const at = `${CORE}/replicationcontrollers/foreground`;
    const pods = await count("foreground", 5);
    const held = `${CORE}/pods/${pods[0].metadata.name}`;
    await api.patch(held, { metadata: { finalizers: ["example.com/held"] } });
    await remove(at, "Foreground");
    await count("foreground", 1);
    const owner = await api.ok("GET", at);
    assert.deepEqual(owner.metadata.finalizers, ["foregroundDeletion"]);
    await api.patch(held, { metadata: { finalizers: null } });
    await gone(at);
  });

  test("two owners: what has another one that stays is not deleted with the first", async () => {
    await rc("leaves", 4);
    const stays = await rc("stays", 0);
    const pods = await count("leaves", 4);
    const shared = pods.slice(0, 2).map(({ metadata }) => metadata.name as string);
    const reference = { apiVersion: "v1", kind: "ReplicationController", name: "stays", uid: stays.metadata.uid };
    for (const name of shared) {
      const pod = await api.ok("GET", `${CORE}/pods/${name}`);
      const owner = { ...pod.metadata.ownerReferences[0] };
      await api.patch(`${CORE}/pods/${name}`, { metadata: { ownerReferences: [owner, reference] } });
    }
    await remove(`${CORE}/replicationcontrollers/leaves`, "Foreground");
    await gone(`${CORE}/replicationcontrollers/leaves`);
    const left = await podsOf("leaves");
    assert.deepEqual(left.map(({ metadata }) => metadata.name as string).toSorted(), shared.toSorted());
    assert.ok(left.every(({ metadata }) => !metadata.deletionTimestamp));
  });

  test("owners in a circle go too", async () => {
    const pods = await Promise.all(
      ["one", "two", "three"].map((name) =>
        api.ok("POST", `${CORE}/pods`, {
          body: { metadata: { name: `circle-${name}`, labels: { app: "circle" } }, spec: { containers: [container] } },
        }),
      ),
    );
    for (const [index, pod] of pods.entries()) {
      const { name, uid } = pods[(index + 2) % 3].metadata;
      const ownerReferences = [
        { apiVersion: "v1", kind: "Pod", name, uid, controller: true, blockOwnerDeletion: true },
      ];
      await api.patch(`${CORE}/pods/${pod.metadata.name}`, { metadata: { ownerReferences } });
    }
    await remove(`${CORE}/pods/circle-one`, "Foreground");
    await count("circle", 0);
  });

  test("scales: read, written and patched for each kind that has one", async () => {
    const body = {
      metadata: { name: "scaled" },
      spec: {
        replicas: 1,
        serviceName: "none",
        selector: { matchLabels: { app: "scaled" } },
        template: template("scaled"),
      },
    };
    for (const at of [
      `${APPS}/deployments`,
      `${APPS}/replicasets`,
      `${APPS}/statefulsets`,
      `${CORE}/replicationcontrollers`,
    ]) {
      const spec = at.endsWith("controllers") ? { ...body.spec, selector: { app: "scaled" } } : body.spec;
      await api.ok("POST", at, {
        body: { ...body, spec: at.endsWith("statefulsets") ? spec : { ...spec, serviceName: undefined } },
      });
      const scale = await api.ok("GET", `${at}/scaled/scale`);
      assert.deepEqual([scale.kind, scale.spec.replicas], ["Scale", 1]);
      const written = await api.ok("PUT", `${at}/scaled/scale`, {
        body: { ...scale, metadata: { ...scale.metadata, resourceVersion: undefined }, spec: { replicas: 2 } },
      });
      assert.equal(written.spec.replicas, 2);
      assert.equal((await api.patch(`${at}/scaled/scale`, { spec: { replicas: 0 } })).spec.replicas ?? 0, 0);
      assert.equal((await api.ok("GET", `${at}/scaled`)).spec.replicas, 0);
      await remove(`${at}/scaled`, "Background");
    }
  });

  test("Pods that fit are adopted, those that no longer do are released", async () => {
    const cases = [
      { at: `${CORE}/replicationcontrollers`, app: "adopted-rc", selector: { app: "adopted-rc" } },
      { at: `${APPS}/replicasets`, app: "adopted-rs", selector: { matchLabels: { app: "adopted-rs" } } },
    ];
    for (const { at, app, selector } of cases) {
      const path = `${CORE}/pods/${app}`;
      await api.ok("POST", `${CORE}/pods`, { body: { ...template(app), metadata: { name: app, labels: { app } } } });
      await api.ok("POST", at, {
        body: { metadata: { name: app }, spec: { replicas: 1, selector, template: template(app) } },
      });
      await eventually(
        "it is adopted",
        async () => (await api.ok("GET", path)).metadata.ownerReferences?.[0]?.name === app,
      );
      await api.patch(path, { metadata: { labels: { app: "not-matching" } } });
      await eventually("it is released", async () => !(await api.ok("GET", path)).metadata.ownerReferences);
    }
  });

  test("a ReplicationController that a quota holds back says so, until it asks for less", async () => {
    const at = "/api/v1/namespaces/condition";
    await api.ok("POST", "/api/v1/namespaces", { body: { metadata: { name: "condition" } } });
    await api.ok("POST", `${at}/resourcequotas`, {
      body: { metadata: { name: "two" }, spec: { hard: { pods: "2" } } },
    });
    await eventually(
      "the quota",
      async () => (await api.ok("GET", `${at}/resourcequotas/two`)).status?.hard?.pods === "2",
    );
    await api.ok("POST", `${at}/replicationcontrollers`, {
      body: {
        metadata: { name: "rc" },
        spec: {
          replicas: 3,
          selector: { a: "b" },
          template: { metadata: { labels: { a: "b" } }, spec: { containers: [container] } },
        },
      },
    });
    const failing = async () =>
      ((await api.ok("GET", `${at}/replicationcontrollers/rc`)).status?.conditions ?? []).some(
        (condition: { type: string }) => condition.type === "ReplicaFailure",
      );
    await eventually("it says so", failing);
    await api.patch(`${at}/replicationcontrollers/rc`, { spec: { replicas: 2 } });
    await eventually("it is well", async () => !(await failing()));
  });
});
