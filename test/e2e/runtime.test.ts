/** The runtime core on the real kernel: conmon, crun (and runc), control groups; no images, no network. */
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { kernelName, silentLogger, systemClock, systemRandom, hasCode } from "../../src/base/index.ts";
import {
  baseSpec,
  Core,
  createRunOnce,
  ProcessIsolation,
  type RuntimeContainer,
  type Sandbox,
} from "../../src/engine/container/index.ts";

const root = mkdtempSync("/tmp/berth-runtime-");
const rootfs = path.join(root, "rootfs");
const instance = `rt-${process.pid}`;
const ctx = {
  instance,
  dataDir: path.join(root, "data"),
  runtimeDir: path.join(root, "run"),
  clock: systemClock,
  random: systemRandom,
  log: silentLogger,
};
let core: Core;
let isolation: ProcessIsolation;

before(async () => {
  for (const directory of ["bin", "proc", "sys", "dev", "etc", "tmp"])
    mkdirSync(path.join(rootfs, directory), { recursive: true });
  cpSync("/usr/bin/busybox", path.join(rootfs, "bin/busybox"));
  for (const name of ["sh", "echo", "cat", "sleep", "true", "id", "grep", "stty", "kill", "hostname"])
    symlinkSync("busybox", path.join(rootfs, "bin", name));
  mkdirSync(ctx.runtimeDir, { recursive: true });
  core = new Core(ctx);
  await core.open();
  isolation = new ProcessIsolation(core);
});

after(async () => {
  for (const sandbox of await isolation.recover()) await sandbox.destroy();
  await core.destroy();
  core.close();
  rmSync(root, { recursive: true, force: true });
});

let serial = 0;
async function container(
  args: string[],
  options: { terminal?: boolean; stdin?: boolean; log?: boolean; runtime?: string; pids?: number } = {},
): Promise<{ sandbox: Sandbox; made: RuntimeContainer }> {
  const id = `c${serial++}`;
  const sandbox = await isolation.createSandbox({ id });
  try {
    const spec = baseSpec({ rootfs, args, env: ["PATH=/bin"], cwd: "/" });
    spec.process.terminal = options.terminal;
    if (options.pids !== undefined) spec.linux.resources = { ...spec.linux.resources, pids: { limit: options.pids } };
    const logPath = options.log ? path.join(root, `${id}.log`) : undefined;
    const made = await sandbox.createContainer({ id, spec, stdin: options.stdin, logPath, runtime: options.runtime });
    return { sandbox, made };
  } catch (error) {
    await sandbox.destroy();
    throw error;
  }
}

async function output(made: RuntimeContainer): Promise<{
  stdout: () => string;
  stderr: () => string;
  ended: Promise<void>;
  stream: Awaited<ReturnType<RuntimeContainer["attach"]>>;
}> {
  const stream = await made.attach();
  const text = { stdout: "", stderr: "" };
  stream.onData((name, chunk) => void (text[name] += chunk.toString()));
  return { stdout: () => text.stdout, stderr: () => text.stderr, ended: stream.ended, stream };
}

for (const runtime of ["crun", "runc"]) {
  test(`${runtime}: output, exit code and log of a container`, async () => {
    const { sandbox, made } = await container(["sh", "-c", "echo out; echo err >&2; exit 7"], { log: true, runtime });
    try {
      assert.equal(made.state, "created");
      const seen = await output(made);
      await made.start();
      assert.equal((await made.wait()).code, 7);
      await seen.ended;
      assert.equal(seen.stdout(), "out\n");
      assert.equal(seen.stderr(), "err\n");
      assert.match(readFileSync(made.logPath!, "utf8"), /^\S+ stdout F out$/m);
      assert.match(readFileSync(made.logPath!, "utf8"), /^\S+ stderr F err$/m);
      assert.equal(made.state, "exited");
    } finally {
      await sandbox.destroy();
    }
    assert.equal(existsSync(`/sys/fs/cgroup/pids/${kernelName(instance)}/${made.id}`), false);
  });
}

test("stdin reaches the container, and closing it ends cat", async () => {
  const { sandbox, made } = await container(["cat"], { stdin: true });
  try {
    const id = made.id;
    const seen = await output(made);
    await made.start();
    seen.stream.write(Buffer.from(`${id}\n`));
    seen.stream.closeStdin();
    // stdin stays open for the next client unless it was asked to be for one only.
    await systemClock.sleep(50);
    assert.equal(made.state, "running");
    await made.kill(9);
    assert.equal((await made.wait()).code, 137);
    assert.equal(seen.stdout(), `${id}\n`);
  } finally {
    await sandbox.destroy();
  }
});

