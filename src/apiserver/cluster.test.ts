import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import type { k8s, KubeObject, UserInfo } from "../api/index.ts";
import { createLogger, messageOf, seededRandom, systemClock } from "../base/index.ts";
import { defineResource, KubeClient, resources } from "../client/index.ts";
import { openMemoryStore } from "../storage/index.ts";
import { openCluster } from "./cluster.ts";
import type { Cluster } from "./cluster.ts";

const admin: UserInfo = { name: "admin", groups: ["system:masters", "system:authenticated"] };
let folder: string;
let cluster: Cluster;
let client: KubeClient;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "berth-cluster-"));
  cluster = await openCluster({
    store: await openMemoryStore(),
    clock: systemClock,
    random: seededRandom(1),
    log: createLogger({ write: () => {} }),
    folder: folder,
  });
  client = new KubeClient(cluster.handler, { user: admin });
  await client.of(resources.serviceAccounts).create({ metadata: { name: "default", namespace: "default" } });
});

after(async () => {
  await cluster.close();
  await rm(folder, { recursive: true, force: true });
});

const refusal = async (action: Promise<unknown>): Promise<string> => action.then(() => "allowed", messageOf);
const container = { name: "c", image: "busybox" };
const pods = () => client.of(resources.pods);
const podNamed = (name: string, more: object = {}) => ({
  metadata: { name, namespace: "default" },
  spec: { containers: [container], ...more },
});

test("a cluster begins with its namespaces, the kubernetes Service, roles and priority classes", async () => {
  const namespaces = await client.of(resources.namespaces).list();
  assert.deepEqual(
    namespaces.items.map(({ metadata }) => metadata.name),
    ["default", "kube-node-lease", "kube-public", "kube-system"],
  );
  const service = await client.of(resources.services).get({ namespace: "default", name: "kubernetes" });
  assert.equal(service.spec?.clusterIP, "10.96.0.1");
  const { items } = await client.of(resources.clusterRoles).list();
  assert.ok(items.some(({ metadata }) => metadata.name === "cluster-admin"));
  assert.equal((await client.of(resources.priorityClasses).list()).items.length, 2);
});

const apiServices = defineResource<k8s.APIService>("apiregistration.k8s.io/v1", "apiservices", "APIService", false);

/** Why it is available, once it says the wanted thing or for longer than it could take. */
async function availabilityOf(name: string, wanted: string | undefined): Promise<string | undefined> {
  const deadline = systemClock.nowMs() + 20_000;
  for (;;) {
    const service = await client
      .of(apiServices)
      .get({ name })
      .catch(() => undefined);
    const reason = service?.status?.conditions?.[0]?.reason;
    if (reason === wanted || systemClock.nowMs() > deadline) return reason;
    await systemClock.sleep(10);
  }
}

test("the groups of custom resources have APIServices while they are served", async () => {
  const definitions = client.of(
    defineResource<k8s.CustomResourceDefinition>(
      "apiextensions.k8s.io/v1",
      "customresourcedefinitions",
      "CustomResourceDefinition",
      false,
    ),
  );
  const version = { served: true, schema: { openAPIV3Schema: { type: "object" } } };
  const versions = [
    { ...version, name: "v1", storage: true },
    { ...version, name: "v2", storage: false },
  ];
  const names = { plural: "kites", kind: "Kite" };
  const spec = { group: "toys.example.com", scope: "Namespaced", names, versions };
  await definitions.create({ metadata: { name: "kites.toys.example.com" }, spec });
  assert.equal(await availabilityOf("v1.toys.example.com", "Local"), "Local");
  assert.equal(await availabilityOf("v2.toys.example.com", "Local"), "Local");
  await definitions.delete({ name: "kites.toys.example.com" });
  assert.equal(await availabilityOf("v2.toys.example.com", undefined), undefined);
  assert.equal(await availabilityOf("v1.toys.example.com", undefined), undefined);
});

test("the server's own groups have APIServices, which are always available", async () => {
  const services = client.of(apiServices);
  assert.equal(await availabilityOf("v1.apps", "Local"), "Local");
  const { items } = await services.list();
  assert.equal(items.length, 21);
  assert.ok(items.some(({ metadata }) => metadata.name === "v1."));
});

