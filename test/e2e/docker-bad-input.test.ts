/** What users, archives, registries and disks do wrong, with the real docker CLI: a clear error, Docker's status code, and nothing left. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { seededRandom } from "../../src/base/index.ts";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { startDebianRegistry } from "../support/image-engine.ts";
import { importBusybox } from "../support/images.ts";

let berth: TestBerth;
let work: string;
let calm: string[];
before(async () => {
  berth = await startBerth();
  await importBusybox(berth);
  work = path.join(berth.directory, "work");
  fs.mkdirSync(work);
  calm = leftovers();
});
after(() => berth?.stop());
afterEach(async () => {
  const all = (await berth.docker("ps", "-aq")).stdout.split("\n").filter(Boolean);
  assert.deepEqual(all, [], "a container was left");
  for (let tries = 0; tries < 40 && leftovers().join() !== calm.join(); tries++) await pause(50);
  assert.deepEqual(leftovers(), calm);
});

/** Mounts, drafts and unfinished uploads. */
function leftovers(): string[] {
  const list = (folder: string) => {
    const full = path.join(berth.dataDir, folder);
    return fs.existsSync(full) ? fs.readdirSync(full).map((name) => `${folder}/${name}`) : [];
  };
  const mounts = fs.readFileSync("/proc/self/mountinfo", "utf8").match(new RegExp(`${berth.directory}\\S*`, "g")) ?? [];
  return [...mounts, ...list("snapshots/s"), ...list("build/scratch"), ...list("containers")].sort();
}

const any = (...args: string[]) => berth.dockerWith({}, ...args);
async function fails(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await any(...args);
  assert.notEqual(code, 0, `docker ${args.join(" ")} worked: ${stdout}`);
  return stderr;
}