test("exec: own output, exit code and terminal size; a missing program is 127", async () => {
  const { sandbox, made } = await container(["sleep", "60"]);
  try {
    await made.start();
    const process = made.request.spec.process;
    const ran = await made.exec({ id: "e1", process: { ...process, args: ["sh", "-c", "echo in; exit 3"] } });
    let text = "";
    ran.stream.onData((_name, chunk) => void (text += chunk.toString()));
    assert.equal((await ran.wait()).code, 3);
    await ran.stream.ended;
    assert.equal(text, "in\n");
    const tty = await made.exec({
      id: "e2",
      process: {
        ...process,
        terminal: true,
        consoleSize: { height: 24, width: 80 },
        args: ["sh", "-c", "sleep 0.2; stty size"],
      },
    });
    let size = "";
    tty.stream.onData((_name, chunk) => void (size += chunk.toString()));
    await tty.resize({ columns: 111, rows: 33 });
    assert.equal((await tty.wait()).code, 0);
    await tty.stream.ended;
    assert.equal(size.trim(), "33 111");
    await assert.rejects(
      made.exec({ id: "e3", process: { ...process, args: ["no-such-program"] } }),
      (error: Error & { details?: { exitCode?: number } }) =>
        error.details?.exitCode === 127 && /executable file not found in \$PATH/.test(error.message),
    );
  } finally {
    await sandbox.destroy();
  }
});

test("exec without a monitor: in the container's groups, not counted itself, killed, or refused no room", async () => {
  const { sandbox, made } = await container(["sleep", "60"]);
  const narrow = await container(["sleep", "60"], { pids: 3 });
  try {
    await Promise.all([made.start(), narrow.made.start()]);
    const process = made.request.spec.process;
    const text = async (into: RuntimeContainer, ...args: string[]) => {
      const ran = await into.exec({ id: `x${serial++}`, process: { ...process, args } });
      let said = "";
      ran.stream.onData((_name, chunk) => void (said += chunk.toString()));
      const { code } = await ran.wait();
      await ran.stream.ended;
      return { code, said };
    };
    const groups = async (into: RuntimeContainer, file: string) => {
      const { said } = await text(into, "cat", file);
      return said.split("\n").filter((line) => line.includes(":"));
    };
    for (const into of [made, narrow.made]) {
      const own = await groups(into, "/proc/1/cgroup");
      assert.ok(own.length > 0);
      assert.deepEqual(await groups(into, "/proc/self/cgroup"), own);
    }
    const long = await made.exec({ id: "long", process: { ...process, args: ["sleep", "60"] } });
    assert.deepEqual(new Set(await made.processes()), new Set([made.pid, long.pid]));
    long.stream.onData(() => {});
    await long.kill(9);
    assert.equal((await long.wait()).code, 137);
    await long.stream.ended;
    const background = await text(made, "sh", "-c", "sleep 50 & echo started");
    assert.deepEqual(background, { code: 0, said: "started\n" });
    const detached = await made.exec({ id: "left", detached: true, process: { ...process, args: ["sleep", "60"] } });
    assert.match(readFileSync(`/proc/${parentOf(detached.pid)}/comm`, "utf8"), /^conmon/);
    writeFileSync(path.join(rootfs, "bin/odd"), "no program\0", { mode: 0o755 });
    assert.equal((await text(made, "odd")).code, 126);
  } finally {
    await narrow.sandbox.destroy();
    await sandbox.destroy();
  }
});

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
}

test("a container that cannot start says why, in Docker's words, and leaves nothing", async () => {
  await assert.rejects(container(["nothing-here"]), (error: Error & { details?: { exitCode?: number } }) => {
    return (
      error.details?.exitCode === 127 && /exec: "nothing-here": executable file not found in \$PATH/.test(error.message)
    );
  });
  await assert.rejects(
    container(["/etc"]),
    (error: Error & { details?: { exitCode?: number } }) => error.details?.exitCode === 126,
  );
  assert.deepEqual(
    (await isolation.recover()).map((sandbox) => sandbox.id),
    [],
  );
});

test("pause stops the clock of a container, resume lets it go on", async () => {
  const { sandbox, made } = await container(["sleep", "60"]);
  try {
    await made.start();
    await made.pause();
    assert.equal(made.state, "paused");
    await made.resume();
    const pids = await made.processes();
    assert.ok(pids.includes(made.pid));
    const stats = await made.stats();
    assert.ok(stats.memory.usageBytes > 0);
  } finally {
    await sandbox.destroy();
  }
});

test("a second daemon finds containers running and ended, with their exit codes", async () => {
  const running = await container(["sh", "-c", "sleep 60"], { log: true });
  const ending = await container(["sh", "-c", "sleep 0.1; exit 9"], { log: true });
  await running.made.start();
  await ending.made.start();
  const second = new Core(ctx);
  await second.open();
  const found = new ProcessIsolation(second);
  const sandboxes = await found.recover();
  try {
    const recovered = (id: string) => sandboxes.find((sandbox) => sandbox.id === id)?.container(id);
    assert.equal(recovered(running.made.id)?.state, "running");
    assert.equal((await recovered(ending.made.id)!.wait()).code, 9);
    await recovered(running.made.id)!.kill(15);
    await recovered(running.made.id)!.kill(9);
    assert.equal((await recovered(running.made.id)!.wait()).code, 137);
  } finally {
    for (const sandbox of sandboxes) await sandbox.destroy();
    await running.sandbox.destroy();
    await ending.sandbox.destroy();
    await found.close();
  }
});

