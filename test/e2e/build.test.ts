/** Builds on the real kernel, asked for by the real docker CLI (classic builder). */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { test } from "node:test";
import { build, context, engine, refused, until, useBuildEngine } from "../support/build-cases.ts";
import { startBerth } from "../support/daemon.ts";

useBuildEngine();

test("the five-step Dockerfile, cold and cached, with the lines that tools read", async () => {
  const dockerfile = 'FROM busybox\nWORKDIR /app\nCOPY . .\nRUN cat data > copy && id -u > uid\nCMD ["sh"]\n';
  const cold = await build(dockerfile, { data: "some data" });
  assert.match(cold.stdout, /^Step 1\/5 : FROM busybox\n ---> [0-9a-f]{12}\nStep 2\/5 : WORKDIR \/app\n/m);
  assert.match(cold.stdout, /Step 4\/5 : RUN .*\n ---> Running in [0-9a-f]{12}\n ---> Removed intermediate container/);
  assert.match(cold.stdout, /Successfully built [0-9a-f]{12}\nSuccessfully tagged t\d+:latest\n$/);
  const id = cold.image.id.slice(7, 19);
  assert.ok(cold.stdout.includes(` ---> ${id}\nSuccessfully built ${id}\n`));
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
    /dockerfile parse error on line 2: unknown instruction: RUNN\nDockerfile:2:1\n\s+1 \| FROM busybox\n\s+2 \| RUNN echo\n\s+\| \^\^\^\^\nDid you mean RUN\?\n*$/,
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

test("what a RUN deleted or replaced stays so for later steps", async () => {
  const result = await build(
    "FROM busybox AS a\nRUN mkdir /d && echo old > /d/old && echo x > /f\nFROM a\nRUN rm -r /d /f && mkdir /d /f && echo new > /d/new\nCOPY Dockerfile /d/\nCOPY Dockerfile /f/\n",
  );
  await result.look((root) => {
    assert.deepEqual(fs.readdirSync(`${root}/d`).sort(), ["Dockerfile", "new"]);
    assert.deepEqual(fs.readdirSync(`${root}/f`), ["Dockerfile"]);
  });
});

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
