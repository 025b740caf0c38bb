/** `userns-remap`: containers whose root is nobody on the host, by the real docker CLI. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { importBusybox } from "../support/images.ts";

const SUBORDINATE = ["/etc/subuid", "/etc/subgid"];
const before_ = new Map<string, string | undefined>();
let berth: TestBerth;
let rootUid: number;

before(async () => {
  for (const file of SUBORDINATE) before_.set(file, fs.existsSync(file) ? fs.readFileSync(file, "utf8") : undefined);
  berth = await startBerth({ start: false });
  // The container's root must be able to walk to its files.
  fs.chmodSync(berth.directory, 0o711);
  fs.writeFileSync(path.join(berth.directory, "daemon.json"), JSON.stringify({ "userns-remap": "default" }));
  await berth.start();
  await importBusybox(berth);
  rootUid = Number(/^dockremap:(\d+):/m.exec(fs.readFileSync("/etc/subuid", "utf8"))![1]);
});

after(async () => {
  await berth?.stop();
  for (const [file, text] of before_) {
    if (text === undefined) fs.rmSync(file, { force: true });
    else fs.writeFileSync(file, text);
  }
});

const run = async (...args: string[]) => (await berth.docker("run", "--rm", ...args)).stdout.trim();

test("root in the container is a subordinate user of the host, and owns its files", async () => {
  await berth.docker(
    "run",
    "-d",
    "--name",
    "web",
    "-p",
    "127.0.0.1::80",
    "busybox",
    "sh",
    "-c",
    "echo hi > /made; httpd -f -p 80 -h /",
  );
  const pid = (await berth.docker("inspect", "-f", "{{.State.Pid}}", "web")).stdout.trim();
  const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
  assert.equal(/^Uid:\s+(\d+)/m.exec(status)![1], String(rootUid));
  assert.equal(await run("busybox", "sh", "-c", "id -u; stat -c %u:%g /bin /tmp"), "0\n0:0\n0:0");
  const { stdout } = await berth.docker(
    "exec",
    "web",
    "sh",
    "-c",
    "id -u; stat -c %u /made; chown 1000 /made; stat -c %u /made",
  );
  assert.equal(stdout, "0\n0\n1000\n");
  const address = (await berth.docker("port", "web", "80")).stdout.trim();
  assert.equal(await (await fetch(`http://${address}/made`)).text(), "hi\n");
  // Rights over the network are those over its own.
  await berth.docker("exec", "web", "ip", "link", "add", "dummy0", "type", "bridge").then(
    () => assert.fail("NET_ADMIN is not among the default capabilities"),
    () => {},
  );
  assert.match(
    await run("--cap-add", "NET_ADMIN", "busybox", "sh", "-c", "ip addr add 10.99.0.1/32 dev lo && ip addr show lo"),
    /10\.99\.0\.1/,
  );
  assert.equal(await run("--user", "1000", "busybox", "id", "-u"), "1000");
});

test("volumes, copies, diffs and commits know nothing of it", async () => {
  await berth.docker("volume", "create", "data");
  await run("-v", "data:/data", "busybox", "sh", "-c", "echo x > /data/f; chown 5:6 /data/f");
  const mountpoint = (await berth.docker("volume", "inspect", "-f", "{{.Mountpoint}}", "data")).stdout.trim();
  const facts = fs.statSync(path.join(mountpoint, "f"));
  assert.deepEqual([facts.uid, facts.gid], [5, 6]);
  assert.equal(await run("--userns=host", "-v", "data:/data", "busybox", "stat", "-c", "%u:%g", "/data/f"), "5:6");
  // Into and out of a running container, and a stopped one.
  const file = path.join(berth.directory, "copied");
  fs.writeFileSync(file, "copied");
  for (const name of ["web", "idle"]) {
    if (name === "idle")
      await berth.docker("create", "--name", "idle", "-v", "data:/data", "busybox", "stat", "-c", "%u", "/copied");
    await berth.docker("cp", file, `${name}:/copied`);
    await berth.docker("cp", "-a", `${name}:/copied`, path.join(berth.directory, `back-${name}`));
    assert.equal(fs.statSync(path.join(berth.directory, `back-${name}`)).uid, 0);
  }
  assert.equal((await berth.docker("exec", "web", "stat", "-c", "%u", "/copied")).stdout, "0\n");
  assert.equal((await berth.docker("start", "-a", "idle")).stdout, "0\n");
  assert.match((await berth.docker("diff", "web")).stdout, /^A \/made$/m);
  await berth.docker("commit", "web", "committed");
  assert.equal(await run("--userns=host", "committed", "stat", "-c", "%u", "/made"), "1000");
});

test("builds make images whose files belong to root", async () => {
  const folder = path.join(berth.directory, "build");
  fs.mkdirSync(folder);
  fs.writeFileSync(
    path.join(folder, "Dockerfile"),
    "FROM busybox\nWORKDIR /w\nRUN echo built > f && chown 7 f\nVOLUME /w\n",
  );
  await berth.docker("build", "-t", "built", folder);
  assert.equal(await run("built", "stat", "-c", "%u:%g", "/w/f", "/w"), "7:0\n0:0");
});

test("a second container joins the first's network; the daemon finds them again; what can't be remapped is refused", async () => {
  await berth.docker("run", "-d", "--name", "joined", "--network", "container:web", "busybox", "sleep", "1000");
  assert.match((await berth.docker("exec", "joined", "wget", "-qO-", "http://127.0.0.1/made")).stdout, /hi/);
  await berth.kill();
  await berth.start();
  assert.equal((await berth.docker("exec", "web", "id", "-u")).stdout, "0\n");
  const refused = await berth.dockerWith({}, "run", "--rm", "--privileged", "busybox", "true");
  assert.match(refused.stderr, /privileged mode is incompatible with user namespaces/);
  const host = await berth.dockerWith({}, "run", "--rm", "--network", "host", "busybox", "true");
  assert.match(host.stderr, /cannot share the host's network namespace/);
  const own = fs.readlinkSync("/proc/self/ns/user");
  assert.equal(await run("--userns=host", "busybox", "sh", "-c", "ls -l /proc/self/ns/user | sed s/.*-..//"), own);
  assert.match((await berth.docker("info", "-f", "{{.SecurityOptions}}")).stdout, /name=userns/);
});
