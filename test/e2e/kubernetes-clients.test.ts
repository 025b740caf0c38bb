/** Other people's clients of the Kubernetes API, unchanged: @kubernetes/client-node and Debian's python3-kubernetes. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import * as k8s from "@kubernetes/client-node";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";

let berth: TestCluster;
let config: k8s.KubeConfig;
before(async () => {
  berth = await startTestCluster();
  config = new k8s.KubeConfig();
  config.loadFromFile(berth.kubeconfig);
});
after(() => berth?.close());

const namespace = "default";

test("client-node: create, read, list by selector, patch in each way, replace, delete", async () => {
  const core = config.makeApiClient(k8s.CoreV1Api);
  const name = "node-map";
  const created = await core.createNamespacedConfigMap({
    namespace,
    body: { metadata: { name, labels: { by: "node" } }, data: { a: "1" } },
  });
  assert.ok(created.metadata!.creationTimestamp instanceof Date);
  const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: "by=node" });
  assert.deepEqual(
    listed.items.map((item) => item.metadata!.name),
    [name],
  );
  const how = (type: string) => k8s.setHeaderOptions("Content-Type", type);
  const merged = await core.patchNamespacedConfigMap(
    { namespace, name, body: { data: { b: "2" } } },
    how(k8s.PatchStrategy.MergePatch),
  );
  assert.deepEqual(merged.data, { a: "1", b: "2" });
  const patched = await core.patchNamespacedConfigMap(
    { namespace, name, body: [{ op: "remove", path: "/data/a" }] },
    how(k8s.PatchStrategy.JsonPatch),
  );
  assert.deepEqual(patched.data, { b: "2" });
  const applied = await core.patchNamespacedConfigMap(
    {
      namespace,
      name,
      fieldManager: "node",
      force: true,
      body: { apiVersion: "v1", kind: "ConfigMap", data: { c: "3" } },
    },
    how(k8s.PatchStrategy.ServerSideApply),
  );
  assert.deepEqual(applied.data, { b: "2", c: "3" });
  const replaced = await core.replaceNamespacedConfigMap({
    namespace,
    name,
    body: Object.assign(applied, { data: {} }),
  });
  assert.equal(replaced.data, undefined);
  await assert.rejects(
    core.replaceNamespacedConfigMap({ namespace, name, body: applied }),
    (error: k8s.ApiException<string>) => {
      assert.equal(error.code, 409);
      assert.match(error.body, /the object has been modified/);
      return true;
    },
  );
  assert.equal((await core.deleteNamespacedConfigMap({ namespace, name })).status, "Success");
  await assert.rejects(core.readNamespacedConfigMap({ namespace, name }), { code: 404 });
});

test("client-node: an informer sees what is there, what comes, changes and goes", async () => {
  const core = config.makeApiClient(k8s.CoreV1Api);
  const labelSelector = "watched=yes";
  const make = (name: string) =>
    core.createNamespacedSecret({ namespace, body: { metadata: { name, labels: { watched: "yes" } } } });
  await make("before");
  const informer = k8s.makeInformer(
    config,
    `/api/v1/namespaces/${namespace}/secrets`,
    () => core.listNamespacedSecret({ namespace, labelSelector }),
    labelSelector,
  );
  const seen: string[] = [];
  let wake = () => {};
  for (const event of ["add", "update", "delete"] as const)
    informer.on(event, (secret) => {
      seen.push(`${event} ${secret.metadata!.name}`);
      wake();
    });
  const until = async (event: string) => {
    while (!seen.includes(event)) await new Promise<void>((resolve) => (wake = resolve));
  };
  await informer.start();
  await until("add before");
  await make("later");
  await until("add later");
  await core.patchNamespacedSecret(
    { namespace, name: "later", body: { stringData: { a: "b" } } },
    k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.StrategicMergePatch),
  );
  await until("update later");
  await core.deleteCollectionNamespacedSecret({ namespace, labelSelector });
  await until("delete before");
  await until("delete later");
  await informer.stop();
  assert.deepEqual(informer.list(), []);
});

test("client-node: a deployment runs, is scaled, and custom resources are as others", async () => {
  const apps = config.makeApiClient(k8s.AppsV1Api);
  const labels = { app: "node" };
  await apps.createNamespacedDeployment({
    namespace,
    body: {
      metadata: { name: "node" },
      spec: {
        replicas: 1,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [{ name: "main", image: "nginx" }] } },
      },
    },
  });
  // Controllers write its status meanwhile, so that a replacement may be of an old version.
  for (let replaced = false; !replaced;) {
    const scale = await apps.readNamespacedDeploymentScale({ namespace, name: "node" });
    scale.spec!.replicas = 2;
    replaced = await apps.replaceNamespacedDeploymentScale({ namespace, name: "node", body: scale }).then(
      () => true,
      (error: { code?: number }) => {
        if (error.code !== 409) throw error;
        return false;
      },
    );
  }
  const watch = new k8s.Watch(config);
  const ready = Promise.withResolvers<void>();
  const controller = await watch.watch(
    `/apis/apps/v1/namespaces/${namespace}/deployments`,
    { fieldSelector: "metadata.name=node" },
    (_type, deployment: k8s.V1Deployment) => {
      if (deployment.status?.readyReplicas === 2) ready.resolve();
    },
    () => {},
  );
  await ready.promise;
  controller.abort();

  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const [definition, tab] = k8s.loadAllYaml(crontab);
  await objects.create(definition);
  const custom = config.makeApiClient(k8s.CustomObjectsApi);
  const place = { group: "node.example.com", version: "v1", namespace, plural: "tabs" };
  const body = tab as object;
  let created: { spec?: object } | undefined;
  while (!created) created = await custom.createNamespacedCustomObject({ ...place, body }).catch(() => undefined);
  assert.deepEqual(created.spec, { every: "5m", times: 3 });
  const list = (await custom.listNamespacedCustomObject(place)) as { items: unknown[] };
  assert.equal(list.items.length, 1);
});

const crontab = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tabs.node.example.com}
spec:
  group: node.example.com
  scope: Namespaced
  names: {plural: tabs, singular: tab, kind: Tab, listKind: TabList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {every: {type: string}, times: {type: integer, default: 3}}}}
---
apiVersion: node.example.com/v1
kind: Tab
metadata: {name: one}
spec: {every: 5m}
`;

const python = "/usr/bin/python3";
const installed = existsSync("/usr/lib/python3/dist-packages/kubernetes/__init__.py");
test("python3-kubernetes: its own suite of ours", { skip: installed ? false : "not installed" }, async () => {
  const script = path.join(import.meta.dirname, "clients/kubernetes_client.py");
  const env = { ...process.env, KUBECONFIG: berth.kubeconfig, HOME: berth.folder };
  const output = await new Promise<string>((resolve, reject) =>
    execFile(python, [script], { env, timeout: 60_000 }, (error, stdout, stderr) =>
      error ? reject(new Error(`${stdout}${stderr}`)) : resolve(stdout),
    ),
  );
  assert.match(output, /^all is well$/m);
});
