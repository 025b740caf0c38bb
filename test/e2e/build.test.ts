/** Builds on the real kernel, asked for by the real docker CLI (classic builder). */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { Readable } from "node:stream";
import { after, afterEach, before, test } from "node:test";
import type { Image } from "../../src/engine/image/index.ts";
import { getAttribute } from "../../src/host/index.ts";
import { startBerth } from "../support/daemon.ts";
import { startDebianRegistry } from "../support/image-engine.ts";
import { importBusybox, startBuildEngine, type BuildEngine, type CliResult } from "../support/build-engine.ts";

let engine: BuildEngine;
let serial = 0;

before(async () => {
  engine = await startBuildEngine();
  await importBusybox(engine.images);
});
after(() => engine?.stop());
afterEach(() => {
  assert.deepEqual(engine.mounts(), [], "a mount was left");
  assert.deepEqual(engine.snapshots.list(), [], "a draft was left");
  assert.deepEqual(fs.readdirSync(path.join(engine.context.dataDir, "build/scratch")), [], "scratch files were left");
});

function context(files: Record<string, string | Buffer>): string {
  const directory = path.join(engine.directory, `context-${serial++}`);
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), content);
  }
  return directory;
}

interface Built extends CliResult {
  readonly image: Image;
  /** Calls with the image's root filesystem. */
  look<T>(task: (root: string) => T): Promise<T>;
}

async function build(
  dockerfile: string,
  files: Record<string, string | Buffer> = {},
  ...args: string[]
): Promise<Built> {
  const tag = `t${serial}`;
  const result = await engine.docker(["build", "-t", tag, ...args, context({ Dockerfile: dockerfile, ...files })]);
  assert.equal(result.code, 0, result.stdout + result.stderr);
  const image = await engine.images.resolve(tag);
  const look = async <T>(task: (root: string) => T): Promise<T> => {
    const target = path.join(engine.directory, `look-${serial++}`);
    fs.mkdirSync(target);
    await engine.snapshots.mountLayer(image.chainId!, target);
    try {
      return task(target);
    } finally {
      await engine.snapshots.unmount(target);
    }
  };
  return { ...result, image, look };
}

async function refused(dockerfile: string, files: Record<string, string> = {}, ...args: string[]): Promise<CliResult> {
  const result = await engine.docker(["build", ...args, context({ Dockerfile: dockerfile, ...files })]);
  assert.notEqual(result.code, 0, result.stdout);
  return result;
}

test("the five-step Dockerfile, cold and cached, with the lines that tools read", async () => {
  const dockerfile = 'FROM busybox\nWORKDIR /app\nCOPY . .\nRUN cat data > copy && id -u > uid\nCMD ["sh"]\n';
  const cold = await build(dockerfile, { data: "some data" });
  assert.match(cold.stdout, /^Step 1\/5 : FROM busybox\n ---> [0-9a-f]{12}\nStep 2\/5 : WORKDIR \/app\n/m);
  assert.match(cold.stdout, /Step 4\/5 : RUN .*\n ---> Running in [0-9a-f]{12}\n ---> Removed intermediate container/);
  assert.match(cold.stdout, /Successfully built [0-9a-f]{12}\nSuccessfully tagged t\d+:latest\n$/);
  assert.ok(cold.stdout.includes(`Successfully built ${cold.image.id.slice(7, 19)}`));
  assert.deepEqual(
    await cold.look((root) => [
      fs.readFileSync(`${root}/app/copy`, "utf8"),
      fs.readFileSync(`${root}/app/uid`, "utf8"),
    ]),
    ["some data", "0\n"],
  );
  assert.deepEqual(await cold.look((root) => fs.readdirSync(root).sort()), [
    "app",
    "bin",
    "dev",
    "etc",
    "proc",
    "sys",
    "tmp",
  ]);
  assert.equal(
    await cold.look((root) => fs.existsSync(`${root}/etc/resolv.conf`)),
    false,
    "a mount point is not part of the image",
  );
  const cached = await build(dockerfile, { data: "some data" });
  assert.equal(cached.stdout.match(/ ---> Using cache/g)?.length, 3);
  assert.equal(cached.image.id, cold.image.id);
});

