/** Every workload controller with the scheduler and simulated nodes over the real API server, on a clock that the test moves. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { k8s } from "../src/api/index.ts";
import { codeOf } from "../src/base/index.ts";
import { draft, resources } from "../src/client/index.ts";
import { openControlPlane } from "./support/control-plane.ts";

const { client, run, close } = await openControlPlane();
after(close);
const namespace = "default";

const podsOf = async (app: string) =>
  (await client.of(resources.pods).list({ namespace, labelSelector: `app=${app}` })).items.toSorted((left, right) =>
    left.metadata.name < right.metadata.name ? -1 : 1,
  );
const names = async (app: string) => (await podsOf(app)).map((pod) => pod.metadata.name);
const template = (app: string, spec: Partial<k8s.PodSpec> = {}, image = "v1"): k8s.PodTemplateSpec => ({
  metadata: { labels: { app } },
  spec: { containers: [{ name: "main", image }], ...spec },
});
const selector = (app: string) => ({ matchLabels: { app } });

test("a StatefulSet counts up in order, rolls from the top, and counts down", async () => {
  const sets = client.of(resources.statefulSets);
  await sets.create({
    metadata: { name: "db", namespace },
    spec: { serviceName: "db", replicas: 3, selector: selector("db"), template: template("db") },
  });
  await run(300);
  assert.deepEqual(await names("db"), ["db-0"]);
  await run(5000);
  assert.deepEqual(await names("db"), ["db-0", "db-1", "db-2"]);
  const set = await sets.get({ name: "db", namespace });
  assert.equal(set.status?.readyReplicas, 3);
  const changed = draft(set);
  changed.spec!.template = template("db", {}, "v2");
  await sets.update(changed);
  await run(900);
  const images = (await podsOf("db")).map((pod) => pod.spec?.containers[0]?.image);
  assert.equal(images[0], "v1");
  await run(10_000);
  assert.deepEqual(
    (await podsOf("db")).map((pod) => pod.spec?.containers[0]?.image),
    ["v2", "v2", "v2"],
  );
  const done = await sets.get({ name: "db", namespace });
  assert.equal(done.status?.currentRevision, done.status?.updateRevision);
  const smaller = draft(done);
  smaller.spec!.replicas = 1;
  await sets.update(smaller);
  await run(5000);
  assert.deepEqual(await names("db"), ["db-0"]);
});

test("what a StatefulSet loses by scaling down takes its claim along, if the policy says so", async () => {
  const sets = client.of(resources.statefulSets);
  await sets.create({
    metadata: { name: "kept", namespace },
    spec: {
      serviceName: "kept",
      replicas: 2,
      selector: selector("kept"),
      template: template("kept"),
      persistentVolumeClaimRetentionPolicy: { whenScaled: "Delete" },
      volumeClaimTemplates: [
        {
          metadata: { name: "data" },
          spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
        },
      ],
    },
  });
  const claims = client.of(resources.persistentVolumeClaims);
  const volumes = client.of(resources.persistentVolumes);
  for (const name of ["one", "two"])
    await volumes.create({
      metadata: { name },
      spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], hostPath: { path: `/${name}` } },
    });
  await run(10_000);
  assert.deepEqual(await names("kept"), ["kept-0", "kept-1"]);
  const set = draft(await sets.get({ name: "kept", namespace }));
  set.spec!.replicas = 1;
  await sets.update(set);
  await run(10_000);
  const left = (await claims.list({ namespace })).items.map(({ metadata }) => metadata.name);
  assert.deepEqual(left, ["data-kept-0"]);
  await sets.delete({ name: "kept", namespace });
  await claims.delete({ name: "data-kept-0", namespace });
  for (const name of ["one", "two"]) await volumes.delete({ name });
  await run(5000);
});

test("nodes get their part of the Pod network", async () => {
  const cidrs = (await client.of(resources.nodes).list()).items.map(({ spec }) => spec?.podCIDR);
  assert.deepEqual(new Set(cidrs), new Set(["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]));
});

test("a DaemonSet runs on each node and follows its template", async () => {
  const sets = client.of(resources.daemonSets);
  await sets.create({
    metadata: { name: "agent", namespace },
    spec: { selector: selector("agent"), template: template("agent") },
  });
  await run(3000);
  assert.deepEqual((await podsOf("agent")).map((pod) => `${pod.spec?.nodeName}`).sort(), ["sim-0", "sim-1", "sim-2"]);
  const set = draft(await sets.get({ name: "agent", namespace }));
  assert.equal(set.status?.numberAvailable, 3);
  set.spec!.template = template("agent", {}, "v2");
  await sets.update(set);
  await run(10_000);
  assert.deepEqual(
    (await podsOf("agent")).map((pod) => pod.spec?.containers[0]?.image),
    ["v2", "v2", "v2"],
  );
  assert.equal((await sets.get({ name: "agent", namespace })).status?.updatedNumberScheduled, 3);
});

const job = (name: string, spec: Partial<k8s.JobSpec>, annotations: Record<string, string> = {}): k8s.Job => ({
  metadata: { name, namespace },
  spec: {
    template: { ...template(name, { restartPolicy: "Never" }), metadata: { labels: { app: name }, annotations } },
    ...spec,
  },
});
const conditions = async (name: string) =>
  (await client.of(resources.jobs).get({ name, namespace })).status?.conditions?.map(
    ({ type, reason }) => `${type} ${reason}`,
  );

test("an indexed Job completes each index once", async () => {
  await client.of(resources.jobs).create(job("count", { completions: 5, parallelism: 2, completionMode: "Indexed" }));
  await run(1000);
  assert.equal((await podsOf("count")).length, 2);
  await run(15_000);
  const { status } = await client.of(resources.jobs).get({ name: "count", namespace });
  assert.equal(status?.completedIndexes, "0-4");
  assert.equal(status?.succeeded, 5);
  assert.deepEqual(await conditions("count"), ["SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"]);
  assert.ok(
    (await podsOf("count")).every((pod) => !pod.metadata.finalizers?.length),
    "no pod is held back",
  );
});

test("a failing Job backs off and gives up", async () => {
  await client.of(resources.jobs).create(job("fail", { backoffLimit: 1 }, { "simulated.berth.dev/exit-code": "3" }));
  await run(60_000);
  assert.deepEqual(await conditions("fail"), ["FailureTarget BackoffLimitExceeded", "Failed BackoffLimitExceeded"]);
  assert.equal((await client.of(resources.jobs).get({ name: "fail", namespace })).status?.failed, 2);
});

test("a CronJob starts a Job a minute and keeps its history short", async () => {
  const { spec } = job("tick", {});
  await client.of(resources.cronJobs).create({
    metadata: { name: "tick", namespace },
    spec: { schedule: "* * * * *", successfulJobsHistoryLimit: 2, jobTemplate: { spec: spec! } },
  });
  await run(5 * 60_000);
  const jobs = (await client.of(resources.jobs).list({ namespace })).items.filter(({ metadata }) =>
    metadata.name.startsWith("tick-"),
  );
  assert.ok(jobs.length >= 2 && jobs.length <= 3, `${jobs.length} jobs kept`);
  await client.of(resources.cronJobs).delete({ name: "tick", namespace }, { propagationPolicy: "Background" });
  await run(5000);
  const left = (await client.of(resources.jobs).list({ namespace })).items.filter(({ metadata }) =>
    metadata.name.startsWith("tick-"),
  );
  assert.deepEqual(left, []);
});

test("a Service's slices and Endpoints follow its pods; a load balancer gets an address", async () => {
  const ports = [{ name: "http", port: 80, targetPort: 8080 }];
  await client.of(resources.services).create({
    metadata: { name: "web", namespace },
    spec: {
      type: "LoadBalancer",
      clusterIP: "10.96.0.9",
      clusterIPs: ["10.96.0.9"],
      selector: { app: "web" },
      ports,
    },
  });
  await client.of(resources.deployments).create({
    metadata: { name: "web", namespace },
    spec: { replicas: 2, selector: selector("web"), template: template("web") },
  });
  await run(5000);
  const { items } = await client
    .of(resources.endpointSlices)
    .list({ namespace, labelSelector: "kubernetes.io/service-name=web" });
  assert.equal(items.length, 1);
  assert.deepEqual(
    items[0]!.ports?.map(({ name, port, protocol }) => [name, port, protocol]),
    [["http", 8080, "TCP"]],
  );
  assert.deepEqual(
    items[0]!.endpoints.map(({ conditions: state }) => state?.ready),
    [true, true],
  );
  const endpoints = await client.of(resources.endpoints).get({ name: "web", namespace });
  assert.equal(endpoints.subsets?.[0]?.addresses?.length, 2);
  const service = await client.of(resources.services).get({ name: "web", namespace });
  assert.equal(service.status?.loadBalancer?.ingress?.[0]?.ip, "192.0.2.1");
});

test("deletion in the background, in the foreground and orphaning", async () => {
  const deployments = client.of(resources.deployments);
  const make = (name: string) =>
    deployments.create({
      metadata: { name, namespace },
      spec: { replicas: 1, selector: selector(name), template: template(name) },
    });
  for (const name of ["bg", "fg", "or"]) await make(name);
  await run(4000);
  await deployments.delete({ name: "bg", namespace }, { propagationPolicy: "Background" });
  await deployments.delete({ name: "fg", namespace }, { propagationPolicy: "Foreground" });
  await deployments.delete({ name: "or", namespace }, { propagationPolicy: "Orphan" });
  assert.ok((await deployments.get({ name: "fg", namespace })).metadata.deletionTimestamp, "waits for its dependents");
  await run(10_000);
  for (const name of ["bg", "fg", "or"])
    await assert.rejects(deployments.get({ name, namespace }), (error) => codeOf(error) === "notFound");
  assert.deepEqual([(await names("bg")).length, (await names("fg")).length, (await names("or")).length], [0, 0, 1]);
});

test("a namespace has its account and CA, and is emptied before it goes", async () => {
  const ref = { name: "shop" };
  await client.of(resources.namespaces).create({ metadata: ref });
  await run(1000);
  assert.ok(await client.of(resources.serviceAccounts).get({ name: "default", namespace: "shop" }));
  assert.equal(
    (await client.of(resources.configMaps).get({ name: "kube-root-ca.crt", namespace: "shop" })).data?.["ca.crt"],
    "PEM",
  );
  await client.of(resources.deployments).create({
    metadata: { name: "a", namespace: "shop" },
    spec: { replicas: 2, selector: selector("a"), template: template("a") },
  });
  await run(2000);
  await client.of(resources.namespaces).delete(ref);
  await run(15_000);
  await assert.rejects(client.of(resources.namespaces).get(ref), (error) => codeOf(error) === "notFound");
});

test("budgets and quotas say what is left", async () => {
  await client
    .of(resources.podDisruptionBudgets)
    .create({ metadata: { name: "web", namespace }, spec: { minAvailable: 1, selector: selector("web") } });
  await client
    .of(resources.resourceQuotas)
    .create({ metadata: { name: "q", namespace }, spec: { hard: { "count/deployments.apps": "9", services: "5" } } });
  await run(1500);
  const budget = await client.of(resources.podDisruptionBudgets).get({ name: "web", namespace });
  assert.deepEqual(
    [budget.status?.currentHealthy, budget.status?.desiredHealthy, budget.status?.disruptionsAllowed],
    [2, 1, 1],
  );
  const quota = await client.of(resources.resourceQuotas).get({ name: "q", namespace });
  assert.deepEqual(quota.status?.used, { "count/deployments.apps": "1", services: "1" });
});

test("a claim is bound to the smallest volume that will do", async () => {
  const volume = (name: string, storage: string) =>
    client.of(resources.persistentVolumes).create({
      metadata: { name },
      spec: { capacity: { storage }, accessModes: ["ReadWriteOnce"], hostPath: { path: "/x" }, storageClassName: "" },
    });
  await volume("big", "10Gi");
  await volume("small", "2Gi");
  await run(500);
  await client.of(resources.persistentVolumeClaims).create({
    metadata: { name: "data", namespace },
    spec: { accessModes: ["ReadWriteOnce"], storageClassName: "", resources: { requests: { storage: "1Gi" } } },
  });
  await run(1500);
  const claim = await client.of(resources.persistentVolumeClaims).get({ name: "data", namespace });
  assert.deepEqual([claim.spec?.volumeName, claim.status?.phase], ["small", "Bound"]);
  await client.of(resources.persistentVolumeClaims).delete({ name: "data", namespace });
  await run(1500);
  assert.equal((await client.of(resources.persistentVolumes).get({ name: "small" })).status?.phase, "Released");
});

test("a silent node is tainted and its pods are moved", async () => {
  await client.of(resources.nodes).create({ metadata: { name: "dead" } });
  await run(500);
  const node = await client.of(resources.nodes).get({ name: "dead" });
  await client.of(resources.nodes).updateStatus({
    ...node,
    status: { conditions: [{ type: "Ready", status: "True" }], allocatable: { cpu: "8", memory: "8Gi", pods: "9" } },
  });
  const tolerations = [
    { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute", tolerationSeconds: 30 },
  ];
  await client.of(resources.pods).create({
    metadata: { name: "there", namespace },
    spec: { ...template("x").spec!, nodeSelector: {}, nodeName: "dead", tolerations },
  });
  await run(60_000);
  const taints = (await client.of(resources.nodes).get({ name: "dead" })).spec?.taints?.map(
    ({ key, effect }) => `${key}:${effect}`,
  );
  assert.deepEqual(taints?.sort(), [
    "node.kubernetes.io/unreachable:NoExecute",
    "node.kubernetes.io/unreachable:NoSchedule",
  ]);
  await run(40_000);
  const pod = await client.of(resources.pods).get({ name: "there", namespace });
  assert.ok(pod.metadata.deletionTimestamp);
});