test("a Pod gets its account's token, tolerations, priority and quality of service", async () => {
  const pod = await pods().create(podNamed("defaults"));
  assert.equal(pod.spec?.serviceAccountName, "default");
  assert.match(pod.spec!.containers[0]!.volumeMounts![0]!.name, /^kube-api-access-[a-z0-9]{5}$/);
  assert.deepEqual(
    pod.spec?.tolerations?.map(({ key }) => key),
    ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"],
  );
  assert.equal(pod.spec?.priority, 0);
  assert.equal(pod.status?.qosClass, "BestEffort");
});

test("a Pod waits a moment for its new namespace's account, and is refused when there is none", async () => {
  await client.of(resources.namespaces).create({ metadata: { name: "young" } });
  const pod = { metadata: { name: "early", namespace: "young" }, spec: { containers: [container] } };
  const early = pods().create(pod);
  await systemClock.sleep(20);
  await client.of(resources.serviceAccounts).create({ metadata: { name: "default", namespace: "young" } });
  assert.equal((await early).spec?.serviceAccountName, "default");
  assert.equal(
    await refusal(
      pods().create({
        ...pod,
        metadata: { name: "other", namespace: "young" },
        spec: { ...pod.spec, serviceAccountName: "nobody" },
      }),
    ),
    'pods "other" is forbidden: error looking up service account young/nobody: serviceaccount "nobody" not found',
  );
});

test("nothing is made in a namespace that is not there", async () => {
  const action = client.of(resources.configMaps).create({ metadata: { name: "x", namespace: "nowhere" } });
  assert.equal(await refusal(action), 'namespaces "nowhere" not found');
});

test("Services get addresses and ports, keep them, and may not take each other's", async () => {
  const services = client.of(resources.services);
  const make = (name: string, spec: object) =>
    services.create({ metadata: { name, namespace: "default" }, spec: { ports: [{ port: 80 }], ...spec } });
  const first = await make("one", { type: "NodePort" });
  const ip = first.spec!.clusterIP!;
  const nodePort = first.spec!.ports![0]!.nodePort!;
  assert.match(ip, /^10\.96\./);
  assert.ok(nodePort >= 30_000 && nodePort <= 32_767);
  assert.equal(
    await refusal(make("two", { clusterIP: ip })),
    `Service "two" is invalid: spec.clusterIPs: Invalid value: ["${ip}"]: failed to allocate IP ${ip}: provided IP is already allocated`,
  );
  const kept = await services.update({ ...first, spec: { type: "NodePort", ports: [{ port: 80 }] } });
  assert.equal(kept.spec?.clusterIP, ip);
  assert.equal(kept.spec?.ports?.[0]?.nodePort, nodePort);
  await services.delete({ namespace: "default", name: "one" });
  assert.equal((await make("three", { clusterIP: ip })).spec?.clusterIP, ip);
});