test("the scenario's application, unmodified, on a stand-in for its base image", async () => {
  const pip = '#!/bin/sh\necho "pip $*"\ntest -f requirements.txt\n';
  await build(`FROM busybox\nCOPY --chmod=755 pip /bin/pip\n`, { pip }, "-t", "python:3.9-slim");
  const app = path.resolve(import.meta.dirname, "../../examples/flask-app");
  const files = {
    Dockerfile:
      '# Use a lightweight Python base image\nFROM python:3.9-slim\n\n# Set the working directory inside the container\nWORKDIR /app\n\nCOPY . .\nRUN pip install --no-cache-dir -r requirements.txt\nEXPOSE 5000\nCMD ["python", "app.py"]\n',
    "requirements.txt": "flask\n",
    "app.py": "",
  };
  const directory = fs.existsSync(app) ? app : context(files);
  const result = await engine.docker(["build", "-t", "flask-app:latest", directory]);
  assert.equal(result.code, 0, result.stdout + result.stderr);
  assert.match(result.stdout, /pip install --no-cache-dir -r requirements.txt/);
  const { config } = await engine.images.resolve("flask-app:latest");
  assert.deepEqual(config.config?.Cmd, ["python", "app.py"]);
  assert.deepEqual(config.config?.ExposedPorts, { "5000/tcp": {} });
  assert.equal(config.config?.WorkingDir, "/app");
});

test("RUN: user, shell, environment, here-documents, mounts, networks", async () => {
  const result = await build(
    [
      "FROM busybox",
      "ARG GREETING=hello",
      "ENV NAME=world",
      'RUN echo "$GREETING $NAME" > /greeting',
      "RUN <<EOF",
      "set -e",
      "echo one > /doc",
      "echo two >> /doc",
      "EOF",
      "RUN <<EOF",
      "#!/bin/cat",
      "script",
      "EOF",
      "RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && mkdir /seen && grep ' /scratch ' /proc/mounts > /seen/tmpfs",
      "RUN --mount=type=cache,target=/cache echo x >> /cache/n && cat /cache/n > /seen/cache",
      "RUN --mount=type=bind,source=dir,target=/src cat /src/f > /seen/bind && ! touch /src/g",
      "RUN --mount=type=bind,source=dir,target=/src,rw touch /src/g && ls /src > /seen/rw",
      "RUN --network=none ip a > /seen/none",
      "RUN ip a > /seen/bridge",
      'SHELL ["/bin/sh", "-e", "-c"]',
      "USER app",
      "WORKDIR /home/app",
      "RUN id -u > me && id -g >> me",
    ].join("\n"),
    { "dir/f": "bound" },
  );
  await result.look((root) => {
    const read = (name: string) => fs.readFileSync(path.join(root, name), "utf8");
    assert.equal(read("greeting"), "hello world\n");
    assert.equal(read("doc"), "one\ntwo\n");
    assert.match(read("seen/tmpfs"), /tmpfs/);
    assert.equal(read("seen/cache"), "x\n");
    assert.equal(read("seen/bind"), "bound");
    assert.equal(read("seen/rw"), "f\ng\n");
    assert.doesNotMatch(read("seen/none"), /eth0/);
    assert.match(read("seen/bridge"), /eth0/);
    assert.equal(read("home/app/me"), "101\n102\n");
    for (const name of ["scratch", "cache", "src"])
      assert.equal(fs.existsSync(path.join(root, name)), false, `/${name} was only a mount point`);
  });
});

test("RUN under --shm-size, --ulimit and --cgroup-parent", async () => {
  const parent = `/berth-test-${process.pid}`;
  const flags = ["--shm-size", "8m", "--ulimit", "nofile=77:88", "--cgroup-parent", parent];
  const dockerfile =
    "FROM busybox\nRUN grep ' /dev/shm ' /proc/mounts > /out; ulimit -n >> /out; cat /proc/self/cgroup >> /out\n";
  const text = await (await build(dockerfile, {}, ...flags)).look((root) => fs.readFileSync(`${root}/out`, "utf8"));
  assert.match(text, /size=8192k/);
  assert.match(text, /^77$/m);
  assert.match(text, new RegExp(`${parent}/build-[0-9a-f]+`));
  for (const group of fs.globSync([`/sys/fs/cgroup${parent}`, `/sys/fs/cgroup/*${parent}`])) fs.rmdirSync(group);
});

