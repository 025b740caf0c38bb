/** The real docker CLI against a berth of its own: what people type every day, with the answers they get. */
import assert from "node:assert/strict";
import { mkdtempSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { importBusybox } from "../support/images.ts";

let berth: TestBerth;
let scratch: string;

before(async () => {
  berth = await startBerth();
  scratch = mkdtempSync(path.join(berth.directory, "scratch-"));
  await importBusybox(berth);
});
after(() => berth?.stop());

const out = async (...args: string[]) => (await berth.docker(...args)).stdout.trimEnd();
const fails = async (...args: string[]) => {
  const output = await berth.dockerWith({}, ...args);
  assert.notEqual(output.code, 0, `docker ${args.join(" ")} should fail`);
  return { code: output.code, stderr: output.stderr.trimEnd() };
};

test("version and info", async () => {
  assert.equal(await out("version", "--format", "{{.Server.APIVersion}} {{.Server.MinAPIVersion}}"), "1.50 1.24");
  assert.equal(
    await out("info", "--format", "{{.Driver}} {{.OSType}} {{.Swarm.LocalNodeState}}"),
    "overlay2 linux inactive",
  );
});

test("images: list, tag, inspect, history, save, load, remove", async () => {
  assert.equal(await out("images", "--format", "{{.Repository}}:{{.Tag}}"), "busybox:latest");
  await berth.docker("tag", "busybox", "example.test:5000/team/bb:1");
  assert.equal(
    await out("inspect", "--format", '{{join .RepoTags " "}}', "busybox"),
    "busybox:latest example.test:5000/team/bb:1",
  );
  assert.match(await out("history", "--format", "{{.Comment}}", "busybox"), /Imported from/);
  const archive = path.join(scratch, "bb.tar");
  await berth.docker("save", "-o", archive, "example.test:5000/team/bb:1");
  assert.equal(await out("rmi", "example.test:5000/team/bb:1"), "Untagged: example.test:5000/team/bb:1");
  assert.match(await out("load", "-i", archive), /Loaded image: example\.test:5000\/team\/bb:1/);
  await berth.docker("rmi", "example.test:5000/team/bb:1");
});

test("run: output, input, exit codes", async () => {
  const both = await berth.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2");
  assert.deepEqual([both.stdout, both.stderr], ["out\n", "err\n"]);
  const echoed = await berth.dockerWith({ input: "line\n" }, "run", "-i", "--rm", "busybox", "cat");
  assert.equal(echoed.stdout, "line\n");
  assert.equal((await fails("run", "--rm", "busybox", "sh", "-c", "exit 7")).code, 7);
  assert.equal((await fails("run", "--rm", "busybox", "no-such-program")).code, 127);
  assert.equal((await fails("run", "--rm", "busybox", "/etc")).code, 126);
  assert.equal((await fails("run", "--rm", "--network", "no-such-network", "busybox")).code, 125);
  assert.equal(await out("ps", "-aq"), "", "failed runs with --rm leave nothing");
});

test("run: user, folder, environment, hostname, entrypoint, limits", async () => {
  assert.equal(
    await out("run", "--rm", "-u", "app", "busybox", "id"),
    "uid=1000(app) gid=1000(app) groups=10(wheel),1000(app)",
  );
  assert.equal(
    await out(
      "run",
      "--rm",
      "-w",
      "/tmp/x",
      "-e",
      "A=1 2",
      "-h",
      "box",
      "busybox",
      "sh",
      "-c",
      'echo "$PWD $A $(hostname)"',
    ),
    "/tmp/x 1 2 box",
  );
  assert.equal(await out("run", "--rm", "--entrypoint", "echo", "busybox", "hi"), "hi");
  const id = await out("run", "-d", "-m", "64m", "--cpus", "0.5", "--pids-limit", "20", "busybox", "sleep", "60");
  assert.equal(
    await out("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}", id),
    "67108864 500000000 20",
  );
  await berth.docker("rm", "-f", id);
});

test("a container's life: create, start, pause, rename, restart, kill, wait, remove", async () => {
  await berth.docker("create", "--name", "life", "busybox", "sleep", "60");
  const status = () => out("inspect", "-f", "{{.State.Status}}", "life");
  assert.equal(await status(), "created");
  await berth.docker("start", "life");
  assert.equal(await status(), "running");
  await berth.docker("pause", "life");
  assert.equal(await status(), "paused");
  await berth.docker("unpause", "life");
  await berth.docker("rename", "life", "other");
  await berth.docker("rename", "other", "life");
  await berth.docker("restart", "-t", "0", "life");
  assert.equal(await status(), "running");
  // Started is told when the runtime's process is let go, a moment before it has become the program.
  for (let tries = 0; tries < 100 && !/sleep 60/.test(await out("top", "life")); tries++) await pause(50);
  assert.match(await out("top", "life"), /sleep 60/);
  assert.match(await out("ps", "--format", "{{.Names}} {{.Image}} {{.State}}"), /^life busybox running$/m);
  assert.match(await out("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "life"), /^life 1$/m);
  const waiting = out("wait", "life");
  await berth.docker("kill", "-s", "KILL", "life");
  assert.equal(await waiting, "137");
  assert.equal(await status(), "exited");
  assert.equal(await out("rm", "life"), "life");
});

test("exec: output, input, exit code, user, environment", async () => {
  const id = await out("run", "-d", "busybox", "sleep", "60");
  assert.equal(await out("exec", id, "echo", "inside"), "inside");
  assert.equal((await berth.dockerWith({ input: "typed" }, "exec", "-i", id, "cat")).stdout, "typed");
  assert.equal((await fails("exec", id, "sh", "-c", "exit 5")).code, 5);
  assert.equal((await fails("exec", id, "no-such-program")).code, 127);
  assert.equal(
    await out("exec", "-u", "app", "-w", "/tmp", "-e", "K=v", id, "sh", "-c", 'echo "$(id -u) $PWD $K"'),
    "1000 /tmp v",
  );
  await berth.docker("rm", "-f", id);
});

test("logs: all, tail, follow to the end, both streams", async () => {
  const id = await out("run", "-d", "busybox", "sh", "-c", "for n in 1 2 3; do echo line $n; done; echo oops >&2");
  assert.equal(await out("wait", id), "0");
  const all = await berth.docker("logs", id);
  assert.deepEqual([all.stdout, all.stderr], ["line 1\nline 2\nline 3\n", "oops\n"]);
  const tail = await berth.docker("logs", "-n", "2", id);
  assert.equal(tail.stdout + tail.stderr, "line 3\noops\n");
  assert.equal((await berth.docker("logs", "-f", id)).stdout, "line 1\nline 2\nline 3\n");
  assert.match((await berth.docker("logs", "-t", id)).stdout, /^\d{4}-\d\d-\d\dT[\d:.]{18}Z line 1$/m);
  await berth.docker("rm", id);
});

test("cp, diff, commit, export", async () => {
  const id = await out("run", "-d", "busybox", "sleep", "60");
  const file = path.join(scratch, "in.txt");
  writeFileSync(file, "content\n");
  await berth.docker("cp", file, `${id}:/tmp/in.txt`);
  assert.equal(await out("exec", id, "cat", "/tmp/in.txt"), "content");
  await berth.docker("cp", `${id}:/tmp/in.txt`, path.join(scratch, "out.txt"));
  assert.equal(readFileSync(path.join(scratch, "out.txt"), "utf8"), "content\n");
  assert.match(await out("diff", id), /^A \/tmp\/in\.txt$/m);
  await berth.docker("commit", "-c", "ENV MADE=here", id, "committed:1");
  assert.equal(await out("run", "--rm", "committed:1", "sh", "-c", "cat /tmp/in.txt; echo $MADE"), "content\nhere");
  await berth.docker("export", "-o", path.join(scratch, "export.tar"), id);
  assert.ok(readFileSync(path.join(scratch, "export.tar")).includes("tmp/in.txt"));
  await berth.docker("rm", "-f", id);
  await berth.docker("rmi", "committed:1");
});

test("volumes: named, bound, in memory; kept until removed", async () => {
  await berth.docker("volume", "create", "--label", "a=b", "data");
  await berth.docker("run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/f");
  assert.equal(await out("run", "--rm", "-v", "data:/data:ro", "busybox", "cat", "/data/f"), "kept");
  assert.equal(await out("volume", "ls", "--filter", "label=a=b", "--format", "{{.Name}}"), "data");
  assert.equal((await fails("run", "--rm", "-v", "data:/data:ro", "busybox", "touch", "/data/g")).code, 1);
  const folder = path.join(scratch, "bound");
  mkdirSync(folder);
  await berth.docker("run", "--rm", "-v", `${folder}:/b`, "busybox", "sh", "-c", "echo here > /b/f");
  assert.equal(readFileSync(path.join(folder, "f"), "utf8"), "here\n");
  assert.match(
    await out("run", "--rm", "--tmpfs", "/t:size=1m", "busybox", "sh", "-c", "df /t | tail -n 1 || df /t"),
    /1024/,
  );
  await berth.docker("volume", "rm", "data");
});

test("networks: a published port, a network of one's own, aliases", async () => {
  const id = await out(
    "run",
    "-d",
    "-p",
    "127.0.0.1::80",
    "busybox",
    "sh",
    "-c",
    "echo served > /tmp/index.html; exec httpd -f -p 80 -h /tmp",
  );
  const address = await out("port", id, "80/tcp");
  assert.match(address, /^127\.0\.0\.1:\d+$/);
  assert.equal(await fetchText(`http://${address}/`), "served\n");
  const taken = await fails("run", "--rm", "-p", `${address}:80`, "busybox", "true");
  assert.equal(taken.code, 125);
  assert.match(taken.stderr, /port is already allocated/);
  await berth.docker("rm", "-f", id);
  await berth.docker("network", "create", "--subnet", "203.0.113.0/24", "ours");
  const named = await out("run", "-d", "--network", "ours", "--name", "web", "busybox", "sleep", "60");
  assert.equal(await out("inspect", "-f", "{{.NetworkSettings.Networks.ours.IPAddress}}", named), "203.0.113.2");
  assert.match((await fails("network", "rm", "ours")).stderr, /active endpoints/);
  await berth.docker("rm", "-f", named);
  await berth.docker("network", "rm", "ours");
});

async function fetchText(url: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await (await fetch(url)).text();
    } catch (error) {
      if (attempt === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

test("build: steps, cache, arguments, a failing step", async () => {
  const context = path.join(scratch, "app");
  mkdirSync(context);
  writeFileSync(
    path.join(context, "Dockerfile"),
    'FROM busybox\nARG WHO=nobody\nWORKDIR /app\nCOPY . .\nRUN echo "for $WHO" > who\nCMD ["cat", "who"]\n',
  );
  const first = await out("build", "-t", "app:1", "--build-arg", "WHO=us", context);
  assert.match(first, /Step 5\/6 : RUN echo/);
  assert.match(first, /Successfully tagged app:1/);
  assert.equal(await out("run", "--rm", "app:1"), "for us");
  const again = await out("build", "-t", "app:2", "--build-arg", "WHO=us", context);
  assert.equal(again.match(/Using cache/g)?.length, 3);
  writeFileSync(path.join(context, "Dockerfile"), "FROM busybox\nRUN exit 3\n");
  assert.match((await fails("build", context)).stderr, /returned a non-zero code: 3/);
  writeFileSync(path.join(context, "Dockerfile"), "FROM busybox\nRUNN x\n");
  assert.match((await fails("build", context)).stderr, /unknown instruction: RUNN/i);
});

test("events tell what happened", async () => {
  const since = String(Date.now() / 1000);
  await berth.docker("run", "--rm", "--name", "eventful", "busybox", "true");
  const until = String(Date.now() / 1000 + 0.5);
  const events = await out(
    "events",
    "--since",
    since,
    "--until",
    until,
    "--filter",
    "container=eventful",
    "--format",
    "{{.Action}}",
  );
  assert.deepEqual(events.split("\n"), ["create", "attach", "start", "die", "destroy"]);
});

test("bad input: a clear error and nothing left", async () => {
  assert.equal(
    (await fails("start", "absent")).stderr.split("\n")[0],
    "Error response from daemon: No such container: absent",
  );
  assert.match((await fails("inspect", "absent")).stderr, /No such object: absent/);
  assert.match((await fails("swarm", "init")).stderr, /berth has no swarm mode/);
  assert.match((await fails("service", "ls")).stderr, /not a swarm manager/);
  assert.equal(await out("plugin", "ls", "-q"), "");
  await berth.docker("create", "--name", "taken", "busybox");
  assert.match(
    (await fails("create", "--name", "taken", "busybox")).stderr,
    /Conflict\. The container name "\/taken" is already in use/,
  );
  assert.match((await fails("rmi", "busybox")).stderr, /conflict/);
  await berth.docker("rm", "taken");
});

test("df and prune", async () => {
  await berth.docker("create", "busybox");
  assert.match(await out("system", "df"), /^Containers +1 +0 /m);
  await berth.docker("system", "prune", "-f");
  assert.equal(await out("ps", "-aq"), "");
});

test("containers outlive a killed daemon, with their output and exit codes", async () => {
  const runs = await out("run", "-d", "busybox", "sh", "-c", "echo before; sleep 60");
  const ends = await out("run", "-d", "busybox", "sh", "-c", "echo said; sleep 0.3; exit 9");
  await berth.kill();
  await new Promise((resolve) => setTimeout(resolve, 500));
  await berth.start();
  assert.equal(await out("inspect", "-f", "{{.State.Status}}", runs), "running");
  assert.equal(await out("logs", runs), "before");
  assert.equal(await out("exec", runs, "echo", "still"), "still");
  assert.equal(await out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", ends), "exited 9");
  assert.equal(await out("logs", ends), "said");
  await berth.docker("rm", "-f", runs, ends);
});
