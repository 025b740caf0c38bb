import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { FakeClock, unavailable } from "../../../base/index.ts";
import { kubeletConfiguration } from "../configuration.ts";
import { Kubelet } from "../kubelet.ts";
import { FakeKubeletApi, fakeHost, silentLogger, until } from "../testing/fake-api.ts";
import { FakeRuntime } from "../testing/fake-runtime.ts";
import type { Pod } from "../pod/imports.ts";
import { staticPod, STATIC } from "./manifest.ts";
import { ManifestSources } from "./sources.ts";
import { mirrored } from "./static-pods.ts";

const manifest = (name: string, command = "run") =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { app: name } },
    spec: { terminationGracePeriodSeconds: 1, containers: [{ name, image: "busybox:1", command: [command] }] },
  });

async function start(t: TestContext, api = new FakeKubeletApi()) {
  const clock = new FakeClock();
  const runtime = new FakeRuntime(clock, ["busybox:1"]);
  const dataDir = await mkdtemp(path.join(os.tmpdir(), "berth-static-"));
  const folder = path.join(dataDir, "manifests");
  await mkdir(folder);
  const make = () =>
    new Kubelet({
      api,
      host: fakeHost,
      runtime,
      images: runtime,
      clock,
      log: silentLogger,
      nodeName: "node",
      dns: { clusterDomain: "cluster.local", clusterDns: ["10.96.0.10"], resolvConf: "/dev/null" },
      dataDir,
      runtimeDir: `${dataDir}/run`,
      kubeletPort: 10250,
      configuration: kubeletConfiguration({ staticPodPath: folder }),
    });
  const kubelet = make();
  t.after(async () => {
    await kubelet.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  const write = (name: string, text: string) => writeFile(path.join(folder, name), text);
  const mirrors = () => api.pods().filter((pod) => mirrored(pod) !== undefined);
  /** Manifests are looked at each 20 s. */
  const eventually = (condition: () => boolean, what: string) => until(clock, condition, what, 500);
  return { clock, api, runtime, folder, kubelet, write, mirrors, eventually, make };
}

test("a manifest becomes a Pod of the node, with defaults and a uid of its content", async () => {
  const pod = await staticPod(manifest("web"), { kind: "file", at: "/m/web.yaml" }, "node-1", "2026-01-01T00:00:00Z");
  assert.equal(pod.metadata.name, "web-node-1");
  assert.equal(pod.metadata.namespace, "default");
  assert.equal(pod.spec?.restartPolicy, "Always");
  assert.equal(pod.spec?.containers[0]?.imagePullPolicy, "IfNotPresent");
  assert.equal(pod.metadata.annotations?.[STATIC.hash], pod.metadata.uid);
  const again = await staticPod(manifest("web"), { kind: "file", at: "/m/web.yaml" }, "node-1", "2026-01-02T00:00:00Z");
  assert.equal(again.metadata.uid, pod.metadata.uid);
  const changed = await staticPod(
    manifest("web", "other"),
    { kind: "file", at: "/m/web.yaml" },
    "node-1",
    "2026-01-01T00:00:00Z",
  );
  assert.notEqual(changed.metadata.uid, pod.metadata.uid);
});

test("a manifest that can't run says which file and why", async () => {
  const read = (text: string) => staticPod(text, { kind: "file", at: "/m/web.yaml" }, "node", "2026-01-01T00:00:00Z");
  await assert.rejects(read("kind: Pod"), /\/m\/web\.yaml does not run: it is undefined Pod, not v1 Pod/);
  await assert.rejects(read("{"), /\/m\/web\.yaml does not run/);
  await assert.rejects(read("a: 1\nb"), /web\.yaml/);
  const spec = { containers: [{ name: "m", image: "i", envFrom: [{ secretRef: { name: "s" } }] }] };
  const withSecret = JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name: "p" }, spec });
  await assert.rejects(read(withSecret), /cannot refer to ConfigMaps or Secrets/);
});

