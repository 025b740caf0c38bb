/** What replaying upstream's tests of kubectl's commands has found wrong, told without kubectl. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import type { ApiRequest, k8s, KubeObject, UserInfo } from "../api/index.ts";
import { createLogger, messageOf, seededRandom, systemClock } from "../base/index.ts";
import { KubeClient, resources } from "../client/index.ts";
import { openMemoryStore } from "../storage/index.ts";
import { openCluster } from "./cluster.ts";
import type { Cluster, ClusterOptions } from "./cluster.ts";

const user: UserInfo = { name: "admin", groups: ["system:masters", "system:authenticated"] };
const namespace = "default";
let folder: string;
let cluster: Cluster;
let client: KubeClient;

const open = async (more: Partial<ClusterOptions> = {}): Promise<Cluster> =>
  openCluster({
    store: await openMemoryStore(),
    clock: systemClock,
    random: seededRandom(1),
    log: createLogger({ write: () => {} }),
    folder,
    ...more,
  });

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "berth-commands-"));
  cluster = await open({ disabledAdmissionPlugins: ["ServiceAccount"] });
  client = new KubeClient(cluster.handler, { user });
});

after(async () => {
  await cluster.close();
  await rm(folder, { recursive: true, force: true });
});

const refusal = async (action: Promise<unknown>): Promise<string> => action.then(() => "allowed", messageOf);
const podNamed = (name: string, in_ = namespace) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: in_, labels: { name } },
  spec: { containers: [{ name: "c", image: "i" }] },
});

async function ask(method: ApiRequest["method"], path_: string, object?: unknown, type = "application/json") {
  const [at = "", query] = path_.split("?");
  const body = object === undefined ? undefined : Buffer.from(JSON.stringify(object));
  const headers = { "content-type": type };
  const answer = await cluster.handler({ method, path: at, query: new URLSearchParams(query), headers, body, user });
  return answer.object as KubeObject & { message?: string; resources?: { name: string }[] };
}

test("a missing namespace is told of, not what misses in it", async () => {
  await using usual = await open();
  const pods = new KubeClient(usual.handler, { user }).of(resources.pods);
  assert.equal(await refusal(pods.create(podNamed("p", "nowhere"))), 'namespaces "nowhere" not found');
});

test("admission plugins are disabled by their names, and others are refused", async () => {
  const pod = await client.of(resources.pods).create(podNamed("bare"));
  assert.equal(pod.spec?.volumes, undefined);
  assert.match(await refusal(open({ disabledAdmissionPlugins: ["Nothing"] })), /plugin "Nothing" is unknown/);
});

test("a Pod is replaced by the manifest it was made from", async () => {
  const made = await client.of(resources.pods).create(podNamed("again"));
  const { spec } = await client.of(resources.pods).update({ ...podNamed("again"), metadata: { ...made.metadata } });
  assert.deepEqual([spec?.tolerations?.length, spec?.priority], [2, 0]);
});

test("a Service's address may not change, also for who knows clusterIP alone", async () => {
  const services = client.of(resources.services);
  const spec = { clusterIP: "10.96.0.11", ports: [{ port: 80 }] };
  await services.create({ metadata: { name: "a", namespace }, spec });
  const change = services.patch({ name: "a", namespace }, { spec: { clusterIP: "10.96.0.12" } });
  assert.match(await refusal(change), /spec\.clusterIPs\[0\]: .* may not change once set/);
});

test("an autoscaler that names nothing goes by the CPU, in both versions", async () => {
  const at = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
  const scaleTargetRef = { apiVersion: "apps/v1", kind: "Deployment", name: "d" };
  const autoscaler = { apiVersion: "autoscaling/v1", kind: "HorizontalPodAutoscaler", metadata: { name: "h" } };
  const one = await ask("POST", at, { ...autoscaler, spec: { scaleTargetRef, maxReplicas: 3 } });
  assert.equal((one["spec"] as k8s.HorizontalPodAutoscalerSpecV1).targetCPUUtilizationPercentage, 80);
  const two = await ask("GET", `${at.replace("v1", "v2")}/h`);
  const metric = (two["spec"] as k8s.HorizontalPodAutoscalerSpec).metrics![0]!;
  assert.equal(metric.resource?.target.averageUtilization, 80);
});

test("kubectl's server-side apply keeps what its client-side apply recorded up to date", async () => {
  const at = "/api/v1/namespaces/default/configmaps/kept?fieldManager=";
  const configMap = (data: object) => ({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "kept", namespace },
    data,
  });
  const last = "kubectl.kubernetes.io/last-applied-configuration";
  const metadata = { name: "kept", namespace, annotations: { [last]: JSON.stringify(configMap({ a: "1" })) } };
  await client
    .of(resources.configMaps)
    .create({ metadata, data: { a: "1" } }, { fieldManager: "kubectl-client-side-apply" });
  const apply = async (manager: string, data: object) => {
    const answer = await ask("PATCH", at + manager, configMap(data), "application/apply-patch+yaml");
    return JSON.parse(answer.metadata.annotations![last]!) as { data: object };
  };
  assert.deepEqual((await apply("other", { b: "1" })).data, { a: "1" });
  assert.deepEqual((await apply("kubectl", { a: "2" })).data, { a: "2" });
});

test("a strategic patch with a value of a wrong type is refused in the conversion's words", async () => {
  await client.of(resources.pods).create(podNamed("typed"));
  const at = "/api/v1/namespaces/default/pods/typed";
  const problemOf = async (patch: object) => {
    const { message = "" } = await ask("PATCH", at, patch, "application/strategic-merge-patch+json");
    return message.replace(/^ "" is invalid: patch: Invalid value: /, "");
  };
  const rows: [patch: object, problem: string][] = [
    [{ metadata: { labels: "x" } }, '"map[metadata:map[labels:x]]": cannot restore map from string'],
    [{ metadata: { labels: { a: 1 } } }, '"map[metadata:map[labels:map[a:1]]]": cannot convert int64 to string'],
    [{ spec: { priority: "x" } }, '"map[spec:map[priority:x]]": unrecognized type: int32'],
    [{ spec: { tolerations: "x" } }, '"map[spec:map[tolerations:x]]": cannot restore slice from string'],
    [
      { spec: { securityContext: [true] } },
      '"map[spec:map[securityContext:[true]]]": cannot restore struct from: slice',
    ],
  ];
  for (const [patch, problem] of rows) assert.equal(await problemOf(patch), problem);
});

test("discovery says how each resource is stored, in upstream's order of fields", async () => {
  const { resources: all = [] } = await ask("GET", "/api/v1");
  const text = JSON.stringify(all.find(({ name }) => name === "configmaps"));
  const verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
  assert.equal(
    text,
    `{"name":"configmaps","singularName":"configmap","namespaced":true,"kind":"ConfigMap","verbs":${JSON.stringify(verbs)},"shortNames":["cm"],"storageVersionHash":"qFsyl6wFWjQ="}`,
  );
});

test("each header of impersonation is one value, commas and all", async () => {
  const { certificates, listener } = cluster;
  const review = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
  const answer = await new Promise<string>((resolve, reject) => {
    const request = httpsRequest(
      {
        host: "127.0.0.1",
        port: listener.port,
        method: "POST",
        path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        ca: certificates.authority.pair.cert,
        ...certificates.admin,
        headers: {
          "content-type": "application/json",
          "impersonate-user": "jane",
          "impersonate-group": ["one", ",,two"],
          "impersonate-extra-reason": ["a,b", "c"],
        },
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => resolve(text));
      },
    );
    request.on("error", reject);
    request.end(JSON.stringify(review));
  });
  const { status } = JSON.parse(answer) as k8s.SelfSubjectReview;
  assert.deepEqual(status?.userInfo?.groups, ["one", ",,two", "system:authenticated"]);
  assert.deepEqual(status.userInfo.extra, { reason: ["a,b", "c"] });
});
