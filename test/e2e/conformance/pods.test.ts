/** What upstream's conformance suite asks of one Pod: commands, environment, hooks and probes that leave the Pod. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import grpc from "@grpc/grpc-js";
import { podOf, startPods, type PodObject, type PodTests } from "../../support/pods.ts";
import { eventually } from "./client.ts";

let k: PodTests;
let hooks: Server;
const called: string[] = [];
const folder = mkdtempSync(path.join(tmpdir(), "berth-conformance-"));
before(async () => {
  k = await startPods();
  hooks = createServer(({ url, headers }, response) => {
    called.push(`${url} ${String(headers["x-hook"])}`);
    response.end();
  }).listen(0);
  writeFileSync(path.join(folder, "Dockerfile"), 'FROM busybox\nENTRYPOINT ["echo", "entry"]\nCMD ["default"]\n');
  const built = await k.berth.docker("build", "-q", "-t", "speaking", folder);
  assert.equal(built.code, 0, built.stderr);
});
after(async () => {
  hooks?.close();
  rmSync(folder, { recursive: true });
  await k?.berth.stop();
});

const FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const speaking = (more: object) => ({ image: "speaking", command: undefined, imagePullPolicy: "Never", ...more });

describe("pods", { concurrency: 6 }, () => {
  for (const [name, container, expected] of [
    ["defaults", {}, "entry default\n"],
    ["arguments", { args: ["override", "arguments"] }, "entry override arguments\n"],
    ["command", { command: ["echo", "override"] }, "override\n"],
    ["both", { command: ["echo", "override"], args: ["all"] }, "override all\n"],
    [
      "expanded",
      { args: ["$(WHO)", "$$(WHO)", "$(NOBODY)"], env: [{ name: "WHO", value: "me" }] },
      "entry me $(WHO) $(NOBODY)\n",
    ],
  ] as const)
    test(`the image's command and arguments: ${name}`, async () => {
      await k.apply(podOf(`say-${name}`, "", {}, speaking(container)));
      assert.equal(await k.finished(`say-${name}`), expected);
    });

  test("environment: the Pod's fields and resources, ConfigMaps, Secrets, variables made of others", async () => {
    const metadata = { name: "settings" };
    await k.apply(
      { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "data-1": "value-1", FROM: "map" } },
      { apiVersion: "v1", kind: "Secret", metadata, stringData: { "data-1": "secret-1", FROM: "secret" } },
    );
    const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
    const of = (name: string, resource: string) => ({ name, valueFrom: { resourceFieldRef: { resource } } });
    const env = [
      field("POD_NAME", "metadata.name"),
      field("POD_NAMESPACE", "metadata.namespace"),
      field("POD_UID", "metadata.uid"),
      field("POD_IP", "status.podIP"),
      field("HOST_IP", "status.hostIP"),
      of("CPU_LIMIT", "limits.cpu"),
      of("MEMORY_LIMIT", "limits.memory"),
      of("CPU_REQUEST", "requests.cpu"),
      of("MEMORY_REQUEST", "requests.memory"),
      { name: "MAP", valueFrom: { configMapKeyRef: { name: "settings", key: "data-1" } } },
      { name: "KEY", valueFrom: { secretKeyRef: { name: "settings", key: "data-1" } } },
      { name: "ABSENT", valueFrom: { secretKeyRef: { name: "nothing", key: "data-1", optional: true } } },
      { name: "COMPOSED", value: "$(MAP);;$(KEY)" },
    ];
    const envFrom = [
      { configMapRef: { name: "settings" } },
      { prefix: "S_", secretRef: { name: "settings" } },
      { configMapRef: { name: "nothing", optional: true } },
    ];
    const resources = { requests: { cpu: "250m", memory: "32Mi" }, limits: { cpu: "1250m", memory: "64Mi" } };
    await k.apply(podOf("environment", "env", {}, { env, envFrom, resources }));
    const lines = (await k.finished("environment")).split("\n");
    const found = new Map(lines.map((line) => [line.split("=")[0], line.slice(line.indexOf("=") + 1)]));
    const pod = await k.get("pod", "environment");
    const expected = {
      POD_NAME: "environment",
      POD_NAMESPACE: "default",
      POD_UID: pod.metadata.uid,
      POD_IP: pod.status.podIP,
      HOST_IP: pod.status.hostIP,
      CPU_LIMIT: "2",
      MEMORY_LIMIT: "67108864",
      CPU_REQUEST: "1",
      MEMORY_REQUEST: "33554432",
      MAP: "value-1",
      KEY: "secret-1",
      ABSENT: undefined,
      COMPOSED: "value-1;;secret-1",
      FROM: "map",
      S_FROM: "secret",
    };
    for (const [name, value] of Object.entries(expected)) assert.equal(found.get(name), value, name);
  });

  test("hooks over HTTP after the start and before the end", async () => {
    const { port } = hooks.address() as AddressInfo;
    const hook = (name: string) => ({
      httpGet: { host: "127.0.0.1", port, path: `/echo?msg=${name}`, httpHeaders: [{ name: "X-Hook", value: name }] },
    });
    const lifecycle = { postStart: hook("poststart"), preStop: hook("prestop") };
    await k.apply(podOf("hooked", FOREVER, {}, { lifecycle }));
    await k.running("hooked");
    assert.deepEqual(called, ["/echo?msg=poststart poststart"]);
    await k.kubectl("delete", "pod", "hooked");
    assert.deepEqual(called, ["/echo?msg=poststart poststart", "/echo?msg=prestop prestop"]);
  });

  test("gRPC probes: serving is alive, not serving is restarted, and readiness follows", async () => {
    // The Pod is on the host's network, and so is the server that answers for it.
    const answers = new Map([
      ["", 1],
      ["alive", 1],
      ["ready", 2],
    ]);
    const server = new grpc.Server();
    const bytes = { serialize: (value: Buffer) => value, deserialize: (value: Buffer) => value };
    server.addService(
      {
        check: {
          path: "/grpc.health.v1.Health/Check",
          requestStream: false,
          responseStream: false,
          requestSerialize: bytes.serialize,
          requestDeserialize: bytes.deserialize,
          responseSerialize: bytes.serialize,
          responseDeserialize: bytes.deserialize,
        },
      },
      {
        check: ({ request }: { request: Buffer }, reply: (error: null, answer: Buffer) => void) => {
          const service = request.subarray(2).toString();
          reply(null, Buffer.from([8, answers.get(service) ?? 3]));
          // Once is enough for a restart; a second one would have to wait for its turn.
          if (service === "alive") answers.set(service, 1);
        },
      },
    );
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("0.0.0.0:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    try {
      const probe = (service: string) => ({ grpc: { port, service }, periodSeconds: 1, failureThreshold: 1 });
      const probes = { livenessProbe: probe("alive"), readinessProbe: probe("ready") };
      await k.apply(podOf("probed", FOREVER, { hostNetwork: true, restartPolicy: "Always" }, probes));
      const statusOf = (pod: PodObject) => pod.status.containerStatuses?.[0];
      await k.until("pod", "probed", (pod) => statusOf(pod)?.state.running && !statusOf(pod)!.ready);
      answers.set("ready", 1);
      const ready = await k.running("probed");
      assert.equal(statusOf(ready)!.restartCount, 0);
      answers.set("alive", 2);
      await k.until("pod", "probed", (pod) => statusOf(pod)!.restartCount > 0);
      await k.running("probed");
    } finally {
      await k.kubectl("delete", "pod", "probed", "--now");
      server.forceShutdown();
    }
  });

  test("readiness that never comes is no restart, and a failing start is retried more slowly", async () => {
    const readinessProbe = { exec: { command: ["false"] }, periodSeconds: 1 };
    await k.apply(
      podOf("unready", FOREVER, { restartPolicy: "Always" }, { readinessProbe }),
      podOf("failing", "exit 3", { restartPolicy: "Always" }),
    );
    const [failing] = (
      await k.until("pod", "failing", ({ status }) => status.containerStatuses?.[0]?.restartCount === 1)
    ).status.containerStatuses!;
    assert.equal(failing!.lastState?.terminated?.exitCode, 3);
    await eventually(
      "a pause",
      async () =>
        (await k.get("pod", "failing")).status.containerStatuses?.[0]?.state.waiting?.reason === "CrashLoopBackOff",
    );
    const [unready] = (await k.get("pod", "unready")).status.containerStatuses!;
    assert.deepEqual([unready!.ready, unready!.restartCount], [false, 0]);
  });
});
