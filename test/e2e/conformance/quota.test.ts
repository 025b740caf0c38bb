/** What upstream's conformance suite asks of quotas, limits, namespaces and what is in each of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually, MERGE } from "./client.ts";
import { clusterApi } from "./cluster.ts";

const api = clusterApi();

async function namespace(name: string): Promise<string> {
  await api.ok("POST", "/api/v1/namespaces", { body: { metadata: { name } } });
  return `/api/v1/namespaces/${name}`;
}
const container = { name: "main", image: "registry.k8s.io/pause:3.10" };

test("quota: scopes count the Pods that they are for, and what goes is given back", async () => {
  const at = await namespace("quota");
  const quota = async (name: string, scopes: string[], hard: Record<string, string>) => {
    await api.ok("POST", `${at}/resourcequotas`, { body: { metadata: { name }, spec: { hard, scopes } } });
    await used(name, Object.fromEntries(Object.keys(hard).map((key) => [key, "0"])));
  };
  const used = (name: string, wanted: Record<string, string>) =>
    eventually(`${name} uses ${JSON.stringify(wanted)}`, async () => {
      const { status } = await api.ok("GET", `${at}/resourcequotas/${name}`);
      return Object.entries(wanted).every(([key, value]) => status?.used?.[key] === value);
    });
  const hard = {
    pods: "5",
    "requests.cpu": "1",
    "requests.memory": "500Mi",
    "limits.cpu": "2",
    "limits.memory": "1Gi",
  };
  await quota("best-effort", ["BestEffort"], { pods: "5" });
  await quota("not-best-effort", ["NotBestEffort"], { pods: "5" });
  await quota("terminating", ["Terminating"], hard);
  await quota("not-terminating", ["NotTerminating"], hard);
  const pod = (name: string, spec: object, resources: object) =>
    api.call("POST", `${at}/pods`, {
      body: {
        metadata: { name },
        spec: {
          schedulerName: "nobody",
          terminationGracePeriodSeconds: 0,
          containers: [{ ...container, resources }],
          ...spec,
        },
      },
    });
  const sized = { requests: { cpu: "500m", memory: "200Mi" }, limits: { cpu: "1", memory: "400Mi" } };
  assert.equal((await pod("long", {}, sized)).status, 201);
  await used("not-terminating", {
    pods: "1",
    "requests.cpu": "500m",
    "requests.memory": "200Mi",
    "limits.cpu": "1",
    "limits.memory": "400Mi",
  });
  await used("not-best-effort", { pods: "1" });
  await used("terminating", { pods: "0", "requests.cpu": "0" });
  await used("best-effort", { pods: "0" });
  const tooMuch = await pod(
    "large",
    {},
    { requests: { cpu: "600m", memory: "100Mi" }, limits: { cpu: "600m", memory: "100Mi" } },
  );
  assert.equal(tooMuch.status, 403);
  assert.match(
    tooMuch.body.message,
    /exceeded quota: not-terminating, requested: requests\.cpu=600m, used: requests\.cpu=500m, limited: requests\.cpu=1/,
  );
  await api.ok("DELETE", `${at}/pods/long`);
  await used("not-terminating", { pods: "0", "requests.cpu": "0" });
  assert.equal((await pod("short", { activeDeadlineSeconds: 3600 }, sized)).status, 201);
  await used("terminating", { pods: "1", "limits.memory": "400Mi" });
  await used("not-terminating", { pods: "0" });
  const changed = await api.call("PATCH", `${at}/pods/short`, {
    body: { spec: { containers: [{ name: "main", resources: { requests: { cpu: "100m" } } }] } },
    headers: { "content-type": "application/strategic-merge-patch+json" },
  });
  assert.equal(changed.status, 422, "a Pod's resources can't be changed in place of it");
});

test("quota: objects of each kind are counted", async () => {
  const at = await namespace("quota-objects");
  const hard: Record<string, string> = {
    "count/replicasets.apps": "5",
    configmaps: "10",
    persistentvolumeclaims: "10",
    replicationcontrollers: "10",
    resourcequotas: "1",
    secrets: "10",
    services: "10",
    "services.loadbalancers": "1",
    "services.nodeports": "1",
  };
  await api.ok("POST", `${at}/resourcequotas`, { body: { metadata: { name: "all" }, spec: { hard } } });
  const used = (key: string, value: string) =>
    eventually(
      `${key} ${value}`,
      async () => (await api.ok("GET", `${at}/resourcequotas/all`)).status?.used?.[key] === value,
    );
  await used("resourcequotas", "1");
  await used("configmaps", "1");
  const spec = {
    selector: { a: "b" },
    template: { metadata: { labels: { a: "b" } }, spec: { containers: [container] } },
    replicas: 0,
  };
  const cases: Array<[string, string, object, string[]]> = [
    [`${at}/configmaps`, "configmaps", {}, ["configmaps"]],
    [`${at}/secrets`, "secrets", {}, ["secrets"]],
    [`${at}/replicationcontrollers`, "replicationcontrollers", { spec }, ["replicationcontrollers"]],
    [
      `${at.replace("/api/v1", "/apis/apps/v1")}/replicasets`,
      "replicasets",
      { spec: { ...spec, selector: { matchLabels: { a: "b" } } } },
      ["count/replicasets.apps"],
    ],
    [
      `${at}/services`,
      "services",
      { spec: { type: "NodePort", ports: [{ port: 80 }] } },
      ["services", "services.nodeports"],
    ],
  ];
  for (const [path, , rest, keys] of cases) {
    const before = Object.fromEntries(
      await Promise.all(
        keys.map(async (key) => [key, (await api.ok("GET", `${at}/resourcequotas/all`)).status.used[key]]),
      ),
    );
    await api.ok("POST", path, { body: { metadata: { name: "counted" }, ...rest } });
    for (const key of keys) await used(key, String(Number(before[key]) + 1));
    await api.ok("DELETE", `${path}/counted`);
    for (const key of keys) await used(key, before[key]);
  }
  await api.ok("POST", `${at}/services`, {
    body: { metadata: { name: "one" }, spec: { type: "NodePort", ports: [{ port: 80 }] } },
  });
  const second = await api.call("POST", `${at}/services`, {
    body: { metadata: { name: "two" }, spec: { type: "NodePort", ports: [{ port: 80 }] } },
  });
  assert.equal(second.status, 403, JSON.stringify(second.body));
});

test("quota status: written by update and patch, its spec untouched", async () => {
  const at = `${await namespace("quota-status")}/resourcequotas`;
  await api.ok("POST", at, { body: { metadata: { name: "one" }, spec: { hard: { cpu: "500m", memory: "500Mi" } } } });
  await eventually("its status", async () => (await api.ok("GET", `${at}/one`)).status?.hard?.cpu === "500m");
  const patched = await api.patch(
    `${at}/one/status`,
    { spec: { hard: { cpu: "1" } }, status: { hard: { cpu: "750m", memory: "750Mi" } } },
    MERGE,
  );
  assert.deepEqual([patched.status.hard.cpu, patched.spec.hard.cpu], ["750m", "500m"]);
});

test("LimitRange: defaults go into Pods, bounds are kept, requests come from limits", async () => {
  const at = await namespace("limits");
  const of = (cpu: string, memory: string, storage: string) => ({ cpu, memory, "ephemeral-storage": storage });
  const limits = [
    {
      type: "Container",
      min: of("50m", "100Mi", "100Gi"),
      max: of("500m", "500Mi", "500Gi"),
      default: of("500m", "500Mi", "500Gi"),
      defaultRequest: of("100m", "200Mi", "200Gi"),
    },
  ];
  await api.ok("POST", `${at}/limitranges`, { body: { metadata: { name: "limit-range" }, spec: { limits } } });
  const pod = (name: string, resources: object) =>
    api.call("POST", `${at}/pods`, {
      body: { metadata: { name }, spec: { schedulerName: "nobody", containers: [{ ...container, resources }] } },
    });
  const first = await eventually("the defaults", async () => {
    const { body } = await pod("no-resources", {});
    if (body.spec?.containers[0].resources.limits) return body;
    await api.call("DELETE", `${at}/pods/no-resources?gracePeriodSeconds=0`);
    return undefined;
  });
  assert.deepEqual(first.spec.containers[0].resources, {
    limits: of("500m", "500Mi", "500Gi"),
    requests: of("100m", "200Mi", "200Gi"),
  });
  const partial = await pod("partial", {
    requests: of("300m", "150Mi", "150Gi"),
    limits: { cpu: "300m", "ephemeral-storage": "150Gi" },
  });
  assert.deepEqual(partial.body.spec.containers[0].resources.limits, {
    cpu: "300m",
    memory: "500Mi",
    "ephemeral-storage": "150Gi",
  });
  assert.equal((await pod("small", { requests: { cpu: "10m" } })).status, 403);
  assert.equal((await pod("large", { requests: { cpu: "600m" }, limits: { cpu: "600m" } })).status, 403);
  limits[0]!.min = of("49m", "50Mi", "50Gi");
  await api.patch(`${at}/limitranges/limit-range`, { spec: { limits } });
  await eventually("a smaller Pod", async () => (await pod("smaller", { requests: { cpu: "49m" } })).status === 201);
});

test("namespaces: finalizers, status, and Pods that go with them", async () => {
  const at = await namespace("leaving");
  await api.patch(at, { metadata: { labels: { testLabel: "testValue" } } });
  const finalized = await api.ok("GET", at);
  finalized.spec.finalizers.push("e2e.example.com/fakeFinalizer");
  const withFinalizer = await api.ok("PUT", `${at}/finalize`, { body: finalized });
  assert.ok(withFinalizer.spec.finalizers.includes("e2e.example.com/fakeFinalizer"));
  withFinalizer.spec.finalizers = ["kubernetes"];
  assert.deepEqual((await api.ok("PUT", `${at}/finalize`, { body: withFinalizer })).spec.finalizers, ["kubernetes"]);
  const condition = { type: "StatusPatch", status: "True", reason: "E2E", message: "Patched by an e2e test" };
  const status = await api.patch(`${at}/status`, {
    metadata: { annotations: { e2e: "status" } },
    status: { conditions: [condition] },
  });
  assert.equal(status.status.conditions[0].type, "StatusPatch");
  await api.ok("POST", `${at}/pods`, { body: { metadata: { name: "pod" }, spec: { containers: [container] } } });
  await api.ok("POST", `${at}/services`, { body: { metadata: { name: "service" }, spec: { ports: [{ port: 80 }] } } });
  await api.ok("DELETE", at);
  await eventually("the namespace is gone", async () => (await api.call("GET", at)).status === 404);
  await namespace("leaving");
  assert.deepEqual((await api.ok("GET", `${at}/pods`)).items, []);
  assert.deepEqual((await api.ok("GET", `${at}/services`)).items, []);
});

test("kube-root-ca.crt is in every namespace, and comes back", async () => {
  const at = `${await namespace("root-ca")}/configmaps/kube-root-ca.crt`;
  const there = () =>
    eventually("the root certificates", async () => {
      const { body } = await api.call("GET", at);
      return body.data?.["ca.crt"]?.includes("BEGIN CERTIFICATE") && body;
    });
  const first = await there();
  await api.ok("DELETE", at);
  const second = await eventually("a new one", async () => {
    const body = await there();
    return body.metadata.uid !== first.metadata.uid && body;
  });
  second.data = { "ca.crt": "" };
  await api.ok("PUT", at, { body: second });
  await there();
});

test("impersonation and access reviews agree", async () => {
  await api.ok("POST", "/api/v1/namespaces/default/serviceaccounts", { body: { metadata: { name: "reviewed" } } });
  const user = "system:serviceaccount:default:reviewed";
  const attributes = { namespace: "default", verb: "list", resource: "configmaps", version: "v1" };
  const review = {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
    spec: { user, resourceAttributes: attributes },
  };
  const { status } = await api.ok("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", { body: review });
  const local = await api.ok("POST", "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews", {
    body: { ...review, kind: "LocalSubjectAccessReview", metadata: { namespace: "default" } },
  });
  const tried = await api.call("GET", "/api/v1/namespaces/default/configmaps", {
    headers: { "impersonate-user": user },
  });
  assert.deepEqual([status.allowed, local.status.allowed, tried.status], [false, false, 403]);
});

test("PriorityClasses: what may change and what may not", async () => {
  const at = "/apis/scheduling.k8s.io/v1/priorityclasses";
  await api.ok("POST", at, { body: { metadata: { name: "p1" }, value: 7 } });
  const changed = await api.patch(`${at}/p1`, { description: "changed" });
  assert.equal(changed.description, "changed");
  const { status, body } = await api.call("PATCH", `${at}/p1`, {
    body: { value: 8 },
    headers: { "content-type": MERGE },
  });
  assert.equal(status, 422);
  assert.equal(body.reason, "Invalid");
  assert.equal(body.details.causes[0].field, "value");
});

test("ConfigMaps and Secrets: empty keys are refused, immutable ones stay", async () => {
  for (const resource of ["configmaps", "secrets"]) {
    const at = `/api/v1/namespaces/default/${resource}`;
    assert.equal(
      (await api.call("POST", at, { body: { metadata: { name: "empty-key" }, data: { "": "dmFsdWU=" } } })).status,
      422,
    );
    const one = `${at}/immutable`;
    await api.ok("POST", at, { body: { metadata: { name: "immutable" }, data: { a: "YQ==" } } });
    await api.patch(one, { data: { a: "Yg==" } });
    await api.patch(one, { immutable: true });
    const refuses = async (change: object) =>
      (await api.call("PATCH", one, { body: change, headers: { "content-type": MERGE } })).status;
    assert.deepEqual([await refuses({ data: { a: "Yw==" } }), await refuses({ immutable: false })], [422, 422]);
    await api.patch(one, { metadata: { labels: { still: "mine" } } });
    await api.ok("DELETE", one);
  }
});
