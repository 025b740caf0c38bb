/** berth's own command line: the life of an instance, and Docker's everyday verbs without the docker CLI. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { kernelName } from "../../src/base/index.ts";
import { listMounts } from "../../src/host/index.ts";
import { run, startBerth, type TestBerth } from "../support/daemon.ts";
import { importBusybox } from "../support/images.ts";

let berth: TestBerth;
before(async () => {
  berth = await startBerth({ start: false });
});
after(() => berth?.stop());

/** Runs berth's CLI; fails the test when it does. */
async function out(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await berth.berth(...args);
  assert.equal(code, 0, `berth ${args.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return stdout.trimEnd();
}

test("up, status, env, version, logs, down, up again", async () => {
  const nothing = await berth.berth("status");
  assert.deepEqual([nothing.code, nothing.stdout], [3, `berth "${berth.instance}" is not running\n`]);
  assert.match((await berth.berth("ps")).stderr, /berth is not running[\s\S]*berth up -d/);
  assert.match(await out("up", "-d", "--yes"), /is up \(process \d+\)/);
  assert.match(await out("up", "-d", "--yes"), /is already up/);
  const status = JSON.parse(await out("status", "--json")) as { services: { name: string; state: string }[] };
  assert.ok(status.services.length >= 3);
  assert.deepEqual(new Set(status.services.map(({ state }) => state)), new Set(["ready"]));
  assert.match(await out("status"), /docker-api +ready/);
  assert.match(await out("env"), new RegExp(`export DOCKER_HOST=unix://${berth.dockerSocket}`));
  assert.match(await out("version"), /^daemon \d+\.\d+\.\d+$/m);
  assert.match(await out("logs", "--daemon"), /"message":"ready"/);
  assert.equal(statSync(berth.dockerSocket).mode & 0o777, 0o660);
  assert.match(await out("down"), /is down/);
  assert.match(await out("down"), /was not running/);
  await out("up", "-d", "--yes");
});

test("a second daemon on the same data is refused", async () => {
  const daemon = path.resolve(import.meta.dirname, "../../src/daemon/main.ts");
  const second = await run(process.execPath, [daemon], { env: berth.env });
  assert.equal(second.code, 1);
  assert.match(second.stderr, /already runs on/);
});

test("images, run, ps, logs, exec, stop, rm", async () => {
  await importBusybox(berth);
  assert.match(await out("images"), /^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\nbusybox +latest /);
  assert.equal(await out("run", "--rm", "busybox", "echo", "hello"), "hello");
  assert.equal((await berth.berth("run", "--rm", "busybox", "sh", "-c", "exit 4")).code, 4);
  assert.equal((await berth.berth("run", "--rm", "busybox", "no-such-program")).code, 127);
  const id = await out("run", "-d", "--name", "web", "busybox", "sh", "-c", "echo started; sleep 60");
  assert.match(await out("ps"), new RegExp(`^${id.slice(0, 12)} +busybox .* web$`, "m"));
  assert.equal((JSON.parse(await out("ps", "--json")) as { Id: string }[])[0]?.Id, id);
  assert.equal(await out("exec", "web", "echo", "inside"), "inside");
  assert.equal((await berth.berth("exec", "web", "sh", "-c", "exit 6")).code, 6);
  assert.equal(await out("logs", "web"), "started");
  assert.equal(await out("stop", "-t", "0", "web"), "web");
  assert.equal(await out("rm", "web"), "web");
  const missing = await berth.berth("rm", "web");
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /No such container: web/);
});

test("build, tag, and .dockerignore", async () => {
  const context = path.join(berth.directory, "context");
  mkdirSync(context);
  writeFileSync(
    path.join(context, "Dockerfile"),
    "FROM busybox\nARG WHO\nCOPY . /app\nRUN ls /app && echo $WHO > /who\nCMD cat /who\n",
  );
  writeFileSync(path.join(context, ".dockerignore"), "secret*\n");
  writeFileSync(path.join(context, "secret.txt"), "x");
  writeFileSync(path.join(context, "kept.txt"), "x");
  const built = await out("build", "-t", "app:1", "--build-arg", "WHO=me", context);
  assert.match(built, /kept\.txt/);
  assert.doesNotMatch(built, /secret/);
  assert.equal(await out("run", "--rm", "app:1"), "me");
  await out("tag", "app:1", "app:2");
  assert.match(await out("images"), /^app +2 /m);
  const absent = await berth.berth("build", path.join(berth.directory, "nowhere"));
  assert.match(absent.stderr, /no folder/);
});

test("help with examples, completion, unknown commands", async () => {
  assert.match(await out("run", "--help"), /Examples:\n +berth run --rm busybox echo hello/);
  assert.match(await out("completion", "bash"), /complete -o default -F _berth berth/);
  const checked = await run("bash", ["-n"], { input: await out("completion", "bash") });
  assert.equal(checked.code, 0, checked.stderr);
  const unknown = await berth.berth("frobnicate");
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /unknown command 'frobnicate'/);
});

test("reset leaves nothing behind, asks first, and also clears up after a crash", async () => {
  await out("run", "-d", "-p", "127.0.0.1::80", "busybox", "sleep", "60");
  const refused = await berth.berth("reset");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /give --yes/);
  const { pid } = JSON.parse(await out("status", "--json")) as { pid: number };
  process.kill(pid, "SIGKILL");
  assert.match(await out("reset", "--yes"), /is gone/);
  await assertNothingLeft();

  // Nor when somebody has deleted the folders under a running container.
  await out("up", "-d");
  await importBusybox(berth);
  await out("run", "-d", "-p", "127.0.0.1::80", "busybox", "sleep", "61.5");
  process.kill((JSON.parse(await out("status", "--json")) as { pid: number }).pid, "SIGKILL");
  for (const { mountPoint } of listMounts().reverse())
    if (mountPoint.startsWith(berth.directory)) await run("umount", ["-l", mountPoint]);
  for (const folder of [berth.dataDir, berth.runtimeDir]) rmSync(folder, { recursive: true, force: true });
  assert.match(await out("reset", "--yes"), /is gone/);
  await assertNothingLeft();
  assert.equal((await run("pgrep", ["-f", "^sleep 61.5$"])).stdout, "");
  assert.match(await out("reset", "--yes"), /has nothing to remove/);
});

async function assertNothingLeft(): Promise<void> {
  const name = kernelName(berth.instance);
  assert.equal(existsSync(berth.dataDir), false);
  assert.equal(existsSync(berth.runtimeDir), false);
  assert.doesNotMatch((await run("ip", ["-o", "link"])).stdout, new RegExp(name));
  assert.doesNotMatch((await run("nft", ["list", "tables"])).stdout, new RegExp(name));
  assert.doesNotMatch(readFileSync("/proc/self/mountinfo", "utf8"), new RegExp(berth.directory));
  const groups = readdirSync("/sys/fs/cgroup").flatMap((entry) => {
    try {
      return readdirSync(path.join("/sys/fs/cgroup", entry));
    } catch {
      return [entry];
    }
  });
  assert.deepEqual(
    groups.filter((group) => group.startsWith(name)),
    [],
  );
}