test("static Pods run, are shown by mirrors, follow their files and end with them", async (t) => {
  const { kubelet, runtime, write, mirrors, eventually, folder } = await start(t);
  await write("web.json", manifest("web"));
  await write("broken.yaml", "{");
  await kubelet.start();
  await eventually(() => mirrors()[0]?.status?.phase === "Running", "the mirror shows the Pod");
  assert.deepEqual(runtime.running(), ["web"]);
  assert.equal(mirrors()[0]!.metadata.name, "web-node");
  assert.equal(mirrors()[0]!.metadata.ownerReferences?.[0]?.kind, "Node");

  const uid = mirrored(mirrors()[0]!);
  await write("web.json", manifest("web", "other"));
  await eventually(() => mirrors().length === 1 && mirrored(mirrors()[0]!) !== uid, "the changed manifest's mirror");
  await eventually(() => runtime.running().join() === "web", "the changed Pod runs, alone");

  await rm(path.join(folder, "web.json"));
  await eventually(() => runtime.running().length === 0 && mirrors().length === 0, "nothing is left of the Pod");
});

test("whoever deletes the mirror gets another one; the Pod goes on", async (t) => {
  const { kubelet, api, runtime, write, mirrors, eventually } = await start(t);
  await write("web.json", manifest("web"));
  await kubelet.start();
  await eventually(() => mirrors()[0]?.status?.phase === "Running", "running");
  const [first] = mirrors();
  const started = [...runtime.containers.keys()].join();
  api.put({ ...first!, metadata: { ...first!.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } });
  await eventually(
    () => mirrors()[0]?.status?.phase === "Running" && mirrors()[0]!.metadata.uid !== first!.metadata.uid,
    "another mirror with the Pod's status",
  );
  assert.equal([...runtime.containers.keys()].join(), started);
});

test("an API that takes no mirror keeps no static Pod from running", async (t) => {
  const api = new FakeKubeletApi();
  let down = true;
  const create = api.createPod.bind(api);
  api.createPod = (pod) => (down ? Promise.reject(unavailable("the store is away")) : create(pod));
  const { kubelet, runtime, write, mirrors, eventually } = await start(t, api);
  await write("web.json", manifest("web"));
  await kubelet.start();
  await eventually(() => runtime.running().length === 1, "running");
  assert.equal(mirrors().length, 0);
  down = false;
  await eventually(() => mirrors()[0]?.status?.phase === "Running", "the mirror comes when the API is back");
});

test("a restart takes over what runs", async (t) => {
  const { kubelet, make, runtime, write, mirrors, eventually } = await start(t);
  await write("web.json", manifest("web"));
  await kubelet.start();
  await eventually(() => mirrors()[0]?.status?.phase === "Running", "running");
  const before = [...runtime.containers.keys()].join();
  await kubelet.stop();
  const next = make();
  t.after(() => next.stop());
  await next.start();
  await eventually(() => runtime.running().length === 1, "still running");
  assert.equal([...runtime.containers.keys()].join(), before);
  assert.equal(mirrors().length, 1);
});

test("Pods come from a URL too, one or a list of them, and stay while it fails", async (t) => {
  let answer = { status: 200, text: manifest("one") };
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(String(request.headers["x-for"]));
    response.writeHead(answer.status).end(answer.text);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const clock = new FakeClock();
  let pods: readonly Pod[] = [];
  const { port } = server.address() as AddressInfo;
  const raw = { staticPodURL: `http://127.0.0.1:${port}/`, staticPodURLHeader: { "X-For": ["node"] } };
  const dataDir = await mkdtemp(path.join(os.tmpdir(), "berth-static-"));
  const make = () =>
    new ManifestSources({
      configuration: kubeletConfiguration(raw),
      dataDir,
      nodeName: "node",
      clock,
      log: silentLogger,
      onPods: (list) => (pods = list),
    });
  const sources = make();
  t.after(async () => {
    sources.stop();
    await rm(dataDir, { recursive: true, force: true });
    server.closeAllConnections();
    server.close();
  });
  const names = () => pods.map(({ metadata }) => metadata.name).join();
  await sources.start();
  assert.equal(names(), "one-node");
  assert.equal(pods[0]?.metadata.annotations?.[STATIC.source], "http");
  assert.equal(seen[0], "node");
  const { apiVersion: _, kind: __, ...bare } = JSON.parse(manifest("two")) as Record<string, unknown>;
  answer = { status: 200, text: JSON.stringify({ apiVersion: "v1", kind: "PodList", items: [bare] }) };
  await until(clock, () => names() === "two-node", "the list", 20_000);
  answer = { status: 500, text: "" };
  const asked = seen.length;
  await until(clock, () => seen.length > asked + 1, "failures", 20_000);
  assert.equal(names(), "two-node");
  sources.stop();
  pods = [];
  const next = make();
  await next.start();
  next.stop();
  assert.equal(names(), "two-node", "a restart meanwhile ends nothing");
});
