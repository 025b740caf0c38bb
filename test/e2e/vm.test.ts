/** Containers and Pods in microVMs: the same image, with a kernel of its own, by the real docker and kubectl. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
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

test(
  "whichever of its processes is killed, a microVM ends as killed and leaves nothing",
  { timeout: 600_000 },
  async () => {
    const rounds = Number(process.env["BERTH_VM_KILL_ROUNDS"] ?? 3);
    const random = seeded(Number(process.env["BERTH_VM_KILL_SEED"] ?? 7));
    for (let round = 0; round < rounds; round++) {
      const started = await run("run", "-d", "--name", "victim", "--runtime", "vm", "busybox", "sleep", "1000");
      assert.equal(started.code, 0, started.stderr);
      const id = started.stdout.trim();
      const victims = [
        ...monitorsOf(`${id}-machine`).flatMap(childrenOf),
        ...monitorsOf(`${id}-share`).flatMap(childrenOf),
      ];
      assert.equal(victims.length, 2);
      const choice = Math.floor(random() * 4);
      if (choice === 3) {
        await berth.kill();
        await berth.start();
        assert.equal((await run("exec", "victim", "true")).code, 0);
      } else {
        process.kill(choice === 2 ? monitorsOf(id)[0]! : victims[choice]!, "SIGKILL");
        if (choice < 2)
          await eventually(async () =>
            assert.equal(
              (await run("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "victim")).stdout,
              "exited 137\n",
            ),
          );
      }
      assert.equal((await run("rm", "-f", "victim")).code, 0, `round ${round}, victim ${choice}`);
      await eventually(async () => {
        assert.deepEqual([...monitorsOf(id), ...monitorsOf(`${id}-machine`), ...monitorsOf(`${id}-share`)], []);
        assert.ok(!readFileSync("/proc/self/mounts", "utf8").includes(id));
        for (const folder of ["vm/machines", "vm/containers", "netns"])
          assert.deepEqual(
            readdirSync(path.join(berth.runtimeDir, folder)).filter((name) => name.startsWith(id)),
            [],
          );
      });
    }
  },
);

/** The monitors of a container by its whole name. */
function monitorsOf(id: string): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => isMonitorOf(pid, id)).map(Number);
}

function isMonitorOf(pid: string, id: string): boolean {
  try {
    const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return (
      argv[0]!.endsWith("conmon") && argv[argv.indexOf("-c") + 1] === id && argv.join(" ").includes(berth.runtimeDir)
    );
  } catch {
    return false;
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
}

/** Numbers below 1, the same for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

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