test("a failing RUN shows its output and its code, and the next build goes on from the cache", async () => {
  const failed = await refused("FROM busybox\nRUN touch /before\nRUN echo oops >&2; exit 7\n");
  assert.match(failed.stdout + failed.stderr, /oops/);
  assert.match(failed.stderr, /The command '\/bin\/sh -c echo oops >&2; exit 7' returned a non-zero code: 7/);
  assert.equal(failed.code, 7, "the CLI exits with the command's code");
  assert.match((await build("FROM busybox\nRUN touch /before\n")).stdout, /Using cache/);
});

test("mistakes are told with line, column, the line itself and the way out", async () => {
  const unknown = await refused("FROM busybox\nRUNN echo\n");
  assert.match(
    unknown.stderr,
    /dockerfile parse error on line 2: unknown instruction: RUNN\nDockerfile:2:1\n\s+1 \| FROM busybox\n\s+2 \| RUNN echo\n\s+\| \^\^\^\^\nDid you mean RUN\?/,
  );
  assert.match(
    (await refused("FROM busybox\nCOPY --chwon=1 a b\n")).stderr,
    /unknown flag: --chwon[\s\S]*Did you mean --chown\?/,
  );
  assert.match((await refused("FROM busybox\nCOPY missing /\n")).stderr, /\/missing: not found\nDockerfile:2:1/);
  assert.match(
    (await refused("FROM busybox\nCOPY --chown=nobody2 Dockerfile /\n")).stderr,
    /no such user in the image's \/etc\/passwd/,
  );
  assert.match(
    (await refused("FROM busybox AS a\n", {}, "--target", "b")).stderr,
    /target stage "b" could not be found/,
  );
  assert.match(
    (await refused("FROM busybox\n", {}, "-f", "Dockerfle")).stderr,
    /unable to prepare context|Cannot locate/,
  );
});

test("multi-stage: files with owners and modes, links followed inside the image only, several sources", async () => {
  const result = await build(
    [
      "FROM busybox AS build",
      "RUN mkdir -p /out/bin /usr/lib && echo tool > /out/bin/tool && chmod 4711 /out/bin/tool && /bin/busybox ln -s tool /out/bin/alias",
      "FROM busybox",
      "RUN mkdir -p /usr/lib && cd / && /bin/busybox ln -s usr/lib lib && /bin/busybox ln -s /../../../../etc outside",
      "COPY --from=build --chown=app:app /out/bin/ /lib/",
      "COPY --from=0 /out /lib/all",
      "COPY --link --chown=5:6 Dockerfile /linked/",
      "COPY Dockerfile /outside/here",
      "COPY --from=busybox /etc/passwd /lib/passwd",
    ].join("\n"),
  );
  await result.look((root) => {
    const tool = fs.statSync(`${root}/usr/lib/tool`);
    assert.deepEqual([tool.uid, tool.gid, tool.mode & 0o7777], [101, 102, 0o4711]);
    assert.equal(fs.readlinkSync(`${root}/usr/lib/alias`), "tool");
    assert.equal(fs.readFileSync(`${root}/usr/lib/all/bin/tool`, "utf8"), "tool\n");
    assert.equal(fs.lstatSync(`${root}/lib`).isSymbolicLink(), true);
    assert.deepEqual([fs.statSync(`${root}/linked/Dockerfile`).uid, fs.statSync(`${root}/linked`).uid], [5, 5]);
    assert.ok(fs.existsSync(`${root}/etc/here`));
    assert.ok(fs.existsSync(`${root}/usr/lib/passwd`));
  });
});

