import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { FakeClock, rfc3339 } from "../../base/index.ts";
import type { k8s } from "../../api/index.ts";
import { kubeletConfiguration } from "./configuration.ts";
import { Kubelet } from "./kubelet.ts";
import { FakeKubeletApi, fakeHost, silentLogger, until } from "./testing/fake-api.ts";
import { FakeRuntime } from "./testing/fake-runtime.ts";

function pod(spec: Partial<k8s.PodSpec> = {}, name = "web"): k8s.Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", uid: `uid-${name}`, resourceVersion: "1" },
    spec: {
      nodeName: "node",
      containers: [{ name: "main", image: "busybox", imagePullPolicy: "IfNotPresent" }],
      restartPolicy: "Always",
      terminationGracePeriodSeconds: 30,
      ...spec,
    } as k8s.PodSpec,
    status: { phase: "Pending" },
  };
}

async function start(t: TestContext) {
  const clock = new FakeClock();
  const api = new FakeKubeletApi();
  const runtime = new FakeRuntime(clock);
  const dataDir = await mkdtemp(path.join(os.tmpdir(), "berth-kubelet-"));
  const kubelet = new Kubelet({
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
    configuration: kubeletConfiguration(),
  });
  t.after(async () => {
    await kubelet.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  await kubelet.start();
  const statusOf = (name = "web") => api.podsByUid.get(`uid-${name}`)?.status;
  return { clock, api, runtime, kubelet, statusOf };
}

const conditionOf = (status: k8s.PodStatus | undefined, type: string) =>
  status?.conditions?.find((condition) => condition.type === type)?.status;

test("registers a Ready node", async (t) => {
  const { api } = await start(t);
  const ready = api.node()?.status?.conditions?.find((condition) => condition.type === "Ready");
  assert.equal(ready?.status, "True");
  assert.equal(api.node()?.status?.capacity?.["cpu"], "2");
});

test("a Pod becomes Running and Ready, with events in upstream's order", async (t) => {
  const { clock, api, statusOf } = await start(t);
  api.put(pod());
  await until(clock, () => conditionOf(statusOf(), "Ready") === "True", "Ready");
  assert.equal(statusOf()?.phase, "Running");
  assert.equal(statusOf()?.podIP, "10.0.0.1");
  assert.equal(statusOf()?.containerStatuses?.[0]?.restartCount, 0);
  assert.deepEqual(
    api.events.map((event) => event.split(" ")[1]),
    ["Pulled", "Created", "Started"],
  );
});

test("init containers run one after the other before the main ones, a sidecar beside them", async (t) => {
  const { clock, api, runtime, statusOf } = await start(t);
  const init = (name: string, more = {}) => ({ name, image: "busybox", imagePullPolicy: "IfNotPresent", ...more });
  api.put(pod({ initContainers: [init("one"), init("side", { restartPolicy: "Always" }), init("two")] }));
  await until(clock, () => runtime.running().includes("one"), "first init");
  assert.equal(statusOf()?.phase, "Pending");
  runtime.exit("one", 0);
  await until(clock, () => runtime.running().includes("two"), "second init");
  assert.deepEqual(runtime.running(), ["side", "two"]);
  runtime.exit("two", 0);
  await until(clock, () => statusOf()?.phase === "Running", "main");
  assert.deepEqual(runtime.running(), ["side", "main"]);
});

test("a crashing container is restarted with growing delays and shows CrashLoopBackOff", async (t) => {
  const { clock, api, runtime, statusOf } = await start(t);
  api.put(pod());
  await until(clock, () => runtime.running().length === 1, "start");
  runtime.exit("main", 1);
  await until(clock, () => runtime.running().length === 1, "first restart comes at once");
  runtime.exit("main", 1);
  await until(
    clock,
    () => statusOf()?.containerStatuses?.[0]?.state?.waiting?.reason === "CrashLoopBackOff",
    "back-off",
  );
  const status = statusOf()!.containerStatuses![0]!;
  assert.match(
    status.state!.waiting!.message!,
    /^back-off 10s restarting failed container=main pod=web_default\(uid-web\)$/,
  );
  assert.equal(status.lastState?.terminated?.exitCode, 1);
  await until(clock, () => runtime.running().length === 1, "second restart after the delay", 500);
  assert.equal(statusOf()?.containerStatuses?.[0]?.restartCount, 2);
});

test("with restartPolicy Never a finished Pod is Succeeded or Failed", async (t) => {
  const { clock, api, runtime, statusOf } = await start(t);
  api.put(pod({ restartPolicy: "Never" }));
  await until(clock, () => runtime.running().length === 1, "start");
  runtime.exit("main", 3);
  await until(clock, () => statusOf()?.phase === "Failed", "Failed");
  assert.equal(statusOf()?.containerStatuses?.[0]?.state?.terminated?.exitCode, 3);
});

test("an image that cannot be had shows ErrImagePull, then ImagePullBackOff", async (t) => {
  const { clock, api, statusOf } = await start(t);
  api.put(pod({ containers: [{ name: "main", image: "absent:1", imagePullPolicy: "IfNotPresent" } as k8s.Container] }));
  const reason = () => statusOf()?.containerStatuses?.[0]?.state?.waiting?.reason;
  await until(clock, () => reason() === "ErrImagePull", "ErrImagePull");
  await until(
    clock,
    () => reason() === "ImagePullBackOff" || api.events.some((event) => event.includes("BackOff")),
    "back-off",
    100,
  );
  assert.equal(statusOf()?.phase, "Pending");
});

test("a missing ConfigMap is a CreateContainerConfigError in upstream's words", async (t) => {
  const { clock, api, statusOf } = await start(t);
  api.put(
    pod({
      containers: [
        {
          name: "main",
          image: "busybox",
          imagePullPolicy: "IfNotPresent",
          envFrom: [{ configMapRef: { name: "settings" } }],
        } as k8s.Container,
      ],
    }),
  );
  await until(
    clock,
    () => statusOf()?.containerStatuses?.[0]?.state?.waiting?.reason === "CreateContainerConfigError",
    "config error",
  );
  assert.equal(statusOf()?.containerStatuses?.[0]?.state?.waiting?.message, 'configmap "settings" not found');
});

test("a liveness probe that fails often enough restarts its container", async (t) => {
  const { clock, api, runtime, statusOf } = await start(t);
  runtime.execResults.set("check", 1);
  const livenessProbe = { exec: { command: ["check"] }, periodSeconds: 1, failureThreshold: 3 };
  api.put(
    pod({
      containers: [{ name: "main", image: "busybox", imagePullPolicy: "IfNotPresent", livenessProbe } as k8s.Container],
    }),
  );
  await until(clock, () => (statusOf()?.containerStatuses?.[0]?.restartCount ?? 0) > 0, "restart", 200);
  assert.ok(api.events.some((event) => event.startsWith("Warning Unhealthy Liveness probe failed")));
  assert.ok(api.events.includes("Normal Killing Container main failed liveness probe, will be restarted"));
});

test("a readiness probe decides Ready", async (t) => {
  const { clock, api, runtime, statusOf } = await start(t);
  runtime.execResults.set("check", 1);
  const readinessProbe = { exec: { command: ["check"] }, periodSeconds: 1 };
  api.put(
    pod({
      containers: [
        { name: "main", image: "busybox", imagePullPolicy: "IfNotPresent", readinessProbe } as k8s.Container,
      ],
    }),
  );
  await until(clock, () => statusOf()?.phase === "Running", "running");
  assert.equal(conditionOf(statusOf(), "Ready"), "False");
  runtime.execResults.set("check", 0);
  await until(clock, () => conditionOf(statusOf(), "Ready") === "True", "ready", 200);
});

test("a deleted Pod is stopped, cleaned away and removed from the API", async (t) => {
  const { clock, api, runtime } = await start(t);
  api.put(pod());
  await until(clock, () => runtime.running().length === 1, "start");
  const running = api.podsByUid.get("uid-web")!;
  api.put({
    ...running,
    metadata: { ...running.metadata, deletionTimestamp: rfc3339(clock.nowMs()), deletionGracePeriodSeconds: 30 },
  });
  await until(clock, () => !api.podsByUid.has("uid-web"), "removed");
  assert.equal(runtime.containers.size, 0);
  assert.equal(runtime.sandboxes.size, 0);
});

test("a second deletion with less grace ends the Pod sooner", async (t) => {
  const { clock, api, runtime } = await start(t);
  runtime.stubborn.add("main");
  api.put(pod());
  await until(clock, () => runtime.running().length === 1, "start");
  const deleteWith = (deletionGracePeriodSeconds: number) => {
    const now = api.podsByUid.get("uid-web")!;
    const deletionTimestamp = rfc3339(clock.nowMs());
    api.put({ ...now, metadata: { ...now.metadata, deletionTimestamp, deletionGracePeriodSeconds } });
  };
  const begunMs = clock.monotonicMs();
  deleteWith(300);
  await clock.advance(5000);
  assert.equal(runtime.running().length, 1);
  deleteWith(1);
  await until(clock, () => !api.podsByUid.has("uid-web"), "removed", 100, 500);
  assert.ok(clock.monotonicMs() - begunMs < 60_000);
  assert.equal(runtime.containers.size, 0);
});

test("after a restart the kubelet takes over what runs and removes what nobody wants", async (t) => {
  const first = await start(t);
  first.api.put(pod());
  first.api.put(pod({}, "other"));
  await until(first.clock, () => first.runtime.running().length === 2, "both run");
  await first.kubelet.stop();
  first.api.podsByUid.delete("uid-other");
  const dataDir = await mkdtemp(path.join(os.tmpdir(), "berth-kubelet-"));
  const second = new Kubelet({
    api: first.api,
    host: fakeHost,
    runtime: first.runtime,
    images: first.runtime,
    clock: first.clock,
    log: silentLogger,
    nodeName: "node",
    dns: { clusterDomain: "cluster.local", clusterDns: [], resolvConf: "/dev/null" },
    dataDir,
    runtimeDir: `${dataDir}/run`,
    kubeletPort: 10250,
    configuration: kubeletConfiguration(),
  });
  t.after(() => second.stop().then(() => rm(dataDir, { recursive: true, force: true })));
  await second.start();
  await until(first.clock, () => first.runtime.running().length === 1, "leftover removed");
  assert.equal(first.runtime.calls.filter((call) => call === "start main").length, 2, "nothing was started again");
});

test("a node that shuts down is not ready, ends its Pods with their grace, and takes none", async (t) => {
  const { clock, api, runtime, kubelet, statusOf } = await start(t);
  api.put(pod());
  await until(clock, () => statusOf()?.phase === "Running", "running");
  let off = false;
  void kubelet.shutdown().then(() => (off = true));
  await until(clock, () => off, "everything ended", 100);
  assert.deepEqual(runtime.running(), []);
  assert.equal(statusOf()?.phase, "Failed");
  assert.equal(statusOf()?.reason, "Terminated");
  assert.equal(conditionOf(statusOf(), "DisruptionTarget"), "True");
  const ready = api.node()?.status?.conditions?.find((condition) => condition.type === "Ready");
  assert.deepEqual([ready?.status, ready?.message], ["False", "node is shutting down"]);
  api.put(pod({}, "late"));
  await until(clock, () => statusOf("late")?.reason === "NodeShutdown", "refused");
});

test("a resize that the node could never give is Infeasible, one that it can't give now is Deferred", async (t) => {
  const { clock, api, statusOf } = await start(t);
  const asking = (cpu: string): k8s.Container[] => [
    {
      name: "main",
      image: "busybox",
      imagePullPolicy: "IfNotPresent",
      resources: { requests: { cpu }, limits: { cpu } },
    },
  ];
  api.put(pod({ containers: asking("500m") }));
  api.put(pod({ containers: asking("1") }, "neighbour"));
  await until(clock, () => statusOf()?.phase === "Running" && statusOf("neighbour")?.phase === "Running", "running");
  const pending = () => statusOf()?.conditions?.find(({ type }) => type === "PodResizePending");
  const resize = (cpu: string) =>
    api.put({
      ...pod({ containers: asking(cpu) }),
      status: statusOf(),
      metadata: { ...pod().metadata, generation: 2 },
    });
  resize("10");
  await until(clock, () => pending()?.reason === "Infeasible", "infeasible");
  assert.equal(pending()?.message, "Node didn't have enough capacity: cpu, requested: 10000, capacity: 2000");
  resize("1500m");
  await until(clock, () => pending()?.reason === "Deferred", "deferred");
  resize("600m");
  await until(clock, () => pending() === undefined, "resized");
});
