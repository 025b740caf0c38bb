/** The CRI v1 socket with another implementation's client (grpc-js and the published messages): a Pod's whole life without a kubelet. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { WebSocket } from "ws";
import { systemClock } from "../../src/base/index.ts";
import { RemoteRuntime } from "../../src/node/remote-runtime/index.ts";
import { root } from "../support/daemon.ts";
import { podOf, startPods, type PodTests } from "../support/pods.ts";

// eslint-disable-next-line typescript/no-explicit-any -- Messages come as the .proto has them.
type Answer = Record<string, any>;
type Call = (method: string, request?: object) => Promise<Answer>;

let k: PodTests;
let runtime: Call;
let images: Call;
const clients: grpc.Client[] = [];
before(async () => {
  k = await startPods();
  const definition = loadSync(path.join(root, "src/api/cri/runtime.proto"), {
    longs: Number,
    enums: String,
    defaults: true,
  });
  const loaded = grpc.loadPackageDefinition(definition) as Answer;
  const target = `unix://${path.join(k.berth.runtimeDir, "cri.sock")}`;
  const connect = (service: string): Call => {
    const client = new loaded.runtime.v1[service](target, grpc.credentials.createInsecure());
    clients.push(client);
    return (method, request = {}) =>
      new Promise((resolve, reject) =>
        client[method](request, (error: Error | null, answer: Answer) => (error ? reject(error) : resolve(answer))),
      );
  };
  runtime = connect("RuntimeService");
  images = connect("ImageService");
});
after(async () => {
  for (const client of clients) client.close();
  await k?.berth.stop();
});

test("the runtime says what it is and that it is ready; images are the engine's", async () => {
  assert.deepEqual(await runtime("version"), {
    version: "0.1.0",
    runtimeName: "berth",
    runtimeVersion: "0.1.0",
    runtimeApiVersion: "v1",
  });
  const { status } = await runtime("status");
  assert.ok(status.conditions.every((condition: Answer) => condition["status"]));
  const list = await images("listImages");
  assert.ok(list["images"].some((image: Answer) => image["repoTags"].join().includes("busybox") && image["size"] > 0));
  assert.equal((await images("imageStatus", { image: { image: "no-such-image" } }))["image"], null);
  const { imageFilesystems } = await images("imageFsInfo");
  assert.ok(imageFilesystems[0].usedBytes.value > 0);
});

test("sandbox, container, exec, stats, stop, remove", async () => {
  const logDirectory = path.join(k.berth.directory, "cri-logs");
  const config = {
    metadata: { name: "by-hand", uid: "u1", namespace: "default", attempt: 0 },
    hostname: "by-hand",
    logDirectory,
    labels: { made: "by hand" },
    linux: { cgroupParent: "/by-hand" },
  };
  const { podSandboxId } = await runtime("runPodSandbox", { config });
  const { status } = await runtime("podSandboxStatus", { podSandboxId });
  assert.equal(status.state, "SANDBOX_READY");
  assert.match(status.network.ip, /^10\./);
  const { containerId } = await runtime("createContainer", {
    podSandboxId,
    sandboxConfig: config,
    config: {
      metadata: { name: "main", attempt: 0 },
      image: { image: "busybox" },
      command: ["sh", "-c", "echo hello; hostname; trap 'exit 5' TERM; while :; do sleep 0.1; done"],
      envs: [{ key: "WORD", value: Buffer.from("set") }],
      logPath: "main.log",
      linux: {
        resources: { memoryLimitInBytes: 32 * 1024 * 1024 },
        securityContext: { namespaceOptions: { pid: "CONTAINER" }, runAsUser: { value: 1000 } },
      },
    },
  });
  await runtime("startContainer", { containerId });
  const { containers } = await runtime("listContainers", {
    filter: { state: { state: "CONTAINER_RUNNING" }, podSandboxId },
  });
  assert.deepEqual(
    containers.map((container: Answer) => container["id"]),
    [containerId],
  );
  const exec = await runtime("execSync", { containerId, cmd: ["sh", "-c", "id -u; echo $WORD; exit 3"], timeout: 5 });
  assert.equal(exec["stdout"].toString(), "1000\nset\n");
  assert.equal(exec["exitCode"], 3);
  const { stats } = await runtime("containerStats", { containerId });
  assert.ok(stats.memory.usageBytes.value > 0);
  const pod = await runtime("podSandboxStats", { podSandboxId });
  assert.ok(pod["stats"].linux.process.processCount.value >= 1);
  await runtime("stopContainer", { containerId, timeout: 5 });
  const ended = await runtime("containerStatus", { containerId });
  assert.equal(ended["status"].state, "CONTAINER_EXITED");
  assert.equal(ended["status"].exitCode, 5);
  assert.match(readFileSync(path.join(logDirectory, "main.log"), "utf8"), / stdout F hello\n.* stdout F by-hand\n/);
  await runtime("stopPodSandbox", { podSandboxId });
  await runtime("removePodSandbox", { podSandboxId });
  await runtime("removePodSandbox", { podSandboxId });
  assert.deepEqual((await runtime("listPodSandbox", { filter: { labelSelector: { made: "by hand" } } }))["items"], []);
  assert.equal(existsSync(path.join(k.berth.runtimeDir, "cri", podSandboxId)), false);
});

test("exec, attach and port-forward answer URLs that serve their streams; berth's own client of foreign runtimes opens them", async () => {
  const remote = new RemoteRuntime(`unix://${path.join(k.berth.runtimeDir, "cri.sock")}`, systemClock);
  try {
    await k.apply(podOf("streams", "while read word; do echo said $word; done", {}, { stdin: true }));
    await k.apply(podOf("serves", "mkdir /w; echo served > /w/index.html; httpd -f -p 8080 -h /w"));
    await k.running("streams");
    const [container] = await remote.listContainers({ labelSelector: { "io.kubernetes.pod.name": "streams" } });
    const wants = { tty: false, stdin: true, stdout: true, stderr: true };
    const exec = await remote.exec(container!.id, { ...wants, command: ["sh", "-c", "cat; echo bad >&2; exit 4"] });
    exec.stdin!.end("through\n");
    assert.deepEqual(await Promise.all([text(exec.stdout!), text(exec.stderr!), exec.exit]), ["through\n", "bad\n", 4]);
    const sized = `until [ "$(stty size)" = "17 91" ]; do sleep 0.05; done; tty`;
    const terminal = await remote.exec(container!.id, { ...wants, tty: true, command: ["sh", "-c", sized] });
    await terminal.resize(91, 17);
    assert.match(await text(terminal.stdout!), /dev\/pts/);
    assert.equal(await terminal.exit, 0);

    const attached = await remote.attach(container!.id, wants);
    attached.stdin!.write("hello\n");
    const [first] = (await once(attached.stdout!, "data")) as [Buffer];
    assert.equal(first.toString(), "said hello\n");
    attached.close();

    await k.running("serves");
    const [sandbox] = await remote.listPodSandbox({ labelSelector: { "io.kubernetes.pod.name": "serves" } });
    const asked = async () => {
      const port = await remote.portForward(sandbox!.id, 8080);
      port.write("GET / HTTP/1.0\r\n\r\n");
      return text(port);
    };
    // Running does not mean that it listens yet.
    const deadline = Date.now() + 20_000;
    let answer = "";
    while (!answer.includes("served") && Date.now() < deadline) answer = await asked().catch(String);
    assert.match(answer, /served/);
    const refused = await remote.portForward(sandbox!.id, 9);
    await assert.rejects(text(refused), /failed to connect to localhost:9/);

    const { url } = await runtime("exec", { containerId: container!.id, cmd: ["true"], stdout: true });
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/[0-9a-f]{32}$/);
    await assert.rejects(opened(`${url}0`), /404/);
  } finally {
    remote.close();
  }
});

function opened(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace(/^http/, "ws"), ["v5.channel.k8s.io"]);
    socket.once("open", () => resolve()).once("error", reject);
  });
}

test("errors carry gRPC's codes", async () => {
  const code = async (call: Promise<Answer>) =>
    call.then(() => grpc.status.OK).catch((error: grpc.ServiceError) => error.code);
  assert.equal(await code(runtime("containerStatus", { containerId: "none" })), grpc.status.NOT_FOUND);
  assert.equal(
    await code(runtime("exec", { containerId: "none", cmd: ["true"], stdout: true })),
    grpc.status.NOT_FOUND,
  );
});
