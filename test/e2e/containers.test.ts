/** Docker's containers with the real docker CLI against a real daemon: run, exec, logs, cp, limits, restarts, and a killed daemon. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";

const APPLETS =
  "sh ash cat echo sleep true false id ps ls grep test touch hostname pwd env stty seq head tail rm ln mkdir mount wc kill dd";
let berth: TestBerth;

before(async () => {
  berth = await startBerth();
  const root = path.join(berth.directory, "rootfs");
  for (const directory of ["bin", "proc", "sys", "dev", "etc", "tmp", "vol"])
    mkdirSync(path.join(root, directory), { recursive: true });
  cpSync("/usr/bin/busybox", path.join(root, "bin/busybox"));
  for (const name of APPLETS.split(" ")) symlinkSync("busybox", path.join(root, "bin", name));
  writeFileSync(path.join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
  writeFileSync(path.join(root, "etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n");
  writeFileSync(path.join(root, "vol/seed"), "seed\n");
  const tar = path.join(berth.directory, "busybox.tar");
  execFileSync("tar", ["-C", root, "-cf", tar, "."]);
  await berth.docker("import", "-c", 'CMD ["sh"]', "-c", "ENV PATH=/bin FROM_IMAGE=yes", tar, "busybox:latest");
});
after(() => berth?.stop());

const docker = (...args: string[]) => berth.docker(...args);
const any = (...args: string[]) => berth.dockerWith({}, ...args);
const inspect = async (format: string, name: string) => (await docker("inspect", "-f", format, name)).stdout.trim();

async function eventually(what: string, check: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`${what} did not happen`);
}

test("run: output, exit code, stdin, TTY, and nothing left behind", async () => {
  assert.equal((await docker("run", "--rm", "busybox", "echo", "hi")).stdout, "hi\n");
  const failed = await any("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 9");
  assert.deepEqual([failed.code, failed.stdout, failed.stderr], [9, "out\n", "err\n"]);
  assert.equal((await berth.dockerWith({ input: "typed\n" }, "run", "-i", "--rm", "busybox", "cat")).stdout, "typed\n");
  const much = { input: Buffer.alloc(3_000_000, "x") };
  assert.equal((await berth.dockerWith(much, "run", "-i", "--rm", "busybox", "wc", "-c")).stdout.trim(), "3000000");
  assert.equal((await docker("run", "--rm", "-t", "busybox", "sh", "-c", "test -t 1 && echo tty")).stdout, "tty\r\n");
  assert.equal((await docker("ps", "-aq")).stdout, "");
});

test("a program that cannot be started: 127, 126, and Docker's words", async () => {
  const missing = await any("run", "--rm", "busybox", "nope");
  assert.equal(missing.code, 127);
  assert.match(missing.stderr, /exec: "nope": executable file not found in \$PATH/);
  assert.equal((await any("run", "--rm", "busybox", "/etc")).code, 126);
  assert.equal((await docker("ps", "-aq")).stdout, "");
});

test("names: a clash, an unknown one, an invalid one", async () => {
  await docker("create", "--name", "taken", "busybox");
  const clash = await any("create", "--name", "taken", "busybox");
  assert.match(clash.stderr, /Conflict\. The container name "\/taken" is already in use by container "[0-9a-f]{64}"/);
  assert.match((await any("rm", "nosuch")).stderr, /Error response from daemon: No such container: nosuch/);
  assert.match((await any("create", "--name", "?", "busybox")).stderr, /Invalid container name \(\?\)/);
  await docker("rename", "taken", "renamed");
  await docker("rm", "renamed");
});

test("identity, environment, limits and security reach the process", async () => {
  const script = "id; hostname; pwd; echo $FROM_IMAGE $A; grep -E 'CapEff|NoNew|Seccomp:' /proc/self/status; ulimit -n";
  const flags = "-u user -h box -w /tmp -e A=b --cap-drop ALL --security-opt no-new-privileges --ulimit nofile=100:100";
  const { stdout } = await docker("run", "--rm", ...flags.split(" "), "busybox", "sh", "-c", script);
  assert.match(stdout, /uid=1000\(user\) gid=1000\(user\) groups=.*2000\(extra\)/);
  assert.match(stdout, /\nbox\n\/tmp\nyes b\n/);
  assert.match(stdout, /CapEff:\s+0{16}\n/);
  assert.match(stdout, /NoNewPrivs:\s+1\nSeccomp:\s+2\n/);
  assert.match(stdout, /\n100\n$/);
  await docker("run", "-d", "--name", "limited", "--memory", "32m", "--pids-limit", "20", "busybox", "sleep", "100");
  const group = readFileSync(`/proc/${await inspect("{{.State.Pid}}", "limited")}/cgroup`, "utf8");
  const own = /:(?:pids)?:(\S+)$/m.exec(group)![1]!;
  const limit = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
    .map((root) => path.join(root, own, "pids.max"))
    .find((file) => existsSync(file))!;
  assert.equal(readFileSync(limit, "utf8").trim(), "20");
  await docker("update", "--pids-limit", "30", "limited");
  assert.equal(readFileSync(limit, "utf8").trim(), "30");
  const stats = (await docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "limited")).stdout;
  assert.match(stats, /\/ 32MiB 1$/m);
  await docker("rm", "-f", "limited");
});

test("a privileged container and another runtime", async () => {
  assert.match(
    (await docker("run", "--rm", "--privileged", "busybox", "grep", "Seccomp:", "/proc/self/status")).stdout,
    /0/,
  );
  const seen = (await docker("run", "--rm", "--privileged", "busybox", "ls", "/dev")).stdout.split("\n");
  const devices = readdirSync("/dev", { withFileTypes: true }).filter(
    (entry) => entry.isCharacterDevice() && entry.name !== "console",
  );
  assert.deepEqual(
    devices.map(({ name }) => name).filter((name) => !seen.includes(name)),
    [],
  );
  assert.equal((await docker("run", "--rm", "--runtime", "runc", "busybox", "echo", "runc")).stdout, "runc\n");
  assert.match(
    (await any("run", "--rm", "--runtime", "nope", "busybox", "true")).stderr,
    /unknown or invalid runtime name: nope/,
  );
  assert.match((await docker("run", "--rm", "--init", "busybox", "ps")).stdout, /1 .*docker-init/);
});

test("exec, top, pause, kill, stop, wait, start, logs", async () => {
  await docker(
    "run",
    "-d",
    "--name",
    "work",
    "busybox",
    "sh",
    "-c",
    "trap 'exit 5' TERM; for i in 1 2 3; do echo line $i; done; while :; do sleep 0.1; done",
  );
  const ran = await any("exec", "-e", "B=c", "-w", "/bin", "work", "sh", "-c", "echo $B; pwd; exit 3");
  assert.deepEqual([ran.code, ran.stdout], [3, "c\n/bin\n"]);
  const missing = await any("exec", "work", "nope");
  assert.equal(missing.code, 127);
  assert.match(missing.stdout + missing.stderr, /OCI runtime exec failed: .*"nope": executable file not found/);
  assert.match((await docker("top", "work")).stdout, /trap 'exit 5' TERM/);
  await docker("pause", "work");
  assert.match((await docker("ps", "--format", "{{.Status}}")).stdout, /\(Paused\)/);
  await docker("unpause", "work");
  await docker("stop", "work");
  assert.equal(await inspect("{{.State.Status}} {{.State.ExitCode}}", "work"), "exited 5");
  assert.equal((await docker("wait", "work")).stdout, "5\n");
  assert.equal((await docker("logs", "work")).stdout, "line 1\nline 2\nline 3\n");
  assert.equal((await docker("logs", "--tail", "1", "work")).stdout, "line 3\n");
  assert.match((await docker("logs", "-t", "--tail", "1", "work")).stdout, /^\d{4}-\d\d-\d\dT[\d:]+\.\d{9}Z line 3\n$/);
  await docker("start", "work");
  await docker("kill", "-s", "KILL", "work");
  assert.equal(await inspect("{{.State.ExitCode}}", "work"), "137");
  assert.match((await any("kill", "work")).stderr, /is not running/);
  await docker("rm", "work");
});

test("logs --follow ends with the container and has all of it", async () => {
  await docker(
    "run",
    "-d",
    "--name",
    "talker",
    "busybox",
    "sh",
    "-c",
    "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done",
  );
  assert.equal((await docker("logs", "-f", "talker")).stdout, "1\n2\n3\n4\n5\n");
  await docker("rm", "talker");
});

test("volumes are filled from the image, shared and kept; binds and tmpfs mount", async () => {
  const source = path.join(berth.directory, "source");
  mkdirSync(source);
  writeFileSync(path.join(source, "file"), "bound\n");
  const flags = ["-v", "named:/vol", "-v", `${source}:/mnt/bind:ro`, "--tmpfs", "/scratch:size=1m"];
  const script =
    "cat /vol/seed /mnt/bind/file; echo kept > /vol/kept; touch /mnt/bind/x || echo readonly; grep -c ' /scratch tmpfs' /proc/mounts";
  assert.equal(
    (await any("run", "--rm", ...flags, "busybox", "sh", "-c", script)).stdout,
    "seed\nbound\nreadonly\n1\n",
  );
  assert.equal((await docker("run", "--rm", "-v", "named:/x", "busybox", "cat", "/x/kept")).stdout, "kept\n");
});

test("cp both ways stays inside the container, whatever its symlinks say", async () => {
  const local = path.join(berth.directory, "cp");
  mkdirSync(path.join(local, "dir"), { recursive: true });
  writeFileSync(path.join(local, "dir/one"), "one\n");
  await docker(
    "run",
    "-d",
    "--name",
    "files",
    "busybox",
    "sh",
    "-c",
    `ln -s ${local} /escape; mkdir -p ${local}; sleep 100`,
  );
  await docker("cp", path.join(local, "dir"), "files:/tmp/");
  assert.equal((await docker("exec", "files", "cat", "/tmp/dir/one")).stdout, "one\n");
  await docker("cp", path.join(local, "dir/one"), "files:/escape/planted");
  assert.equal(existsSync(path.join(local, "planted")), false);
  await docker("cp", "files:/tmp/dir", path.join(local, "back"));
  assert.equal(readFileSync(path.join(local, "back/one"), "utf8"), "one\n");
  assert.match((await any("cp", "files:/nosuch", local)).stderr, /Could not find the file \/nosuch in container files/);
  await docker("stop", "-t", "0", "files");
  await docker("cp", "files:/tmp/dir/one", path.join(local, "stopped"));
  assert.equal(readFileSync(path.join(local, "stopped"), "utf8"), "one\n");
  const diff = (await docker("diff", "files")).stdout.split("\n");
  assert.ok(diff.includes("A /tmp/dir/one"));
  assert.ok(!diff.some((line) => line.includes("resolv.conf")));
  await docker("rm", "-v", "files");
  rmSync(local, { recursive: true, force: true });
});

test("health checks and restart policies", async () => {
  await docker(
    "run",
    "-d",
    "--name",
    "well",
    "--health-cmd",
    "test -e /tmp/ok",
    "--health-interval",
    "200ms",
    "--health-retries",
    "2",
    "busybox",
    "sleep",
    "100",
  );
  await eventually("unhealthy", async () => (await inspect("{{.State.Health.Status}}", "well")) === "unhealthy");
  await docker("exec", "well", "touch", "/tmp/ok");
  await eventually("healthy", async () => (await inspect("{{.State.Health.Status}}", "well")) === "healthy");
  await docker("rm", "-f", "well");
  await docker("run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 3");
  await eventually(
    "two restarts",
    async () => (await inspect("{{.RestartCount}} {{.State.Status}}", "again")) === "2 exited",
  );
  assert.equal((await docker("logs", "again")).stdout, "run\nrun\nrun\n");
  await docker("rm", "again");
});

test("a monitor that is killed takes its container with it, unasked: 137, and the restart policy applies", async () => {
  const killMonitor = async (name: string) => {
    const status = readFileSync(`/proc/${await inspect("{{.State.Pid}}", name)}/status`, "utf8");
    const monitor = Number(/^PPid:\s+(\d+)/m.exec(status)![1]);
    assert.match(readFileSync(`/proc/${monitor}/comm`, "utf8"), /^conmon/);
    process.kill(monitor, "SIGKILL");
  };
  await docker("run", "-d", "--name", "once", "busybox", "sleep", "1000");
  await docker("run", "-d", "--name", "anew", "--restart", "always", "busybox", "sleep", "1000");
  await Promise.all(["once", "anew"].map(killMonitor));
  const listed = async (status: string) =>
    (await docker("ps", "-a", "--filter", `status=${status}`, "--format", "{{.Names}}")).stdout;
  await eventually("the end", async () => (await listed("exited")).includes("once"));
  assert.equal(await inspect("{{.State.ExitCode}} {{.State.Pid}}", "once"), "137 0");
  await eventually(
    "the restart",
    async () => (await inspect("{{.RestartCount}} {{.State.Status}}", "anew")) === "1 running",
  );
  await docker("rm", "-f", "once", "anew");
});

test("list filters and prune", async () => {
  await docker("create", "--name", "first", "--label", "tier=a", "busybox");
  await docker("run", "--name", "second", "--label", "tier=b", "busybox", "sh", "-c", "exit 4").catch(() => {});
  const names = async (...filters: string[]) =>
    (
      await docker("ps", "-a", "--format", "{{.Names}}", ...filters.flatMap((filter) => ["--filter", filter]))
    ).stdout.trim();
  assert.equal(await names("label=tier=a"), "first");
  assert.equal(await names("exited=4"), "second");
  assert.equal(await names("status=created"), "first");
  assert.equal(await names("name=^sec"), "second");
  assert.equal(await names("since=first"), "second");
  await docker("container", "prune", "-f", "--filter", "label=tier");
  assert.equal(await names(), "");
});

test("a killed daemon: containers run on, and are found again with logs and exit codes", async () => {
  await docker("run", "-d", "--name", "survivor", "busybox", "sh", "-c", "while :; do echo alive; sleep 0.1; done");
  await docker("run", "-d", "--name", "ender", "busybox", "sh", "-c", "sleep 0.5; echo last; exit 4");
  await docker("run", "-d", "--name", "always", "--restart", "always", "busybox", "sh", "-c", "sleep 0.4; exit 1");
  const pid = await inspect("{{.State.Pid}}", "survivor");
  await berth.kill();
  await new Promise((resolve) => setTimeout(resolve, 900));
  await berth.start();
  assert.equal(await inspect("{{.State.Status}} {{.State.Pid}}", "survivor"), `running ${pid}`);
  assert.equal((await docker("exec", "survivor", "echo", "still")).stdout, "still\n");
  await eventually(
    "the exit code",
    async () => (await inspect("{{.State.Status}} {{.State.ExitCode}}", "ender")) === "exited 4",
  );
  assert.equal((await docker("logs", "ender")).stdout, "last\n");
  await eventually(
    "the restart",
    async () =>
      Number(await inspect("{{.RestartCount}}", "always")) > 0 ||
      (await inspect("{{.State.Running}}", "always")) === "true",
  );
  await docker("rm", "-f", "survivor", "ender", "always");
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
  assert.deepEqual(
    mounts.filter((line) => line.includes(`${berth.directory}/run/containers/`)),
    [],
  );
});

test("ten at once", async () => {
  const runs = await Promise.all(
    Array.from({ length: 10 }, (_, index) => docker("run", "--rm", "busybox", "echo", String(index))),
  );
  assert.deepEqual(
    runs.map(({ stdout }) => stdout.trim()),
    Array.from({ length: 10 }, (_, index) => String(index)),
  );
});

test("mounts of images are read-only; cp reaches the volumes of a stopped container and keeps attributes", async () => {
  const image = await any(
    "run",
    "--rm",
    "--mount",
    "type=image,source=busybox,target=/i,image-subpath=vol",
    "busybox",
    "sh",
    "-c",
    "cat /i/seed; touch /i/x",
  );
  assert.equal(image.stdout, "seed\n");
  assert.match(image.stderr, /Read-only file system/);
  const absent = await any(
    "run",
    "--rm",
    "--mount",
    "type=image,source=busybox,target=/i,image-subpath=nope",
    "busybox",
    "true",
  );
  assert.match(absent.stderr, /cannot access path nope in image busybox/);
  await docker("create", "--name", "stopped", "-v", "copied:/vol/inner", "busybox", "cat", "/vol/inner/deep/file");
  const folder = path.join(berth.directory, "deep");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "file"), "in the volume\n");
  execFileSync("setcap", ["cap_net_raw+ep", path.join(folder, "file")]);
  await docker("cp", folder, "stopped:/vol/inner");
  assert.equal((await docker("start", "-a", "stopped")).stdout, "in the volume\n");
  await docker("cp", "stopped:/vol/inner/deep/file", path.join(berth.directory, "back"));
  const mountpoint = (await docker("volume", "inspect", "-f", "{{.Mountpoint}}", "copied")).stdout.trim();
  assert.match(execFileSync("getcap", [path.join(mountpoint, "deep/file")], { encoding: "utf8" }), /cap_net_raw/);
  assert.equal(readFileSync(path.join(berth.directory, "back"), "utf8"), "in the volume\n");
  await docker("rm", "stopped");
  await docker("volume", "rm", "copied");
});

test("what this host cannot give is refused in dockerd's words; CDI devices come from their specs", async () => {
  const limited = await any("run", "--rm", "--storage-opt", "size=1G", "busybox", "true");
  assert.match(limited.stderr, /--storage-opt is supported only for overlay over xfs with 'pquota' mount option/);
  const gpu = await any("run", "--rm", "--gpus", "all", "busybox", "true");
  assert.match(gpu.stderr, /could not select device driver "" with capabilities: \[\[gpu\]\]/);
  const device = await any("run", "--rm", "--device", "berth.test/none=x", "busybox", "true");
  assert.match(device.stderr, /unresolvable CDI devices berth\.test\/none=x/);
  assert.equal((await docker("ps", "-aq")).stdout, "");
});

test("the daemon's configuration gives what containers don't say", async () => {
  await berth.down();
  writeFileSync(
    path.join(berth.directory, "daemon.json"),
    JSON.stringify({
      "default-ulimits": { nofile: { Name: "nofile", Soft: 77, Hard: 99 } },
      "default-shm-size": "8M",
      "log-driver": "local",
      "log-opts": { "max-size": "1m" },
      dns: ["10.1.2.3"],
      "dns-search": ["corp.test"],
      "dns-opts": ["ndots:3"],
      "no-new-privileges": true,
      labels: ["site=here"],
      "live-restore": true,
    }),
  );
  await berth.start();
  const { stdout } = await docker(
    "run",
    "--name",
    "told",
    "busybox",
    "sh",
    "-c",
    "ulimit -n; ulimit -Hn; cat /etc/resolv.conf; grep NoNewPrivs /proc/self/status",
  );
  assert.match(stdout, /^77\n99\n/);
  assert.match(stdout, /nameserver 10\.1\.2\.3\nsearch corp\.test\noptions ndots:3\n/);
  assert.match(stdout, /NoNewPrivs:\s+1/);
  assert.equal(
    await inspect("{{.HostConfig.ShmSize}} {{.HostConfig.LogConfig}}", "told"),
    "8388608 {local map[max-size:1m]}",
  );
  assert.match((await docker("info", "-f", "{{.Labels}} {{.LoggingDriver}}")).stdout, /site=here.* local/);
  await docker("rm", "told");
  const file = path.join(berth.directory, "daemon.json");
  writeFileSync(
    file,
    JSON.stringify({ labels: ["site=there"], "default-runtime": "runc", "registry-mirrors": ["http://mirror.test"] }),
  );
  process.kill(berth.pid, "SIGHUP");
  await eventually("the reload", async () => /site=there/.test((await docker("info", "-f", "{{.Labels}}")).stdout));
  const info = await docker("info", "-f", "{{.DefaultRuntime}} {{.RegistryConfig.Mirrors}}");
  assert.equal(info.stdout.trim(), "runc [http://mirror.test]");
  await docker("run", "--name", "other", "busybox", "true");
  assert.equal(await inspect("{{.HostConfig.Runtime}}", "other"), "runc");
  await docker("rm", "other");
  // What cannot be read changes nothing.
  writeFileSync(file, "{");
  process.kill(berth.pid, "SIGHUP");
  await eventually("the refusal", async () => /the configuration was not reloaded/.test(berth.daemonLog()));
  rmSync(file);
  assert.match((await docker("info", "-f", "{{.Labels}}")).stdout, /site=there/);
});