test("a creation that a kill left half done is cleared away, and its id is free again", async () => {
  const { sandbox, made } = await container(["sleep", "60"]);
  // As a kill between the runtime's create and our own record of it.
  rmSync(path.join(core.layout.bundle(made.id), "facts.json"));
  const second = new Core(ctx);
  await second.open();
  const found = new ProcessIsolation(second);
  const again = (await found.recover()).find(({ id }) => id === sandbox.id)!;
  assert.equal(again.container(made.id), undefined);
  // Gone, or dead and not yet reaped by its new parent.
  const command = existsSync(`/proc/${made.pid}/cmdline`) ? readFileSync(`/proc/${made.pid}/cmdline`, "utf8") : "";
  assert.equal(command, "");
  const spec = baseSpec({ rootfs, args: ["true"], env: ["PATH=/bin"], cwd: "/" });
  const anew = await again.createContainer({ id: made.id, spec });
  await anew.start();
  assert.equal((await anew.wait()).code, 0);
  await again.destroy();
  await sandbox.destroy();
  await found.close();
});

test("a run step: output, exit code, user, cancel", async () => {
  const runOnce = createRunOnce(isolation);
  let text = "";
  const base = {
    rootfs,
    env: ["PATH=/bin"],
    cwd: "/tmp",
    onOutput: (_name: string, chunk: Buffer) => void (text += chunk.toString()),
  };
  assert.equal((await runOnce({ ...base, id: "r1", args: ["sh", "-c", "id -u; pwd; exit 4"], user: "1000" })).code, 4);
  assert.equal(text, "1000\n/tmp\n");
  const stop = new AbortController();
  const long = runOnce({ ...base, id: "r2", args: ["sleep", "60"] }, stop.signal);
  await systemClock.sleep(100);
  stop.abort();
  await assert.rejects(long, (error) => hasCode(error, "canceled"));
});

test("containers of a sandbox share its namespaces", async () => {
  const sandbox = await isolation.createSandbox({
    id: "pod1",
    hostname: "podhost",
    shared: { ipc: true, uts: true, pid: true },
  });
  try {
    const made: RuntimeContainer[] = [];
    for (const id of ["pod1-a", "pod1-b"]) {
      const spec = baseSpec({ rootfs, args: ["sleep", "60"], env: ["PATH=/bin"], cwd: "/" });
      spec.linux.namespaces = [
        { type: "mount" },
        { type: "network" },
        { type: "ipc", path: sandbox.namespaces.ipc },
        { type: "uts", path: sandbox.namespaces.uts },
        { type: "pid", path: sandbox.namespaces.pid },
      ];
      const one = await sandbox.createContainer({ id, spec });
      await one.start();
      made.push(one);
    }
    const ran = await made[0]!.exec({
      id: "x",
      process: { ...made[0]!.request.spec.process, args: ["sh", "-c", "hostname; kill -0 1 && echo one"] },
    });
    let text = "";
    ran.stream.onData((_name, chunk) => void (text += chunk.toString()));
    await ran.wait();
    await ran.stream.ended;
    assert.equal(text, "podhost\none\n");
  } finally {
    await sandbox.destroy();
  }
  assert.equal(existsSync(path.join(ctx.runtimeDir, "sandboxes", "pod1")), false);
});

test("recovery leaves a container deep in a Pod's group alone, keeps a Pod's empty one, and removes what has no record", async () => {
  const parent = `${core.cgroupParent}/kubepods/pod1`;
  const sandbox = await isolation.createSandbox({ id: "deep", cgroupParent: parent });
  try {
    const spec = baseSpec({ rootfs, args: ["sleep", "60"], env: ["PATH=/bin"], cwd: "/" });
    const made = await sandbox.createContainer({ id: "deep-a", spec });
    await made.start();
    const stray = core.cgroup(`${core.cgroupParent}/stray`).directory("pids")!;
    const empty = core.cgroup(`${core.cgroupParent}/kubepods/pod2`).directory("pids")!;
    for (const directory of [stray, empty]) mkdirSync(directory);
    const found = (await isolation.recover()).find((one) => one.id === "deep");
    assert.equal(found?.container("deep-a")?.state, "running");
    assert.deepEqual([existsSync(stray), existsSync(empty)], [false, true]);
    await found?.destroy();
  } finally {
    await sandbox.destroy();
  }
});
