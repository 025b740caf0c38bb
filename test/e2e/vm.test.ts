/** Containers and Pods in microVMs: the same image, with a kernel of its own, by the real docker and kubectl. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";

/** Under emulation a guest boots in some seconds, more on a busy machine. */
const BOOT_MS = 90_000;
const PORT = 28_471;
let berth: TestBerth;

before(async () => {
  berth = await startBerth({ kubernetes: true });
  const made = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(made.code, 0, made.stderr);
});
after(() => berth.stop());

const run = (...args: string[]) => berth.dockerWith({ timeoutMs: BOOT_MS }, ...args);

function ask(): Promise<string> {
  return new Promise((resolve, reject) => {
    http
      .get({ host: "127.0.0.1", port: PORT, agent: false, timeout: 5000 }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString())).on("end", () => resolve(text));
      })
      .on("error", reject);
  });
}

test("a container in a microVM has a kernel of its own; environment, user, folder, both outputs and exit code are as ever", async () => {
  const script = "uname -r; echo $COLOUR; pwd; id -u; echo problem >&2; exit 7";
  const { code, stdout, stderr } = await run(
    "run",
    "--rm",
    "--runtime",
    "vm",
    "-e",
    "COLOUR=green",
    "-w",
    "/tmp",
    "-u",
    "1000",
    "busybox",
    "sh",
    "-c",
    script,
  );
  const [kernel, ...rest] = stdout.trim().split("\n");
  assert.equal(code, 7, stderr);
  assert.notEqual(kernel, os.release());
  assert.match(kernel!, /cloud/);
  assert.deepEqual(rest, ["green", "/tmp", "1000"]);
  assert.equal(stderr.trim(), "problem");
});

test("one that goes on running: volume, published port, exec, logs, stop; and after kill -9 of the daemon it is still there", async () => {
  const folder = path.join(berth.directory, "page");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "index.html"), "from the host\n");
  const script = "echo started; httpd -f -p 80 -h /page";
  const started = await run(
    "run",
    "-d",
    "--name",
    "web",
    "--runtime",
    "vm",
    "-p",
    `${PORT}:80`,
    "-v",
    `${folder}:/page`,
    "busybox",
    "sh",
    "-c",
    script,
  );
  assert.equal(started.code, 0, started.stderr);
  await eventually(async () => assert.equal(await ask(), "from the host\n"));
  assert.notEqual((await run("exec", "web", "uname", "-r")).stdout.trim(), os.release());
  assert.equal((await run("exec", "web", "sh", "-c", "exit 3")).code, 3);
  await berth.kill();
  await berth.start();
  assert.equal(await ask(), "from the host\n");
  assert.equal((await berth.docker("logs", "web")).stdout, "started\n");
  await run("rm", "-f", "web");
});

test("what a microVM cannot share is refused with the reason", async () => {
  const { code, stderr } = await run("run", "--rm", "--runtime", "vm", "--network", "host", "busybox", "true");
  assert.notEqual(code, 0);
  assert.match(stderr, /kernel of its own/);
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

/** Tries again for a while. */
async function eventually(check: () => Promise<void>): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await check();
    } catch (error) {
      if (attempt >= 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
