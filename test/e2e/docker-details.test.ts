/** What users of Docker rely on without knowing it, by the real docker CLI. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { kernelName } from "../../src/base/index.ts";
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

const latin1 = (text: string) => Buffer.from(text, "latin1");

test("names of files that aren't UTF-8 pass through build, commit, diff and cp", async () => {
  const context = path.join(scratch, "names");
  mkdirSync(context);
  writeFileSync(latin1(`${context}/caf\xe9`), "from the context");
  writeFileSync(path.join(context, "Dockerfile"), "FROM busybox\nCOPY . /c/\n");
  await berth.docker("build", "-q", "-t", "names", context);
  const script =
    'cat /c/$(printf "caf\\351"); mkdir /$(printf "d\\377"); echo x > /$(printf "d\\377/e\\376"); rm /c/caf*';
  assert.equal(await out("run", "--name", "names", "--network=none", "names", "sh", "-c", script), "from the context");
  assert.deepEqual((await out("diff", "names")).split("\n").sort(), [
    "A /d\uFFFD",
    "A /d\uFFFD/e\uFFFD",
    "C /c",
    "D /c/caf\uFFFD",
  ]);
  await berth.docker("commit", "names", "names:2");
  const look = 'cat /$(printf "d\\377/e\\376"); ls /c';
  assert.equal(await out("run", "--rm", "--network=none", "names:2", "sh", "-c", look), "x\nDockerfile");
  const target = path.join(scratch, "copied");
  mkdirSync(target);
  // By a shell: node's own arguments are text.
  execFileSync("sh", ["-c", `docker cp "names:/$(printf 'd\\377')" ${target} && docker cp ${target}/. names:/tmp`], {
    env: berth.env,
  });
  assert.deepEqual(readdirSync(target, "latin1"), ["d\xff"]);
  assert.match(
    execFileSync("docker", ["cp", "names:/tmp", "-"], { env: berth.env }).toString("latin1"),
    /tmp\/d\xff\/e\xfe/,
  );
});

test("logs: since, until, timestamps and tail, also of a log that is rotated while it is followed", async () => {
  await berth.docker(
    "run",
    "--name",
    "logged",
    "--network=none",
    "busybox",
    "sh",
    "-c",
    "for i in 1 2 3; do echo $i; sleep 0.1; done",
  );
  const stamped = (await out("logs", "-t", "logged")).split("\n").map((line) => line.split(" "));
  assert.deepEqual(
    stamped.map(([, text]) => text),
    ["1", "2", "3"],
  );
  for (const [time] of stamped) assert.match(time!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  const second = stamped[1]![0]!;
  assert.equal(await out("logs", "--since", second, "logged"), "2\n3");
  assert.equal(await out("logs", "--until", second, "logged"), "1\n2");
  assert.equal(await out("logs", "--since", second, "--until", second, "logged"), "2");
  assert.equal(await out("logs", "--since", "10m", "--tail", "1", "logged"), "3");
  assert.equal(await out("logs", "--until", "10m", "logged"), "");

  const lines = 3000;
  const script = `for i in $(seq ${lines}); do echo line $i of a log that is rotated; [ $((i % 50)) = 0 ] && sleep 0.02; done; sleep 600`;
  const options = ["--log-opt", "max-size=20k", "--log-opt", "max-file=5", "--network=none"];
  await berth.docker("run", "-d", "--name", "rotated", ...options, "busybox", "sh", "-c", script);
  const following = out("logs", "-f", "rotated");
  const file = await out("inspect", "-f", "{{.LogPath}}", "rotated");
  const isWritten = async () => (await out("logs", "--tail", "1", "rotated")).startsWith(`line ${lines} `);
  while (!existsSync(`${file}.1`) || !(await isWritten())) await pause(50);
  await berth.docker("kill", "rotated");
  const numbers = (text: string) => text.split("\n").map((line) => Number(line.split(" ")[1]));
  const followed = numbers(await following);
  assert.deepEqual(
    followed,
    Array.from({ length: lines }, (_, index) => index + 1),
  );
  const kept = numbers(await out("logs", "rotated"));
  assert.deepEqual(kept, followed.slice(-kept.length));
  const wrong = await berth.dockerWith({}, "run", "--log-opt", "max-file=0", "busybox", "true");
  assert.match(wrong.stderr, /failed to initialize logging driver: max-file cannot be less than 1/);
});

test("a chain of others that drops what is forwarded is told by info and status, with the rules to add", async () => {
  // It drops nothing, since all is accepted before; it only looks like a firewall's.
  const table = `firewall-of-test-${process.pid}`;
  const chain = "type filter hook forward priority 0; policy accept; accept; drop;";
  execFileSync("nft", ["-f", "-"], { input: `table inet ${table} {\nchain guard { ${chain} }\n}\n` });
  try {
    const wanted = new RegExp(`nft insert rule inet ${table} guard iifname "${kernelName(berth.instance)}\\*" accept`);
    assert.match((await berth.docker("info")).stderr, wanted);
    assert.match((await berth.berth("status")).stdout, wanted);
  } finally {
    execFileSync("nft", ["delete", "table", "inet", table]);
  }
});

test("a container knows that it is Docker's; what is looked up at its start may come after its creation", async () => {
  const marks = "ls -a / | grep dockerenv; readlink /etc/mtab";
  assert.equal(
    await out("run", "--name", "marked", "--network=none", "busybox", "sh", "-c", marks),
    ".dockerenv\n/proc/mounts",
  );
  assert.equal(await out("diff", "marked"), "");
  await berth.docker("create", "--name", "early", "--network", "later", "busybox", "true");
  const absent = await berth.dockerWith({}, "start", "early");
  assert.match(absent.stderr, /network later not found/);
  await berth.docker("network", "create", "later");
  await berth.docker("start", "-a", "early");
  for (const flag of ["--volumes-from=nobody", "--pid=container:nobody", "--link=nobody"]) {
    const { stderr } = await berth.dockerWith({}, "run", "--rm", flag, "busybox", "true");
    assert.match(stderr, /Error response from daemon: .*No such container: nobody/, "and not that the image is absent");
  }
  const update = await berth.dockerWith({}, "update", "--restart", "sometimes", "marked");
  assert.match(update.stderr, /unknown policy 'sometimes'/);
});

test("cp of a running container's root leaves out what the kernel makes up in it", async () => {
  await berth.docker("run", "-d", "--name", "whole", "--network=none", "--tmpfs=/scratch", "busybox", "sleep", "600");
  const target = path.join(scratch, "whole");
  mkdirSync(target);
  await berth.docker("cp", "whole:/.", target);
  assert.deepEqual(
    ["proc", "sys", "scratch"].map((name) => readdirSync(path.join(target, name))),
    [[], [], []],
  );
  assert.ok(readdirSync(path.join(target, "bin")).includes("busybox"));
  await berth.docker("rm", "-f", "whole");
});
