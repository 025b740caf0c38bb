/** What upstream's conformance suite asks of nodes and of the controllers that see Pods run: real Pods on two local nodes, the API as it is on the wire. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { podOf, shell, startPods, type PodObject, type PodTests } from "../../support/pods.ts";
import { Api, eventually, JSON_PATCH, MERGE } from "./client.ts";

let k: PodTests;
let api: Api;
let nodes: string[];
before(async () => {
  k = await startPods({ env: { BERTH_NODES: "2" } });
  api = new Api(k.env["KUBECONFIG"]!);
  nodes = await eventually("two nodes", async () => {
    const { items } = await api.ok("GET", "/api/v1/nodes");
    return items.length === 2 && items.map((node: PodObject) => node.metadata.name);
  });
});
after(async () => {
  api?.close();
  await k?.berth.stop();
});

const FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const DEFAULT = "/api/v1/namespaces/default";
const PODS = `${DEFAULT}/pods`;
const APPS = "/apis/apps/v1/namespaces/default";
const template = (labels: Record<string, string>, script = FOREVER, more: object = {}) => ({
  metadata: { labels },
  spec: { terminationGracePeriodSeconds: 0, containers: [shell("main", script)], ...more },
});
// oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind
const list = async (path: string): Promise<any[]> => (await api.ok("GET", path)).items;
const isReady = (pod: PodObject) =>
  pod.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True");

describe("nodes", { concurrency: 6 }, () => {
  test("proxy: Pods and Services by name and port, each method, links of pages, a folder's slash", async () => {
    const script = `mkdir -p /w/sub /w/cgi-bin; echo '<a href="/rewriteme">test</a>' > /w/index.html; printf bar > /w/sub/x.txt
printf '#!/bin/sh\\nprintf "Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n$REQUEST_METHOD"\\n' > /w/cgi-bin/m; chmod +x /w/cgi-bin/m; exec httpd -f -p 162 -h /w`;
    await k.apply(
      podOf("proxied", script, { nodeName: nodes[1] }, { ports: [{ name: "dest1", containerPort: 162 }] }),
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "proxied" },
        spec: {
          selector: { test: "proxied" },
          ports: [
            { name: "portname1", port: 80, targetPort: "dest1" },
            { name: "portname2", port: 81, targetPort: 162 },
          ],
        },
      },
    );
    await k.running("proxied");
    const at = (what: string) => `${DEFAULT}/${what}/proxy`;
    await eventually(
      "an endpoint",
      async () => (await api.call("GET", `${at("services/proxied:portname1")}/`)).status === 200,
    );
    for (const what of [
      "pods/proxied",
      "pods/proxied:162",
      "pods/http:proxied:162",
      "services/proxied:portname1",
      "services/http:proxied:81",
    ]) {
      assert.equal((await api.ok("GET", `${at(what)}/`)).trim(), `<a href="${at(what)}/rewriteme">test</a>`);
      assert.equal(await api.ok("GET", `${at(what)}/sub/x.txt`), "bar");
      const redirect = await api.call("GET", `${at(what)}?method=GET`);
      assert.deepEqual([redirect.status, redirect.headers["location"]], [301, `${at(what)}/?method=GET`]);
    }
    for (const method of ["GET", "POST"]) assert.equal(await api.ok(method, `${at("pods/proxied")}/cgi-bin/m`), method);
    assert.equal((await api.call("HEAD", `${at("services/proxied:portname2")}/sub/x.txt`)).status, 200);
    // This server knows no such methods: what it says shows that they got there.
    for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS"])
      assert.equal((await api.call(method, `${at("pods/proxied")}/sub/x.txt`)).status, 501, method);
    assert.equal((await api.call("GET", `${at("services/proxied:none")}/`)).status, 503);
    assert.equal((await api.call("GET", `${at("pods/proxied:99")}/`)).status, 503);
  });

  test("exec and logs over WebSocket", async () => {
    await k.apply(podOf("sockets", `echo container is alive; ${FOREVER}`));
    await k.running("sockets");
    const read = (path: string, protocol: string) =>
      new Promise<string>((resolve, reject) => {
        const socket = new WebSocket(api.url(path), protocol, api.tls);
        let text = "";
        socket.on(
          "message",
          (data: Buffer) => (text += protocol === "channel.k8s.io" ? data.subarray(1).toString() : data.toString()),
        );
        socket.on("close", () => resolve(text));
        socket.on("error", reject);
      });
    assert.equal(await read(`${PODS}/sockets/log`, "binary.k8s.io"), "container is alive\n");
    assert.equal(
      Buffer.from(await read(`${PODS}/sockets/log`, "base64.binary.k8s.io"), "base64").toString(),
      "container is alive\n",
    );
    const exec = `${PODS}/sockets/exec?command=echo&command=remote%20execution%20test&stdout=1&stderr=1`;
    assert.match(await read(exec, "channel.k8s.io"), /remote execution test/);
  });

  test("a failing expansion of a sub path is mended by changing the Pod", async () => {
    const mounts = {
      volumeMounts: [{ name: "work", mountPath: "/volume_mount", subPathExpr: "$(ANNOTATION)/$(POD_NAME)" }],
    };
    const env = [
      { name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
      { name: "ANNOTATION", valueFrom: { fieldRef: { fieldPath: "metadata.annotations['mysubpath']" } } },
    ];
    const pod = podOf("expanded", FOREVER, { volumes: [{ name: "work", emptyDir: {} }] }, { ...mounts, env }) as {
      metadata: object;
    };
    await k.apply({ ...pod, metadata: { ...pod.metadata, annotations: { mysubpath: "/tmp" } } });
    await k.until(
      "pod",
      "expanded",
      (object) => object.status?.containerStatuses?.[0]?.state.waiting?.reason === "CreateContainerConfigError",
    );
    await api.patch(`${PODS}/expanded`, { metadata: { annotations: { mysubpath: "mypath" } } });
    await k.running("expanded");
  });

  test("sysctls that are none are refused, safe ones are set", async () => {
    const pod = (name: string, sysctls: object[]) =>
      podOf(name, "cat /proc/sys/kernel/shm_rmid_forced", { securityContext: { sysctls } });
    const { status, body } = await api.call("POST", PODS, {
      body: pod("bad-sysctls", [
        { name: "foo-", value: "bar" },
        { name: "kernel.shmmax", value: "100000000" },
        { name: "bar..", value: "42" },
      ]),
    });
    assert.equal(status, 422);
    assert.match(body.message, /Invalid value: "foo-"/);
    assert.match(body.message, /Invalid value: "bar\.\."/);
    assert.doesNotMatch(body.message, /kernel\.shmmax/);
    await k.apply(pod("sysctls", [{ name: "kernel.shm_rmid_forced", value: "1" }]));
    assert.equal((await k.finished("sysctls")).trim(), "1");
  });

  test("a RuntimeClass that is not there refuses Pods; one with overhead adds it", async () => {
    const missing = await api.call("POST", PODS, { body: podOf("no-class", "", { runtimeClassName: "none" }) });
    assert.equal(missing.status, 403, JSON.stringify(missing.body));
    await api.ok("POST", "/apis/node.k8s.io/v1/runtimeclasses", {
      body: { metadata: { name: "heavy" }, handler: "nowhere", overhead: { podFixed: { cpu: "10m", memory: "1Mi" } } },
    });
    const pod = await api.ok("POST", PODS, { body: podOf("with-overhead", "", { runtimeClassName: "heavy" }) });
    assert.deepEqual(pod.spec.overhead, { cpu: "10m", memory: "1Mi" });
    await eventually("it is scheduled", async () => (await api.ok("GET", `${PODS}/with-overhead`)).spec.nodeName);
    await api.ok("DELETE", "/apis/node.k8s.io/v1/runtimeclasses/heavy");
    assert.equal(
      (await api.call("POST", PODS, { body: podOf("deleted-class", "", { runtimeClassName: "heavy" }) })).status,
      403,
    );
    await api.ok("DELETE", `${PODS}/with-overhead?gracePeriodSeconds=0`);
  });

  test("one host port, several addresses and protocols", async () => {
    const pod = (name: string, hostIP: string, protocol: string) =>
      podOf(
        name,
        FOREVER,
        { nodeName: nodes[0] },
        { ports: [{ hostPort: 54323, containerPort: 8080, protocol, hostIP }] },
      );
    await k.apply(
      pod("port-1", "127.0.0.1", "TCP"),
      pod("port-2", "127.0.0.2", "TCP"),
      pod("port-3", "127.0.0.2", "UDP"),
    );
    const runs = (name: string) => k.until("pod", name, (pod) => pod.status?.phase === "Running");
    await Promise.all(["port-1", "port-2", "port-3"].map(runs));
  });

  test("a StatefulSet's Pod that its node refuses is made anew until it fits", async () => {
    const port = { hostPort: 54331, containerPort: 54331 };
    const listen = "httpd -f -p 54331";
    await k.apply(
      podOf("in-the-way", listen, { nodeName: nodes[0], terminationGracePeriodSeconds: 0 }, { ports: [port] }),
    );
    await k.running("in-the-way");
    const labels = { app: "refused" };
    const spec = {
      serviceName: "none",
      replicas: 1,
      selector: { matchLabels: labels },
      template: template(labels, listen, {
        nodeName: nodes[0],
        containers: [{ ...shell("main", listen), ports: [port] }],
      }),
    };
    const watch = await api.watch(`${PODS}?labelSelector=app%3Drefused`);
    try {
      await api.ok("POST", `${APPS}/statefulsets`, { body: { metadata: { name: "refused" }, spec } });
      await watch.until(({ object }) => object.status.phase === "Failed", "a refused Pod");
      await watch.until(({ type }) => type === "DELETED", "its deletion");
      await api.ok("DELETE", `${PODS}/in-the-way?gracePeriodSeconds=0`);
      await watch.until(({ object }) => object.status.phase === "Running", "one that runs");
    } finally {
      watch.close();
    }
    await api.ok("DELETE", `${APPS}/statefulsets/refused`);
  });

  test("DaemonSets: on every node, made anew when a Pod fails, rolled back without restarts, their revisions", async () => {
    const labels = { app: "daemons" };
    const at = `${APPS}/daemonsets/daemons`;
    const pods = () => list(`${PODS}?labelSelector=app%3Ddaemons`);
    const all = async (wanted: (pod: PodObject) => unknown = isReady) => {
      const found = await pods();
      return found.length === 2 && found.every(wanted) && found;
    };
    await api.ok("POST", `${APPS}/daemonsets`, {
      body: { metadata: { name: "daemons" }, spec: { selector: { matchLabels: labels }, template: template(labels) } },
    });
    const [first] = await eventually("a Pod on each node", all);
    const failed = await api.ok("GET", `${PODS}/${first.metadata.name}`);
    failed.status.phase = "Failed";
    failed.status.message = "failed by a test";
    const put = await api.call("PUT", `${PODS}/${first.metadata.name}/status`, { body: failed });
    assert.ok([200, 409].includes(put.status), JSON.stringify(put.body));
    if (put.status === 409) await api.patch(`${PODS}/${first.metadata.name}/status`, { status: { phase: "Failed" } });
    await eventually(
      "another instead",
      async () => (await all()) && !(await pods()).some(({ metadata }) => metadata.uid === first.metadata.uid),
    );
    const revisions = () => list(`${APPS}/controllerrevisions?labelSelector=app%3Ddaemons`);
    const [revision] = await revisions();
    assert.equal(revision.revision, 1);
    await api.patch(`${APPS}/controllerrevisions/${revision.metadata.name}`, {
      metadata: { labels: { patched: "yes" } },
    });
    const image = (name: string) => [{ op: "replace", path: "/spec/template/spec/containers/0/image", value: name }];
    const before = new Set((await eventually("both ready", all)).map((pod: PodObject) => pod.metadata.uid));
    await api.patch(at, image("foo:non-existent"), JSON_PATCH);
    await eventually("a Pod of the new revision", async () =>
      (await pods()).some(({ spec }) => spec.containers[0].image === "foo:non-existent"),
    );
    await api.patch(at, image("busybox"), JSON_PATCH);
    const back = await eventually("the old image everywhere", () =>
      all(
        (pod) =>
          isReady(pod) &&
          (pod.spec as unknown as { containers: Array<{ image: string }> }).containers[0]!.image === "busybox",
      ),
    );
    assert.ok(
      back.some((pod: PodObject) => before.has(pod.metadata.uid)),
      "one was not restarted",
    );
    const newest = Math.max(...(await revisions()).map((each) => each.revision));
    assert.equal(newest, 3);
    await api.ok("DELETE", at);
  });

  test("an eviction waits for its disruption budget", async () => {
    const labels = { app: "guarded" };
    await api.ok("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", {
      body: { metadata: { name: "guard" }, spec: { minAvailable: 1, selector: { matchLabels: labels } } },
    });
    await k.apply({ ...podOf("guarded", FOREVER), metadata: { name: "guarded", labels } });
    await k.running("guarded");
    const evict = () =>
      api.call("POST", `${PODS}/guarded/eviction`, {
        body: { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: "guarded" } },
      });
    const refused = await evict();
    assert.deepEqual([refused.status, refused.body.details.causes[0].reason], [429, "DisruptionBudget"]);
    await api.patch("/apis/policy/v1/namespaces/default/poddisruptionbudgets/guard", { spec: { minAvailable: 0 } });
    await eventually("the eviction", async () => (await evict()).status === 201);
  });

  test("an indexed Job: each index once, its name, its environment; orphans are adopted, strangers released", async () => {
    const BATCH = "/apis/batch/v1/namespaces/default/jobs";
    const spec = {
      completionMode: "Indexed",
      completions: 3,
      parallelism: 3,
      template: template({}, "echo $JOB_COMPLETION_INDEX $(hostname)", { restartPolicy: "Never" }),
    };
    await api.ok("POST", BATCH, { body: { metadata: { name: "indexed" }, spec } });
    const job = await eventually("it is complete", async () => {
      const found = await api.ok("GET", `${BATCH}/indexed`);
      return found.status?.succeeded === 3 && found;
    });
    assert.equal(job.status.completedIndexes, "0-2");
    const pods = await list(`${PODS}?labelSelector=job-name%3Dindexed`);
    const indexes = pods
      .map((pod) => String(pod.metadata.annotations["batch.kubernetes.io/job-completion-index"]))
      .sort();
    assert.deepEqual(indexes, ["0", "1", "2"]);
    const said = (await Promise.all(pods.map((pod) => k.kubectl("logs", pod.metadata.name)))).sort();
    assert.deepEqual(said, ["0 indexed-0\n", "1 indexed-1\n", "2 indexed-2\n"]);
    await api.ok("POST", BATCH, {
      body: {
        metadata: { name: "adopts" },
        spec: {
          parallelism: 2,
          completions: 4,
          template: template({ job: "adopts" }, FOREVER, { restartPolicy: "Never" }),
        },
      },
    });
    const ours = await eventually("two Pods", async () => {
      const found = await list(`${PODS}?labelSelector=job%3Dadopts`);
      return found.length === 2 && found.every((pod) => pod.status.phase === "Running") && found;
    });
    const one = `${PODS}/${ours[0].metadata.name}`;
    await api.patch(one, { metadata: { ownerReferences: null } });
    await eventually("it is adopted", async () => (await api.ok("GET", one)).metadata.ownerReferences?.[0]?.controller);
    await api.patch(one, {
      metadata: {
        labels: {
          "job-name": null,
          "controller-uid": null,
          "batch.kubernetes.io/job-name": null,
          "batch.kubernetes.io/controller-uid": null,
        },
      },
    });
    await eventually("it is released", async () => !(await api.ok("GET", one)).metadata.ownerReferences);
    await api.ok("DELETE", `${BATCH}/adopts?propagationPolicy=Background`);
    await api.ok("DELETE", one);
  });

  test("a Pod failure policy ends a Job at an exit code, and does not count evictions", async () => {
    const BATCH = "/apis/batch/v1/namespaces/default/jobs";
    const policy = (rules: object[]) => ({ podFailurePolicy: { rules }, backoffLimit: 0 });
    await api.ok("POST", BATCH, {
      body: {
        metadata: { name: "fails-early" },
        spec: {
          ...policy([{ action: "FailJob", onExitCodes: { operator: "In", values: [1] } }]),
          backoffLimit: 6,
          template: template({}, "exit 1", { restartPolicy: "Never" }),
        },
      },
    });
    await eventually("it failed by the policy", async () =>
      (await api.ok("GET", `${BATCH}/fails-early`)).status?.conditions?.some(
        (condition: { type: string; reason: string }) =>
          condition.type === "Failed" && condition.reason === "PodFailurePolicy",
      ),
    );
    const rules = [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] }];
    await api.ok("POST", BATCH, {
      body: {
        metadata: { name: "evicted" },
        spec: { ...policy(rules), template: template({ job: "evicted" }, "sleep 3600", { restartPolicy: "Never" }) },
      },
    });
    const running = () =>
      eventually("a running Pod", async () =>
        (await list(`${PODS}?labelSelector=job%3Devicted`)).find(
          (pod) => pod.status.phase === "Running" && !pod.metadata.deletionTimestamp,
        ),
      );
    const pod = await running();
    await api.ok("POST", `${PODS}/${pod.metadata.name}/eviction`, {
      body: { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: pod.metadata.name } },
    });
    await eventually(
      "the evicted one is gone",
      async () => (await api.call("GET", `${PODS}/${pod.metadata.name}`)).status === 404,
    );
    await running();
    assert.equal((await api.ok("GET", `${BATCH}/evicted`)).status.failed, undefined);
    await api.ok("DELETE", `${BATCH}/evicted?propagationPolicy=Background`);
  });

  test("a Pod's status may be patched, and stays", async () => {
    await k.apply(podOf("patched-status", FOREVER));
    await k.running("patched-status");
    const patched = await api.patch(
      `${PODS}/patched-status/status`,
      { status: { message: "Patched by a test", reason: "E2E" } },
      MERGE,
    );
    assert.deepEqual([patched.status.message, patched.status.reason], ["Patched by a test", "E2E"]);
  });

  test("critical and other Pods take the place of lesser ones, which are told why", async () => {
    const node = `/api/v1/nodes/${nodes[1]}`;
    await api.patch(`${node}/status`, { status: { capacity: { "example.com/fakecpu": "10" } } });
    await eventually(
      "what the node has of it",
      async () => (await api.ok("GET", node)).status.allocatable["example.com/fakecpu"] === "10",
    );
    for (const [name, value] of [
      ["low", 1],
      ["high", 1000],
    ] as const)
      await api.ok("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {
        body: { metadata: { name: `conformance-${name}` }, value },
      });
    const resources = { requests: { "example.com/fakecpu": "9" }, limits: { "example.com/fakecpu": "9" } };
    const pod = (name: string, priorityClassName: string) =>
      podOf(name, FOREVER, { priorityClassName, terminationGracePeriodSeconds: 0 }, { resources }) as {
        metadata: object;
      };
    const low = pod("low", "conformance-low");
    await k.apply({ ...low, metadata: { ...low.metadata, finalizers: ["example.com/test-finalizer"] } });
    await k.running("low");
    await k.apply(pod("high", "conformance-high"));
    const victim = await k.until("pod", "low", (object) =>
      object.status.conditions?.some(({ type }) => type === "DisruptionTarget"),
    );
    assert.equal(
      victim.status.conditions.find(({ type }) => type === "DisruptionTarget")!.reason,
      "PreemptionByScheduler",
    );
    await api.patch(`${PODS}/low`, { metadata: { finalizers: null } });
    await k.running("high");
    assert.equal(
      (await api.ok("GET", node)).status.capacity["example.com/fakecpu"],
      "10",
      "the node's own writes leave it",
    );
    await k.apply(pod("critical", "system-node-critical"));
    await k.running("critical");
    assert.equal((await api.call("GET", `${PODS}/high`)).status, 404);
    await api.patch(`${node}/status`, [{ op: "remove", path: "/status/capacity/example.com~1fakecpu" }], JSON_PATCH);
  });
});
