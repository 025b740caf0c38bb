/** Containers and Pods in microVMs: the same image, with a kernel of its own, by the real docker and kubectl. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { ask, BOOT_MS, eventually, isolationSuite } from "./isolation.suite.ts";

let berth: TestBerth;

before(async () => {
  berth = await startBerth({ kubernetes: true });
  const made = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(made.code, 0, made.stderr);
});
after(() => berth.stop());

const run = (...args: string[]) => berth.dockerWith({ timeoutMs: BOOT_MS }, ...args);

isolationSuite("process", () => berth);
isolationSuite("vm", () => berth);

test("one that goes on running survives kill -9 of the daemon, with its log, port and exec", async () => {
  const script = "echo started; mkdir /page; echo page >/page/index.html; httpd -f -p 80 -h /page";
  const args = ["-d", "--name", "web", "--runtime", "vm", "-p", "127.0.0.1:0:80", "busybox", "sh", "-c", script];
  const started = await run("run", ...args);
  assert.equal(started.code, 0, started.stderr);
  const port = Number((await run("port", "web", "80")).stdout.trim().split(":").at(-1));
  await eventually(async () => assert.equal(await ask(port), "page\n"));
  await berth.kill();
  await berth.start();
  await eventually(async () => assert.equal(await ask(port), "page\n"));
  const kernel = (await run("exec", "web", "uname", "-r")).stdout.trim();
  assert.match(kernel, /cloud/);
  assert.notEqual(kernel, os.release());
  assert.equal((await berth.docker("logs", "web")).stdout, "started\n");
  const connected = await run("network", "connect", "bridge", "web");
  assert.match(connected.stderr, /cards of a running microVM/);
  assert.equal((await run("rm", "-f", "web")).code, 0);
});

test("what a microVM cannot share is refused with the reason", async () => {
  const shared = [
    ["--network", "host"],
    ["--pid", "host"],
    ["--ipc", "host"],
    ["--device", "/dev/null:/dev/x"],
  ];
  for (const options of shared) {
    const { code, stderr } = await run("run", "--rm", "--runtime", "vm", ...options, "busybox", "true");
    assert.notEqual(code, 0);
    assert.match(stderr, /kernel of its own|no access to devices/, options.join(" "));
  }
});

test("a Pod with runtimeClassName vm runs in one", async () => {
  const kubectl = (...args: string[]) =>
    execFileSync("kubectl", ["--kubeconfig", path.join(berth.runtimeDir, "kubeconfig"), ...args], {
      encoding: "utf8",
      timeout: BOOT_MS,
    });
  const container = {
    name: "main",
    image: "busybox",
    imagePullPolicy: "IfNotPresent",
    command: ["sh", "-c", "uname -r; sleep 1000"],
  };
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "inner" },
    spec: { runtimeClassName: "vm", terminationGracePeriodSeconds: 1, containers: [container] },
  };
  const file = path.join(berth.directory, "pod.json");
  writeFileSync(file, JSON.stringify(pod));
  kubectl("apply", "-f", file);
  kubectl("wait", "--for=condition=Ready", "pod/inner", "--timeout=80s");
  await eventually(async () => assert.match(kubectl("logs", "inner"), /cloud/));
  assert.match(kubectl("exec", "inner", "--", "uname", "-r"), /cloud/);
  kubectl("delete", "pod", "inner", "--now");
});