test("COPY --from keeps file capabilities, and the cache knows the difference", async () => {
  const folder = path.join(engine.directory, "capable");
  fs.mkdirSync(folder);
  fs.writeFileSync(`${folder}/tool`, "tool", { mode: 0o755 });
  const importAs = (tag: string) =>
    engine.images.import(
      Readable.from([execFileSync("tar", ["-C", folder, "--xattrs", "--xattrs-include=*", "-cf", "-", "tool"])]),
      { tag },
    );
  await importAs("plain");
  execFileSync("setcap", ["cap_net_raw+ep", `${folder}/tool`]);
  await importAs("capable");
  for (const [from, capable] of [
    ["plain", false],
    ["capable", true],
  ] as const) {
    const built = await build(`FROM scratch\nCOPY --from=${from} --chown=7:8 /tool /copied\n`);
    await built.look((root) => {
      assert.equal(fs.statSync(`${root}/copied`).uid, 7);
      assert.equal(getAttribute(`${root}/copied`, "security.capability") !== undefined, capable);
    });
  }
});

test("what a RUN deleted or replaced stays so for later steps", async () => {
  const result = await build(
    "FROM busybox AS a\nRUN mkdir /d && echo old > /d/old && echo x > /f\nFROM a\nRUN rm -r /d /f && mkdir /d /f && echo new > /d/new\nCOPY Dockerfile /d/\nCOPY Dockerfile /f/\n",
  );
  await result.look((root) => {
    assert.deepEqual(fs.readdirSync(`${root}/d`).sort(), ["Dockerfile", "new"]);
    assert.deepEqual(fs.readdirSync(`${root}/f`), ["Dockerfile"]);
  });
});

test("ADD unpacks archives of every compression, downloads URLs and verifies checksums", async () => {
  const directory = path.join(engine.directory, "archives");
  fs.mkdirSync(`${directory}/in/sub`, { recursive: true });
  fs.writeFileSync(`${directory}/in/sub/file`, "content");
  fs.chownSync(`${directory}/in/sub/file`, 12, 34);
  const archive = (name: string, ...flags: string[]) => {
    execFileSync("tar", [...flags, "-cf", `${directory}/${name}`, "-C", `${directory}/in`, "."]);
    return fs.readFileSync(`${directory}/${name}`);
  };
  const files = {
    "a.tar": archive("a.tar"),
    "b.tgz": archive("b.tgz", "-z"),
    "c.tbz": archive("c.tbz", "-j"),
    "d.txz": archive("d.txz", "-J"),
    "e.tzst": archive("e.tzst", "--zstd"),
  };
  const server = http.createServer((request, response) =>
    request.url === "/f.txt" ? response.end("remote") : response.writeHead(404).end(),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const sum = "sha256:b07a9f2e13279e9c58bf11cd65bd66e0eaab9c09a0c3d8f5ab3ebb45b0a64ac6";
    const wrong = await refused(`FROM scratch\nADD --checksum=${sum} ${url}/f.txt /\n`);
    const actual = /got (sha256:[0-9a-f]{64})/.exec(wrong.stderr)?.[1];
    assert.ok(actual, wrong.stderr);
    assert.match((await refused(`FROM scratch\nADD ${url}/absent /\n`)).stderr, /the server answered 404/);
    const result = await build(
      `FROM scratch\nADD a.tar /a/\nADD b.tgz /b/\nADD c.tbz /c/\nADD d.txz /d/\nADD e.tzst /e/\nADD --unpack=false a.tar /raw/\nADD --checksum=${actual} ${url}/f.txt /r/\nADD a.tar b.tgz /both/\n`,
      files,
    );
    await result.look((root) => {
      for (const name of ["a", "b", "c", "d", "e", "both"]) {
        assert.equal(fs.readFileSync(`${root}/${name}/sub/file`, "utf8"), "content");
        assert.deepEqual(
          [fs.statSync(`${root}/${name}/sub/file`).uid, fs.statSync(`${root}/${name}/sub/file`).gid],
          [12, 34],
        );
      }
      assert.ok(fs.statSync(`${root}/raw/a.tar`).isFile());
      assert.equal(fs.readFileSync(`${root}/r/f.txt`, "utf8"), "remote");
      assert.equal(fs.statSync(`${root}/r/f.txt`).mode & 0o777, 0o600);
    });
  } finally {
    server.close();
  }
});