test("RBAC: nothing without a role, what the role says with one", async () => {
  const jane = new KubeClient(cluster.handler, { user: { name: "jane", groups: ["system:authenticated"] } });
  assert.equal(
    await refusal(jane.of(resources.pods).list({ namespace: "default" })),
    'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"',
  );
  await client.send({
    method: "POST",
    path: "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
    object: {
      metadata: { name: "jane-views" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" },
      subjects: [{ kind: "User", name: "jane" }],
    },
  });
  for (let attempt = 0; attempt < 50; attempt++) {
    if ((await refusal(jane.of(resources.pods).list({ namespace: "default" }))) === "allowed") break;
    await systemClock.sleep(10);
  }
  assert.equal(await refusal(jane.of(resources.pods).list({ namespace: "default" })), "allowed");
  assert.match(
    await refusal(jane.of(resources.secrets).list({ namespace: "default" })),
    /cannot list resource "secrets"/,
  );
  assert.match(await refusal(jane.of(resources.pods).list({ namespace: "kube-system" })), /cannot list/);
});

test("a node lists and watches the Secrets that its own Pods name, one by one, and no others", async () => {
  for (const name of ["named", "other"])
    await client.of(resources.secrets).create({ metadata: { name, namespace: "default" } });
  await pods().create(
    podNamed("reader", { nodeName: "n1", volumes: [{ name: "v", secret: { secretName: "named" } }] }),
  );
  const of = (node: string) =>
    new KubeClient(cluster.handler, { user: { name: `system:node:${node}`, groups: ["system:nodes"] } });
  const asked = (node: string, fieldSelector?: string) =>
    refusal(
      of(node)
        .of(resources.secrets)
        .list({ namespace: "default", ...(fieldSelector && { fieldSelector }) }),
    );
  for (let attempt = 0; attempt < 50; attempt++) {
    if ((await asked("n1", "metadata.name=named")) === "allowed") break;
    await systemClock.sleep(10);
  }
  assert.equal(await asked("n1", "metadata.name=named"), "allowed");
  const unrelated = /no relationship found between node/;
  assert.match(await asked("n1", "metadata.name=other"), unrelated);
  assert.match(await asked("n1"), unrelated);
  assert.match(await asked("n2", "metadata.name=named"), unrelated);
});

test("a token speaks for its account until its Pod is gone", async () => {
  const pod = await pods().create(podNamed("holder"));
  const response = await client.send({
    method: "POST",
    path: "/api/v1/namespaces/default/serviceaccounts/default/token",
    object: {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { boundObjectRef: { apiVersion: "v1", kind: "Pod", name: "holder", uid: pod.metadata.uid } },
    },
  });
  const { status } = response.object as { status: { token: string } };
  const whoAmI = () =>
    cluster.handler({
      method: "POST",
      path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
      query: new URLSearchParams(),
      headers: { authorization: `Bearer ${status.token}`, "content-type": "application/json" },
      object: { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" },
    });
  const mine = await whoAmI();
  assert.equal(mine.status, 201);
  const { username } = (mine.object as { status: { userInfo: { username: string } } }).status.userInfo;
  assert.equal(username, "system:serviceaccount:default:default");
  await pods().delete({ namespace: "default", name: "holder" });
  for (let attempt = 0; attempt < 50 && (await whoAmI()).status !== 401; attempt++) await systemClock.sleep(10);
  assert.equal((await whoAmI()).status, 401);
});

test("a binding sets the node once, and says that the Pod is scheduled", async () => {
  await pods().create(podNamed("bound"));
  const bind = (node: string) =>
    client.send({
      method: "POST",
      path: "/api/v1/namespaces/default/pods/bound/binding",
      object: { apiVersion: "v1", kind: "Binding", metadata: { name: "bound" }, target: { kind: "Node", name: node } },
    });
  await bind("n1");
  const pod = await pods().get({ namespace: "default", name: "bound" });
  assert.equal(pod.spec?.nodeName, "n1");
  assert.equal(pod.status?.conditions?.find(({ type }) => type === "PodScheduled")?.status, "True");
  // As upstream: a binding is a write of its own, which nobody manages and which is no change of the spec by a user.
  assert.equal(pod.metadata.generation, 1);
  assert.ok(pod.metadata.managedFields?.every(({ subresource }) => subresource === undefined));
  assert.equal(
    await refusal(bind("n2")),
    'Operation cannot be fulfilled on pods/binding "bound": pod bound is already assigned to node "n1"',
  );
});

test("limits, quota and Pod Security refuse in upstream's words", async () => {
  const name = "guarded";
  await client
    .of(resources.namespaces)
    .create({ metadata: { name, labels: { "pod-security.kubernetes.io/enforce": "baseline" } } });
  await client.of(resources.serviceAccounts).create({ metadata: { name: "default", namespace: name } });
  await client
    .of(resources.resourceQuotas)
    .create({ metadata: { name: "q", namespace: name }, spec: { hard: { pods: "1" } } });
  await client.of(resources.limitRanges).create({
    metadata: { name: "l", namespace: name },
    spec: { limits: [{ type: "Container", max: { memory: "1Gi" }, default: { memory: "256Mi" } }] },
  });
  const make = (pod: string, more: object = {}) =>
    pods().create({ metadata: { name: pod, namespace: name }, spec: { containers: [{ ...container, ...more }] } });
  // Informers see the new objects a moment later.
  await systemClock.sleep(50);
  assert.equal(
    await refusal(make("root", { securityContext: { privileged: true } })),
    'pods "root" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)',
  );
  assert.equal(
    await refusal(make("big", { resources: { limits: { memory: "2Gi" } } })),
    'pods "big" is forbidden: [maximum memory usage per Container is 1Gi, but limit is 2Gi]'.replace(/[[\]]/g, ""),
  );
  assert.equal((await make("first")).spec?.containers[0]?.resources?.limits?.["memory"], "256Mi");
  assert.equal(
    await refusal(make("second")),
    'pods "second" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
  );
});

test("a server that starts again finds its objects, and says where it is now", async () => {
  const own = await mkdtemp(path.join(tmpdir(), "berth-again-"));
  const store = await openMemoryStore();
  const open = (port: number) =>
    openCluster({
      store,
      clock: systemClock,
      random: seededRandom(4),
      log: createLogger({ write: () => {} }),
      folder: own,
      port,
    });
  try {
    const first = await open(0);
    await first.close();
    const second = await open(0);
    try {
      const endpoints = await second.client.of(resources.endpoints).get({ namespace: "default", name: "kubernetes" });
      assert.equal(endpoints.subsets?.[0]?.ports?.[0]?.port, second.listener.port);
      const service = await second.client.of(resources.services).get({ namespace: "default", name: "kubernetes" });
      assert.equal(service.spec?.clusterIP, "10.96.0.1");
      assert.equal(service.spec?.ports?.[0]?.targetPort, second.listener.port);
    } finally {
      await second.close();
    }
  } finally {
    await rm(own, { recursive: true, force: true });
  }
});

test("flow schemas are obeyed: a flood is refused with a time to come back while others are served", async () => {
  const apiVersion = "flowcontrol.apiserver.k8s.io/v1";
  const post = async (plural: string, object: object) => {
    const path = `/apis/${apiVersion}/${plural}`;
    const response = await cluster.handler({
      method: "POST",
      path,
      query: new URLSearchParams(),
      headers: {},
      object,
      user: admin,
    });
    return response.object as KubeObject;
  };
  const schema = await post("flowschemas", {
    apiVersion,
    kind: "FlowSchema",
    metadata: { name: "floods" },
    spec: {
      matchingPrecedence: 10,
      priorityLevelConfiguration: { name: "floods" },
      distinguisherMethod: { type: "ByUser" },
      rules: [
        {
          subjects: [{ kind: "User", user: { name: "flood" } }],
          nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
        },
      ],
    },
  });
  const dangling = async () => {
    const path = `/apis/${apiVersion}/flowschemas/floods`;
    const read = await cluster.handler({ method: "GET", path, query: new URLSearchParams(), headers: {}, user: admin });
    const { status } = read.object as { status?: { conditions?: { status: string; reason: string }[] } };
    return status?.conditions?.map((condition) => `${condition.status} ${condition.reason}`).join();
  };
  await until(async () => (await dangling()) === "True NotFound");
  const level = await post("prioritylevelconfigurations", {
    apiVersion,
    kind: "PriorityLevelConfiguration",
    metadata: { name: "floods" },
    spec: {
      type: "Limited",
      limited: { nominalConcurrencyShares: 1, borrowingLimitPercent: 0, limitResponse: { type: "Reject" } },
    },
  });
  await until(async () => (await dangling()) === "False Found");

  const ask = (name: string) =>
    cluster.handler({
      method: "GET",
      path: "/version",
      query: new URLSearchParams(),
      headers: {},
      user: { name, groups: ["system:authenticated"] },
    });
  const flood = Array.from({ length: 50 }, () => ask("flood"));
  const others = await Promise.all(Array.from({ length: 20 }, () => ask("jane")));
  assert.deepEqual(new Set(others.map(({ status }) => status)), new Set([200]));
  const answers = await Promise.all(flood);
  const refused = answers.filter(({ status }) => status === 429);
  assert.ok(refused.length > 0 && refused.length < answers.length, `${refused.length} of ${answers.length} refused`);
  assert.equal(refused[0]!.headers["retry-after"], "1");
  for (const { headers } of answers) {
    assert.equal(headers["x-kubernetes-pf-flowschema-uid"], schema.metadata.uid);
    assert.equal(headers["x-kubernetes-pf-prioritylevel-uid"], level.metadata.uid);
  }
});

/** Informers follow in their own time. */
async function until(check: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail("it did not come to be");
}
