/** A Pod's life with the real kubectl: order of containers, restarts, probes, hooks, signals, limits. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { atOnce } from "../support/patience.ts";
import { podOf, shell, startPods, type PodTests } from "../support/pods.ts";

let k: PodTests;
before(async () => {
  k = await startPods();
});
after(() => k?.berth.stop());

const FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

describe("a Pod's life", { concurrency: atOnce(6) }, () => {
  test("init containers run in order, sidecars beside them, main containers after", async () => {
    const mount = { volumeMounts: [{ name: "out", mountPath: "/out" }] };
    await k.apply(
      podOf("order", "echo main >> /out/log; cat /out/log", {
        initContainers: [
          { ...shell("first", "sleep 0.3; echo first >> /out/log"), ...mount },
          {
            ...shell("side", `echo side >> /out/log; ${FOREVER}`),
            ...mount,
            restartPolicy: "Always",
            startupProbe: { exec: { command: ["grep", "side", "/out/log"] }, periodSeconds: 1 },
          },
          { ...shell("second", "echo second >> /out/log"), ...mount },
        ],
        volumes: [{ name: "out", emptyDir: {} }],
        containers: [{ ...shell("main", "echo main >> /out/log; cat /out/log"), ...mount }],
      }),
    );
    assert.equal(await k.finished("order", "main"), "first\nside\nsecond\nmain\n");
    const { status } = await k.get("pod", "order");
    assert.equal(status.phase, "Succeeded");
    assert.deepEqual(
      status.initContainerStatuses!.map(({ name, state }) => `${name} ${state.terminated?.exitCode}`),
      ["first 0", "side 0", "second 0"],
    );
  });

  test("a failing init container fails a Pod that never restarts", async () => {
    await k.apply(podOf("init-fails", "true", { initContainers: [shell("setup", "echo no >&2; exit 3")] }));
    const { status } = await k.until("pod", "init-fails", (pod) => pod.status?.phase === "Failed");
    assert.equal(status.initContainerStatuses![0]!.state.terminated!.exitCode, 3);
    assert.equal(status.containerStatuses![0]!.state.waiting!.reason, "PodInitializing");
    assert.match(await k.kubectl("get", "pod", "init-fails"), /Init:Error/);
  });

  test("kubectl debug adds a container that sees the target's processes", async () => {
    await k.apply(podOf("debugged", FOREVER));
    await k.running("debugged");
    await k.kubectl("debug", "debugged", "--image=busybox", "--target=main", "-c", "dbg", "--", "sh", "-c", "ps");
    await k.until("pod", "debugged", (pod) => pod.status.ephemeralContainerStatuses?.[0]?.state.terminated);
    assert.match(await k.kubectl("logs", "debugged", "-c", "dbg"), /trap 'exit 0' TERM/);
  });

  test("a failing liveness probe restarts; readiness gates traffic; startup holds both back", async () => {
    // With time: on a busy machine a second is no proof that a command hangs.
    const often = (file: string) => ({
      exec: { command: ["test", "-e", `/tmp/${file}`] },
      periodSeconds: 1,
      timeoutSeconds: 15,
    });
    await k.apply(
      podOf(
        "probed",
        `touch /tmp/alive; sleep 1; touch /tmp/started; ${FOREVER}`,
        { restartPolicy: "Always" },
        {
          startupProbe: { ...often("started"), failureThreshold: 30 },
          livenessProbe: { ...often("alive"), failureThreshold: 1 },
          readinessProbe: often("ready"),
        },
      ),
    );
    await k.until("pod", "probed", (pod) => pod.status?.containerStatuses?.[0]?.state.running);
    assert.equal((await k.get("pod", "probed")).status.containerStatuses![0]!.ready, false);
    await k.until(
      "pod",
      "probed",
      (pod) => (pod.status.containerStatuses?.[0] as { started?: boolean } | undefined)?.started,
    );
    await k.exec("probed", "touch", "/tmp/ready");
    await k.running("probed");
    await k.exec("probed", "rm", "/tmp/alive");
    await k.until("pod", "probed", (pod) => pod.status.containerStatuses![0]!.restartCount === 1);
    const events = await k.events("probed");
    assert.ok(
      events.some((event) => event.reason === "Unhealthy" && event.message.startsWith("Liveness probe failed")),
    );
    assert.ok(events.some((event) => event.reason === "Killing" && /failed liveness probe/.test(event.message)));
  });

  test("HTTP and TCP probes ask the Pod's address", async () => {
    await k.apply(
      podOf(
        "served",
        "mkdir /www; echo ok > /www/healthz; httpd -f -p 8080 -h /www",
        {},
        {
          ports: [{ name: "web", containerPort: 8080 }],
          readinessProbe: { httpGet: { path: "/healthz", port: "web" }, periodSeconds: 1 },
          livenessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
        },
      ),
      podOf(
        "missing",
        "mkdir /www; httpd -f -p 8080 -h /www",
        {},
        { readinessProbe: { httpGet: { path: "/healthz", port: 8080 }, periodSeconds: 1 } },
      ),
    );
    await k.running("served");
    const events = async () => (await k.events("missing")).filter((event) => event.reason === "Unhealthy");
    await k.until("pod", "missing", (pod) => pod.status?.containerStatuses?.[0]?.state.running);
    while ((await events()).every((event) => !/statuscode: 404/.test(event.message)))
      await new Promise((resolve) => setTimeout(resolve, 200));
  });

  test("postStart and preStop hooks run, and the grace period covers preStop", async () => {
    const volumes = [
      { name: "out", hostPath: { path: path.join(k.berth.directory, "hooks"), type: "DirectoryOrCreate" } },
    ];
    await k.apply(
      podOf(
        "hooked",
        FOREVER,
        { volumes, terminationGracePeriodSeconds: 5 },
        {
          volumeMounts: [{ name: "out", mountPath: "/out" }],
          lifecycle: {
            postStart: { exec: { command: ["sh", "-c", "echo started > /out/post"] } },
            preStop: { exec: { command: ["sh", "-c", "sleep 0.2; echo stopping > /out/pre"] } },
          },
        },
      ),
      podOf("sleeper", FOREVER, {}, { lifecycle: { preStop: { sleep: { seconds: 1 } } } }),
      podOf(
        "bad-hook",
        FOREVER,
        { restartPolicy: "Always" },
        { lifecycle: { postStart: { exec: { command: ["false"] } } } },
      ),
    );
    await k.running("hooked");
    await k.kubectl("delete", "pod", "hooked");
    assert.equal(readFileSync(path.join(k.berth.directory, "hooks/post"), "utf8"), "started\n");
    assert.equal(readFileSync(path.join(k.berth.directory, "hooks/pre"), "utf8"), "stopping\n");
    await k.running("sleeper");
    await k.kubectl("delete", "pod", "sleeper");
    await k.until(
      "pod",
      "bad-hook",
      (pod) =>
        pod.status?.containerStatuses?.[0]?.state.waiting?.reason === "PostStartHookError" ||
        pod.status?.containerStatuses?.[0]?.state.waiting?.reason === "CrashLoopBackOff",
    );
    assert.ok((await k.events("bad-hook")).some((event) => event.reason === "FailedPostStartHook"));
  });

  test("the stop signal is the container's own, and the grace period bounds it", async () => {
    const volumes = [
      { name: "out", hostPath: { path: path.join(k.berth.directory, "signals"), type: "DirectoryOrCreate" } },
    ];
    const container = { volumeMounts: [{ name: "out", mountPath: "/out" }] };
    await k.apply(
      podOf(
        "graceful",
        "trap 'echo term > /out/graceful; exit 0' TERM; while :; do sleep 0.1; done",
        { volumes },
        container,
      ),
      podOf("deaf", "trap '' TERM; while :; do sleep 0.1; done", { volumes }, container),
    );
    await Promise.all([k.running("graceful"), k.running("deaf")]);
    await k.kubectl("delete", "pod", "graceful");
    assert.equal(readFileSync(path.join(k.berth.directory, "signals/graceful"), "utf8"), "term\n");
    const began = Date.now();
    await k.kubectl("delete", "pod", "deaf");
    assert.ok(Date.now() - began >= 900, "the whole grace period");
  });

  test("restart policies and rules decide by exit code", async () => {
    await k.apply(
      podOf("on-failure", "exit 0", { restartPolicy: "OnFailure" }),
      podOf("never", "exit 7"),
      podOf("always", "exit 0", { restartPolicy: "Always" }),
      podOf(
        "rules",
        "exit $((42 + $(cat /out/n 2>/dev/null || echo 0)))",
        { volumes: [{ name: "out", emptyDir: {} }] },
        {
          command: ["sh", "-c", "if [ -e /out/n ]; then exit 5; fi; touch /out/n; exit 42"],
          volumeMounts: [{ name: "out", mountPath: "/out" }],
          restartPolicy: "Never",
          restartPolicyRules: [{ action: "Restart", exitCodes: { operator: "In", values: [42] } }],
        },
      ),
    );
    await k.until("pod", "on-failure", (pod) => pod.status?.phase === "Succeeded");
    const never = await k.until("pod", "never", (pod) => pod.status?.phase === "Failed");
    assert.equal(never.status.containerStatuses![0]!.state.terminated!.exitCode, 7);
    await k.until(
      "pod",
      "always",
      (pod) => pod.status?.containerStatuses?.[0]?.state.waiting?.reason === "CrashLoopBackOff",
    );
    const rules = await k.until("pod", "rules", (pod) => pod.status?.phase === "Failed");
    assert.equal(rules.status.containerStatuses![0]!.restartCount, 1);
    assert.equal(rules.status.containerStatuses![0]!.state.terminated!.exitCode, 5);
  });

  test("requests and limits become cgroups, by QoS class, and resize in place", async () => {
    const resources = { requests: { cpu: "100m", memory: "32Mi" }, limits: { cpu: "200m", memory: "64Mi" } };
    await k.apply(
      podOf("sized", FOREVER, { restartPolicy: "Always" }, { resources }),
      podOf("guaranteed", FOREVER, {}, { resources: { limits: { cpu: "100m", memory: "32Mi" } } }),
      podOf("best-effort", FOREVER),
    );
    const pods = await Promise.all(["sized", "guaranteed", "best-effort"].map((name) => k.running(name)));
    assert.deepEqual(
      pods.map((pod) => pod.status.qosClass),
      ["Burstable", "Guaranteed", "BestEffort"],
    );
    const cgroup = async (name: string) => (await k.exec(name, "cat", "/proc/1/cgroup")).trim();
    const unified = existsSync("/sys/fs/cgroup/cgroup.controllers");
    const read = async (name: string, controller: string, file: string) => {
      const line = (await cgroup(name))
        .split("\n")
        .find((entry) => new RegExp(unified ? "^0::" : `:(\\w+,)*${controller}(,\\w+)*:`).test(entry));
      const hierarchy = path.join("/sys/fs/cgroup", unified ? "" : controller);
      return readFileSync(path.join(hierarchy, line!.split(":")[2]!, file), "utf8").trim();
    };
    const memory = () => read("sized", "memory", unified ? "memory.max" : "memory.limit_in_bytes");
    const quota = async () => (await read("sized", "cpu", unified ? "cpu.max" : "cpu.cfs_quota_us")).split(" ")[0];
    assert.match(await cgroup("sized"), /kubepods\/burstable\/pod/);
    assert.match(await cgroup("best-effort"), /kubepods\/besteffort\/pod/);
    assert.equal(await memory(), String(64 * 1024 * 1024));
    assert.equal(await quota(), "20000");
    const [file, weight] = unified ? ["cpu.weight", "4"] : ["cpu.shares", "102"];
    assert.equal(await read("sized", "cpu", file!), weight);
    const patch = { spec: { containers: [{ name: "main", resources: { limits: { cpu: "400m", memory: "96Mi" } } }] } };
    await k.kubectl("patch", "pod", "sized", "--subresource=resize", "-p", JSON.stringify(patch));
    await k.until("pod", "sized", (pod) => pod.status.containerStatuses![0]!.resources?.limits?.["memory"] === "96Mi");
    assert.equal(await memory(), String(96 * 1024 * 1024));
    assert.equal(await quota(), "40000");
    assert.equal((await k.get("pod", "sized")).status.containerStatuses![0]!.restartCount, 0);
  });

  test("a container over its memory limit is OOMKilled", async () => {
    await k.apply(podOf("hungry", "tail /dev/zero", {}, { resources: { limits: { memory: "16Mi" } } }));
    const { status } = await k.until("pod", "hungry", (pod) => pod.status?.phase === "Failed");
    assert.equal(status.containerStatuses![0]!.state.terminated!.reason, "OOMKilled");
    assert.equal(status.containerStatuses![0]!.state.terminated!.exitCode, 137);
  });

  test("a locally built :latest image runs with imagePullPolicy Always, and its newest build", async () => {
    for (const word of ["one", "two"]) {
      const built = await k.berth.dockerWith(
        { input: `FROM busybox\nCMD ["echo", "${word}"]\n` },
        "build",
        "-q",
        "-t",
        "own-app:latest",
        "-",
      );
      assert.equal(built.code, 0, built.stderr);
      await k.apply({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: `own-${word}` },
        spec: {
          restartPolicy: "Never",
          containers: [{ name: "main", image: "own-app:latest", imagePullPolicy: "Always" }],
        },
      });
      assert.equal(await k.finished(`own-${word}`), `${word}\n`);
    }
  });

  test("activeDeadlineSeconds ends a Pod", async () => {
    await k.apply(podOf("deadline", FOREVER, { activeDeadlineSeconds: 1 }));
    const { status } = await k.until("pod", "deadline", (pod) => pod.status?.phase === "Failed");
    assert.equal(status.reason, "DeadlineExceeded");
  });

  test("changing the image replaces the container in its sandbox", async () => {
    await k.berth.docker("tag", "busybox", "busybox:again");
    await k.apply(podOf("reimaged", FOREVER, { restartPolicy: "Always" }));
    const before = await k.running("reimaged");
    await k.kubectl("set", "image", "pod/reimaged", "main=busybox:again");
    const later = await k.until(
      "pod",
      "reimaged",
      (pod) => pod.status.containerStatuses![0]!.restartCount === 1 && pod.status.containerStatuses![0]!.ready,
    );
    assert.equal(later.status.podIP, before.status.podIP);
  });

  test("the node tells what its Pods use", async () => {
    const volumes = [{ name: "data", emptyDir: {} }];
    const volumeMounts = [{ name: "data", mountPath: "/data" }];
    await k.apply(
      podOf("measured", `head -c 100000 /dev/zero > /data/file; ${FOREVER}`, { volumes }, { volumeMounts }),
    );
    await k.running("measured");
    const page = async (name: string) => {
      const { nodeName } = (await k.get("pod", "measured")).spec;
      return k.kubectl("get", "--raw", `/api/v1/nodes/${nodeName}/proxy/${name}`);
    };
    assert.equal(await page("healthz"), "ok");
    const { node, pods } = JSON.parse(await page("stats/summary"));
    assert.ok(node.fs.capacityBytes > 0 && node.runtime.imageFs.availableBytes > 0);
    const own = pods.find((pod: { podRef: { name: string } }) => pod.podRef.name === "measured");
    assert.ok(own.containers[0].memory.workingSetBytes > 0);
    assert.ok(own["ephemeral-storage"].capacityBytes > 0);
    const data = own.volume.find((volume: { name: string }) => volume.name === "data");
    assert.deepEqual([data.usedBytes >= 100_000, data.inodesUsed, data.availableBytes > 0], [true, 1, true]);
    assert.match(
      await page("metrics/cadvisor"),
      /^container_memory_working_set_bytes\{container="main",namespace="default",pod="measured"\} [1-9]/m,
    );
  });

  test("the daemon's restart leaves Pods running", async () => {
    await k.apply(podOf("survivor", FOREVER));
    const before = await k.running("survivor");
    assert.ok(before.status.containerStatuses![0]!.containerID);
  });
});

test("a killed daemon finds its Pods running, and ends those deleted meanwhile", async () => {
  const before = await k.running("survivor");
  await k.berth.kill();
  await k.berth.start();
  const after = await k.running("survivor");
  assert.equal(after.status.containerStatuses![0]!.containerID, before.status.containerStatuses![0]!.containerID);
  assert.equal(after.status.containerStatuses![0]!.restartCount, 0);
  assert.equal((await k.exec("survivor", "echo", "here")).trim(), "here");
});