test("ADD and remote contexts take git repositories, at a reference and in a subdirectory", async () => {
  const repository = path.join(engine.directory, "repository");
  fs.mkdirSync(`${repository}/sub`, { recursive: true });
  fs.writeFileSync(`${repository}/sub/file`, "from git");
  fs.writeFileSync(`${repository}/Dockerfile`, "FROM scratch\nCOPY sub/file /f\n");
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", repository, "-c", "user.name=t", "-c", "user.email=t@t", ...args]);
  git("init", "-q", "-b", "main");
  git("add", ".");
  git("commit", "-q", "-m", "first");
  git("tag", "v1");
  // A second repository that has the first as its submodule, named relative to itself.
  const outer = path.join(engine.directory, "outer");
  execFileSync("git", ["clone", "-q", repository, outer]);
  const outerGit = (...args: string[]) =>
    execFileSync(
      "git",
      ["-C", outer, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always", ...args],
      { stdio: "pipe" },
    );
  outerGit("remote", "set-url", "origin", `${engine.directory}/outer`);
  outerGit("submodule", "--quiet", "add", repository, "inner");
  outerGit("config", "-f", ".gitmodules", "submodule.inner.url", "../repository");
  outerGit("commit", "-q", "-a", "-m", "with a submodule");
  const daemon = spawn(
    "git",
    ["daemon", "--export-all", `--base-path=${engine.directory}`, "--reuseaddr", "--listen=127.0.0.1", "--port=19418"],
    { stdio: "ignore", detached: true },
  );
  try {
    const url = "git://127.0.0.1:19418/repository";
    await until(() => listening(19418), "git serves");
    const result = await build(`FROM scratch\nADD ${url}#v1:sub /sub/\nADD --keep-git-dir ${url} /all\n`);
    await result.look((root) => {
      assert.equal(fs.readFileSync(`${root}/sub/file`, "utf8"), "from git");
      assert.equal(fs.existsSync(`${root}/sub/.git`), false);
      assert.ok(fs.existsSync(`${root}/all/.git`));
    });
    const nested = await build("FROM scratch\nADD git://127.0.0.1:19418/outer /outer\n");
    await nested.look((root) => {
      assert.equal(fs.readFileSync(`${root}/outer/inner/sub/file`, "utf8"), "from git");
      assert.equal(fs.existsSync(`${root}/outer/inner/.git`), false);
    });
    assert.match((await refused(`FROM scratch\nADD ${url}#nope /x\n`)).stderr, /git fetch of .* failed/);
    assert.match((await refused("FROM scratch\nADD git@host:--upload-pack=x#y /x\n")).stderr, /failed|not a git/);
    const { imageId } = await engine.builder.build({ remote: url }, new AbortController().signal);
    assert.ok(await engine.images.find(imageId));
  } finally {
    process.kill(-daemon.pid!, "SIGKILL");
  }
});

function listening(port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return fs
    .readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .some((line) => line.split(/\s+/)[2]?.endsWith(wanted) && line.split(/\s+/)[4] === "0A");
}

test("the same build twice under SOURCE_DATE_EPOCH gives the same image, made anew", async () => {
  const dockerfile =
    "FROM scratch AS f\nCOPY . /in/\nFROM busybox\nWORKDIR /w\nRUN date +%N > /dev/null; mkdir -p a/b && echo x > a/b/c\nCOPY --from=f /in /in\n";
  const once = async () =>
    (await build(dockerfile, { f: "1" }, "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000")).image;
  const [first, second] = [await once(), await once()];
  assert.equal(first.id, second.id);
  assert.equal(first.config.created, "2023-11-14T22:13:20.000000000Z");
});

test("a client that goes away ends the build and what it ran", async () => {
  const directory = context({ Dockerfile: "FROM busybox\nRUN echo started-$((40+2)); sleep 1000\n" });
  const env = { ...process.env, DOCKER_HOST: `unix://${engine.socket}`, DOCKER_BUILDKIT: "0" };
  const client = spawn("docker", ["build", directory], { env, stdio: ["ignore", "pipe", "ignore"] });
  let output = "";
  for await (const chunk of client.stdout) {
    output += String(chunk);
    if (output.includes("started-42\n")) break;
  }
  client.kill("SIGKILL");
  const scratch = path.join(engine.context.dataDir, "build/scratch");
  await until(
    () => engine.mounts().length + engine.snapshots.list().length + fs.readdirSync(scratch).length === 0,
    "the build has ended",
  );
});

test("the same build four times at once makes each layer once", async () => {
  const dockerfile = `FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n`;
  const directory = context({ Dockerfile: dockerfile });
  const results = await Promise.all([1, 2, 3, 4].map(() => engine.docker(["build", "-q", directory])));
  assert.deepEqual(new Set(results.map((result) => result.stdout)).size, 1, JSON.stringify(results));
  assert.match(results[0]!.stdout, /^sha256:[0-9a-f]{64}\n$/);
});

test("pruning gives the space back and leaves images whole", async () => {
  const built = await build("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1024 count=2048\n");
  const response = await new Promise<string>((resolve, reject) => {
    http
      .request({ socketPath: engine.socket, method: "POST", path: "/v1.50/build/prune?all=1" }, async (answer) =>
        resolve((await answer.toArray()).join("")),
      )
      .on("error", reject)
      .end();
  });
  const { CachesDeleted, SpaceReclaimed } = JSON.parse(response) as { CachesDeleted: string[]; SpaceReclaimed: number };
  assert.ok(CachesDeleted.length > 0);
  assert.ok(SpaceReclaimed >= 0);
  assert.equal(await built.look((root) => fs.statSync(`${root}/big`).size), 2 << 20);
  assert.deepEqual(await engine.builder.cache.list(), []);
});

test("a cache left in a registry or a folder serves a builder that has none, by the real CLI", async () => {
  const registry = await startDebianRegistry(engine.directory);
  try {
    const from = context({
      Dockerfile: "FROM busybox AS one\nRUN date +%N > /made\nFROM busybox\nCOPY --from=one /made /\n",
    });
    const folder = path.join(engine.directory, "left");
    const cacheTo = [`type=registry,ref=${registry.address}/cache:1,mode=max`, `type=local,dest=${folder},mode=max`];
    const tar = Readable.from([execFileSync("tar", ["-C", from, "-cf", "-", "."])]);
    const first = await engine.builder.build({ context: tar, tags: ["left"], cacheTo }, AbortSignal.timeout(60_000));
    for (const source of [`type=registry,ref=${registry.address}/cache:1`, `type=local,src=${folder}`]) {
      await engine.images.remove("left", { force: true });
      await engine.builder.cache.prune({ all: true });
      const again = await engine.docker(["build", "-t", "left", "--cache-from", source, from]);
      assert.equal(again.code, 0, again.stderr);
      assert.equal(again.stdout.match(/Using cache/g)?.length, 2, again.stdout);
      assert.equal((await engine.images.resolve("left")).id, first.imageId);
    }
  } finally {
    await registry.stop();
  }
});

test("kill -9 in the middle of a RUN: after the restart nothing of it runs or is mounted, and the steps before are cached", async () => {
  const berth = await startBerth({ env: { BERTH_KUBERNETES: "0" } });
  try {
    await berth.docker("version");
    assert.equal((await berth.berth("image", "bootstrap", "busybox")).code, 0);
    const seconds = 100_000 + process.pid;
    const build = (last: string) => {
      const directory = context({ Dockerfile: `FROM busybox\nRUN touch /before\nRUN ${last}\n` });
      return berth.dockerWith({}, "build", directory);
    };
    const interrupted = build(`sleep ${seconds}`);
    const sleeping = () =>
      fs.readdirSync("/proc").some((pid) => /^\d+$/.test(pid) && commandLine(pid) === `sleep\0${seconds}\0`);
    await until(sleeping, "the step runs");
    await berth.kill();
    assert.notEqual((await interrupted).code, 0);
    await berth.start();
    await until(() => !sleeping(), "the step is gone");
    assert.doesNotMatch(fs.readFileSync("/proc/mounts", "utf8"), new RegExp(`${berth.runtimeDir}/build`));
    const again = await build("echo done");
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stdout, /RUN touch \/before\n ---> Using cache/);
  } finally {
    await berth.stop();
  }
});

function commandLine(pid: string): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited too long until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