function post(pathName: string, body: string | Buffer, type = "application/json") {
  return new Promise<{ status: number; text: string }>((resolve, reject) => {
    const request = http.request(
      { socketPath: berth.dockerSocket, method: "POST", path: pathName, headers: { "content-type": type } },
      (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk));
        response.on("end", () => resolve({ status: response.statusCode!, text }));
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

test("create: fields of wrong types are the client's fault, never the server's", async () => {
  const wrong = [5, true, "text", [], {}, [5], { a: 5 }, [{ a: [] }], [null], null, -1, 1e300];
  const top = ["Cmd", "Env", "Entrypoint", "Labels", "ExposedPorts", "Volumes", "Healthcheck", "User", "WorkingDir"];
  const more = ["Hostname", "StopSignal", "StopTimeout", "Shell", "HostConfig", "NetworkingConfig", "Tty", "OnBuild"];
  const host = ["Binds", "Mounts", "PortBindings", "RestartPolicy", "LogConfig", "NetworkMode", "CapAdd", "Devices"];
  const host2 = ["Ulimits", "Tmpfs", "Sysctls", "Memory", "NanoCpus", "ExtraHosts", "Dns", "SecurityOpt", "ShmSize"];
  const host3 = ["PidMode", "IpcMode", "VolumesFrom", "GroupAdd", "Annotations", "DeviceRequests", "Init", "Runtime"];
  const bodies = [
    ...[...top, ...more].flatMap((key) => wrong.map((value) => ({ Image: "busybox", [key]: value }))),
    ...[...host, ...host2, ...host3].flatMap((key) =>
      wrong.map((value) => ({ Image: "busybox", HostConfig: { [key]: value } })),
    ),
    ...wrong.map((value) => ({ Image: value })),
  ];
  const bad: string[] = [];
  const accepted: string[] = [];
  for (const body of bodies) {
    const { status, text } = await post("/v1.50/containers/create", JSON.stringify(body));
    if (status >= 500) bad.push(`${JSON.stringify(body)}: ${status} ${text.trim()}`);
    if (status === 201) accepted.push((JSON.parse(text) as { Id: string }).Id);
  }
  // The CLI decodes each field by its Go type: what was accepted must be readable again.
  await berth.docker("inspect", ...accepted);
  await berth.docker("rm", "-fv", ...accepted);
  assert.deepEqual(bad, []);
});

test("bodies that are no JSON, too deep or too large get 400", async () => {
  for (const body of ["{", "[]", '"x"', "nul", "", `${"[".repeat(100_000)}`, Buffer.from([0xff, 0xfe, 0x00])]) {
    const { status, text } = await post("/v1.50/containers/create", body);
    assert.equal(status, 400, `${String(body).slice(0, 20)}: ${status} ${text}`);
    assert.equal(typeof (JSON.parse(text) as { message: string }).message, "string");
  }
});

test("names and starts that clash: exactly one wins, nobody hangs", async () => {
  const created = await Promise.all(
    Array.from({ length: 8 }, () => any("create", "--name", "one", "busybox", "sleep", "60")),
  );
  assert.equal(created.filter(({ code }) => code === 0).length, 1);
  for (const { code, stderr } of created) if (code !== 0) assert.match(stderr, /Conflict\. The container name "\/one"/);
  const starts = await Promise.all(Array.from({ length: 5 }, () => any("start", "one")));
  for (const { code, stderr } of starts) assert.equal(code, 0, stderr);
  const ends = await Promise.all([
    any("stop", "-t", "0", "one"),
    any("kill", "one"),
    any("rm", "-f", "one"),
    any("rm", "-f", "one"),
    any("restart", "-t", "0", "one"),
  ]);
  assert.ok(ends.length === 5);
  await any("rm", "-f", "one");
});

test("a port in use is named, and the container can be started when it is free", async () => {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as net.AddressInfo;
  const said = await fails("run", "-d", "--name", "port", "-p", `127.0.0.1:${port}:80`, "busybox", "sleep", "60");
  assert.match(said, new RegExp(`127\\.0\\.0\\.1:${port}.*(port is already allocated|address already in use)`));
  await new Promise((resolve) => server.close(resolve));
  await berth.docker("start", "port");
  await berth.docker("rm", "-f", "port");
});

test("a working directory that leads through leaked descriptors stays in the container", async () => {
  fs.writeFileSync(path.join(work, "host-only"), "secret of the host\n");
  const climb = `../../../../../../../../..${work}/host-only`;
  await berth.docker("run", "-d", "--name", "leak", "busybox", "sleep", "60");
  for (let fd = 3; fd < 11; fd++) {
    const cwd = `/proc/self/fd/${fd}`;
    for (const runtime of fd === 7 ? ["crun", "runc"] : ["crun"]) {
      const flags = ["--rm", "--network", "none", "--runtime", runtime, "-w", cwd];
      const { stdout } = await any("run", ...flags, "busybox", "cat", climb);
      assert.doesNotMatch(stdout, /secret/, `run ${runtime} -w ${cwd}`);
    }
    assert.doesNotMatch((await any("exec", "-w", cwd, "leak", "cat", climb)).stdout, /secret/, `exec -w ${cwd}`);
  }
  await berth.docker("rm", "-f", "leak");
  const folder = path.join(work, "leak");
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, "Dockerfile"), `FROM busybox\nWORKDIR /proc/self/fd/7\nRUN cat ${climb}\n`);
  const built = await any("build", "--no-cache", folder);
  assert.doesNotMatch(built.stdout + built.stderr.replace(/cat \S+/g, ""), /secret of the host/);
});

test("another platform is refused with what there is", async () => {
  assert.match(
    await fails("run", "--rm", "--pull", "never", "--platform", "linux/s390x", "busybox", "true"),
    /busybox.*(does not match the specified platform|platform)/s,
  );
  assert.match(
    await fails("run", "--rm", "--pull", "never", "--platform", "nonsense/", "busybox", "true"),
    /platform|invalid/i,
  );
});

test("archives that are cut off or lie about a layer are refused, and leave nothing", async () => {
  const saved = path.join(work, "saved.tar");
  const tree = path.join(work, "tree");
  fs.mkdirSync(tree);
  fs.writeFileSync(path.join(tree, "data"), seededRandom(4).bytes(300_000));
  execFileSync("tar", ["-C", tree, "-cf", path.join(work, "tree.tar"), "."]);
  await berth.docker("import", path.join(work, "tree.tar"), "lies:1");
  await berth.docker("save", "-o", saved, "lies:1");
  await berth.docker("rmi", "lies:1");
  const whole = fs.readFileSync(saved);
  const cut = path.join(work, "cut.tar");
  fs.writeFileSync(cut, whole.subarray(0, Math.floor(whole.length * 0.6)));
  assert.match(await fails("load", "-i", cut), /truncated|ends|unexpected|archive/i);
  const folder = path.join(work, "unpacked");
  fs.mkdirSync(folder);
  execFileSync("tar", ["-C", folder, "-xf", saved]);
  const blobs = fs.globSync(path.join(folder, "blobs/sha256/*"));
  const layer = blobs.sort((a, b) => fs.statSync(b).size - fs.statSync(a).size)[0]!;
  const bytes = fs.readFileSync(layer);
  bytes[bytes.length >> 1]! ^= 1;
  fs.writeFileSync(layer, bytes);
  const lying = path.join(work, "lying.tar");
  execFileSync("tar", ["-C", folder, "-cf", lying, "."]);
  assert.match(await fails("load", "-i", lying), /sha256:[0-9a-f]{64}/);
  assert.match(await fails("image", "inspect", "lies:1"), /No such image/);
  await berth.docker("load", "-i", saved);
  await berth.docker("rmi", "lies:1");
});

test("a registry that vanishes in the middle of a pull is named; the pull goes on when it is back", async () => {
  const registry = await startDebianRegistry(work);
  const upstream = Number(registry.address.split(":")[1]);
  let budget = Infinity;
  const proxy = net.createServer((client) => {
    const server = net.connect(upstream, "127.0.0.1");
    client.on("error", () => server.destroy());
    server.on("error", () => client.destroy());
    client.pipe(server);
    server.on("data", (chunk) => {
      budget -= chunk.length;
      if (budget < 0) {
        client.destroy();
        server.destroy();
      } else client.write(chunk);
    });
    server.on("end", () => client.end());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const name = `127.0.0.1:${(proxy.address() as net.AddressInfo).port}/big:1`;
  try {
    const folder = path.join(work, "big");
    fs.mkdirSync(folder);
    fs.writeFileSync(path.join(folder, "data"), seededRandom(5).bytes(5_000_000));
    fs.writeFileSync(path.join(folder, "Dockerfile"), "FROM busybox\nCOPY data /\n");
    await berth.docker("build", "-t", name, folder);
    await berth.docker("push", name);
    await berth.docker("rmi", name);
    await berth.docker("builder", "prune", "-af");
    budget = 2_000_000;
    assert.match(await fails("pull", name), new RegExp(name.split("/")[0]!));
    assert.match(await fails("image", "inspect", name), /No such image/);
    budget = Infinity;
    await berth.docker("pull", name);
    assert.equal((await berth.docker("run", "--rm", name, "stat", "-c", "%s", "/data")).stdout, "5000000\n");
    await berth.docker("rmi", name);
  } finally {
    proxy.close();
    await registry.stop();
  }
});

/** Takes the last byte of a disk. */
function fillUp(file: string): void {
  const fd = fs.openSync(file, "w");
  try {
    for (const size of [65_536, 4096, 1]) {
      try {
        for (;;) fs.writeSync(fd, Buffer.alloc(size));
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      }
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** On a disk without room, what is refused says why and is not listed afterwards; what needs no room goes on. */
async function expectNothingHalf(small: TestBerth): Promise<void> {
  const big = path.join(work, "huge/data");
  const listed = async (...args: string[]) => (await small.docker(...args)).stdout.trim().split("\n");
  const attempts: ReadonlyArray<readonly [string[], string[]]> = [
    [
      ["volume", "create", "half"],
      ["volume", "ls", "-q"],
    ],
    [
      ["network", "create", "half"],
      ["network", "ls", "--format", "{{.Name}}"],
    ],
    [
      ["create", "--name", "half", "busybox"],
      ["ps", "-a", "--format", "{{.Names}}"],
    ],
    [
      ["run", "-d", "--name", "half", "-v", "/half", "busybox", "true"],
      ["ps", "-a", "--format", "{{.Names}}"],
    ],
    [
      ["commit", "filler", "half"],
      ["images", "--format", "{{.Repository}}"],
    ],
    [
      ["import", big, "half"],
      ["images", "--format", "{{.Repository}}"],
    ],
    [
      ["tag", "busybox", "half"],
      ["images", "--format", "{{.Repository}}"],
    ],
  ];
  const now = String(Math.ceil(Date.now() / 1000));
  const events = small.dockerWith({}, "events", "--since", "1h", "--until", now);
  for (const [command, list] of attempts) {
    const { code, stderr } = await small.dockerWith({}, ...command);
    const known = (await listed(...list)).includes("half");
    if (code === 0) assert.ok(known, `docker ${command.join(" ")} said it was done`);
    else {
      assert.match(stderr, /no space left on device/i);
      assert.ok(!known, `docker ${command.join(" ")} was refused and is listed`);
    }
  }
  const copied = await small.dockerWith({}, "cp", big, "filler:/copy");
  assert.notEqual(copied.code, 0);
  assert.match(copied.stderr, /no space left on device/i);
  await small.docker("volume", "rm", "kept");
  await small.docker("rmi", "second");
  assert.ok(!(await listed("volume", "ls", "-q")).includes("kept"));
  await small.docker("logs", "filler");
  assert.match((await events).stdout, /container die .*name=filler/);
  await small.docker("version");
}

/** A layer that doesn't fit: said so. That nothing of it stays is seen by who looks at the disk. */
async function expectNoPull(small: TestBerth, layer: Buffer): Promise<void> {
  const digestOf = (bytes: Buffer) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const describe = (bytes: Buffer, type: string) => ({
    mediaType: `application/vnd.oci.image.${type}`,
    digest: digestOf(bytes),
    size: bytes.byteLength,
  });
  const platform = { architecture: process.arch === "arm64" ? "arm64" : "amd64", os: "linux" };
  const config = Buffer.from(
    JSON.stringify({ ...platform, rootfs: { type: "layers", diff_ids: [digestOf(layer)] }, config: {} }),
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: describe(config, "config.v1+json"),
    layers: [describe(layer, "layer.v1.tar")],
  };
  const registry = http.createServer(({ url = "" }, response) => {
    if (url.includes("/manifests/"))
      response.writeHead(200, { "content-type": manifest.mediaType }).end(JSON.stringify(manifest));
    else if (url.endsWith(digestOf(config))) response.end(config);
    else if (url.endsWith(digestOf(layer))) response.end(layer);
    else response.writeHead(404).end();
  });
  registry.listen(0, "127.0.0.1");
  await once(registry, "listening");
  try {
    const pulled = await small.dockerWith({}, "pull", `127.0.0.1:${(registry.address() as AddressInfo).port}/big:1`);
    assert.notEqual(pulled.code, 0);
    assert.match(pulled.stderr, /no space left on device/i);
  } finally {
    registry.closeAllConnections();
    registry.close();
  }
}

test("a full disk: an error that says so, and everything works again when there is room", async () => {
  const disk = path.join(work, "disk");
  fs.mkdirSync(disk);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=40m", "tmpfs", disk]);
  const small = await startBerth({ env: { BERTH_DATA_DIR: path.join(disk, "data") } });
  try {
    await importBusybox(small);
    const used = () => fs.statfsSync(disk).blocks - fs.statfsSync(disk).bfree;
    const folder = path.join(work, "huge");
    fs.mkdirSync(folder);
    fs.writeFileSync(path.join(folder, "data"), seededRandom(6).bytes(50_000_000));
    fs.writeFileSync(path.join(folder, "Dockerfile"), "FROM busybox\nCOPY data /\n");
    const before = used();
    const failed = await small.dockerWith({}, "build", folder);
    assert.notEqual(failed.code, 0);
    assert.match(failed.stdout + failed.stderr, /no space left on device/i);
    const imported = await small.dockerWith({}, "import", path.join(folder, "data"), "x:1");
    assert.notEqual(imported.code, 0);
    await expectNoPull(small, execFileSync("tar", ["-C", folder, "-c", "data"], { maxBuffer: 100_000_000 }));
    // Room for what is to be removed on the full disk.
    fs.writeFileSync(path.join(disk, "spare"), Buffer.alloc(1_000_000));
    const filler = await small.dockerWith(
      {},
      "run",
      "--name",
      "filler",
      "busybox",
      "dd",
      "if=/dev/zero",
      "of=/f",
      "bs=1M",
    );
    assert.match(filler.stderr, /No space left on device/);
    fs.rmSync(path.join(disk, "spare"));
    await small.docker("volume", "create", "kept");
    await small.docker("tag", "busybox", "second");
    fillUp(path.join(disk, "rest"));
    await expectNothingHalf(small);
    fs.rmSync(path.join(disk, "rest"));
    await small.docker("rm", "-f", "filler");
    assert.equal((await small.docker("run", "--rm", "busybox", "echo", "room")).stdout, "room\n");
    for (let tries = 0; tries < 40 && used() > before + 256; tries++) await pause(50);
    assert.ok(used() <= before + 256, `${used() - before} pages are still taken`);
    await small.kill();
    await small.start();
    assert.equal((await small.docker("run", "--rm", "busybox", "echo", "again")).stdout, "again\n");
    // What removes the instance has to manage without room as well.
    await small.dockerWith({}, "run", "-d", "busybox", "sleep", "60");
    await small.dockerWith({}, "run", "busybox", "dd", "if=/dev/zero", "of=/f", "bs=1M");
  } finally {
    await small.stop();
    execFileSync("umount", ["-l", disk]);
  }
});
