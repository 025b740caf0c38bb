/** Other people's clients of the Engine API, unchanged: dockerode, testcontainers, Docker's Python client, Compose. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import Docker from "dockerode";
import { has, run, startBerth, type TestBerth } from "../support/daemon.ts";
import { importBusybox } from "../support/images.ts";

let berth: TestBerth;
before(async () => {
  berth = await startBerth();
  await importBusybox(berth);
});
after(() => berth?.stop());

test("dockerode: run, attach with input, exec, logs, stats, events", async () => {
  const docker = new Docker({ socketPath: berth.dockerSocket });
  assert.equal((await docker.version()).ApiVersion, "1.50");
  const output = new PassThrough();
  const [result] = (await docker.run("busybox", ["sh", "-c", "echo from dockerode"], output, {
    HostConfig: { AutoRemove: true },
  })) as [{ StatusCode: number }];
  output.end();
  assert.equal(result.StatusCode, 0);
  assert.match(await text(output), /from dockerode/);

  const container = await docker.createContainer({
    Image: "busybox",
    Cmd: ["cat"],
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
  });
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  const stdout = new PassThrough();
  docker.modem.demuxStream(stream, stdout, new PassThrough());
  const ended = new Promise((resolve) => stream.on("end", resolve));
  await container.start();
  stream.end("typed\n");
  assert.equal(((await container.wait()) as { StatusCode: number }).StatusCode, 0);
  await ended;
  stdout.end();
  assert.equal(await text(stdout), "typed\n");
  assert.match(String(await container.logs({ stdout: true })), /typed/);
  await container.remove();

  const sleeper = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "60"] });
  await sleeper.start();
  const exec = await sleeper.exec({ Cmd: ["echo", "inside"], AttachStdout: true, AttachStderr: true });
  const raw = await exec.start({ hijack: true, stdin: false });
  const inside = new PassThrough();
  docker.modem.demuxStream(raw, inside, inside);
  raw.on("end", () => inside.end());
  assert.equal(await text(inside), "inside\n");
  assert.equal((await exec.inspect()).ExitCode, 0);
  const stats = await sleeper.stats({ stream: false });
  assert.ok(stats.memory_stats.usage > 0);
  await sleeper.remove({ force: true });
});

test("testcontainers: start, wait for a port and a log line, exec, stop", async () => {
  // Read when the library is loaded.
  process.env["DOCKER_HOST"] = `unix://${berth.dockerSocket}`;
  process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
  const { GenericContainer, Wait } = await import("testcontainers");
  const container = await new GenericContainer("busybox:latest")
    .withCommand(["sh", "-c", "echo hello > /tmp/index.html; echo ready; exec httpd -f -p 80 -h /tmp"])
    .withExposedPorts(80)
    .withWaitStrategy(Wait.forLogMessage("ready"))
    .start();
  try {
    const response = await fetch(`http://${container.getHost()}:${container.getMappedPort(80)}/`);
    assert.equal(await response.text(), "hello\n");
    const { output, exitCode } = await container.exec(["echo", "inside"]);
    assert.deepEqual([output, exitCode], ["inside\n", 0]);
  } finally {
    await container.stop();
  }
});

const PYTHON = `
import docker
client = docker.from_env()
assert client.ping()
print(client.containers.run("busybox", ["echo", "from python"], remove=True).decode().strip())
c = client.containers.run("busybox", ["sleep", "60"], detach=True, name="py", labels={"a": "b"})
print(c.exec_run(["echo", "inside"]).output.decode().strip())
print([x.name for x in client.containers.list(filters={"label": "a=b"})])
try:
    client.containers.get("absent")
except docker.errors.NotFound as e:
    print("404")
c.remove(force=True)
print(client.volumes.create("pyvol").name)
client.volumes.get("pyvol").remove()
`;

test(
  "Docker's Python client",
  { skip: existsSync("/usr/lib/python3/dist-packages/docker") ? false : "python3-docker is not installed" },
  async () => {
    const { code, stdout, stderr } = await run("/usr/bin/python3", ["-c", PYTHON], { env: berth.env });
    assert.equal(code, 0, stderr);
    assert.equal(stdout, "from python\ninside\n['py']\n404\npyvol\n");
  },
);

const COMPOSE = `
version: "2.4"
services:
  web:
    image: busybox
    command: ["sh", "-c", "echo from web > /srv/index.html; exec httpd -f -p 80 -h /srv"]
    volumes: ["content:/srv"]
    ports: ["127.0.0.1::80"]
    healthcheck: { test: ["CMD", "test", "-f", "/srv/index.html"], interval: 1s, retries: 20 }
  reader:
    image: busybox
    depends_on: { web: { condition: service_healthy } }
    command: ["sh", "-c", "cat /srv/index.html; sleep 60"]
    volumes: ["content:/srv:ro"]
  other:
    image: busybox
    command: ["sleep", "60"]
    networks: [back]
volumes: { content: {} }
networks: { back: {} }
`;

test(
  "Compose: three services with a volume, a health check and networks",
  { skip: has("docker-compose") ? false : "docker-compose is not installed" },
  async () => {
    const folder = path.join(berth.directory, "shop");
    mkdirSync(folder);
    writeFileSync(path.join(folder, "docker-compose.yml"), COMPOSE);
    const compose = async (...args: string[]) => {
      const output = await run("docker-compose", args, { env: berth.env, cwd: folder });
      assert.equal(output.code, 0, `docker-compose ${args.join(" ")}\n${output.stdout}${output.stderr}`);
      return output.stdout.trim();
    };
    await compose("up", "-d");
    const address = await compose("port", "web", "80");
    assert.equal(await (await fetch(`http://${address}/`)).text(), "from web\n");
    assert.match(await compose("logs", "--no-color", "reader"), /from web/);
    assert.match(await compose("ps"), /web.*Up \(healthy\)/);
    await compose("down", "-v", "-t", "0");
    assert.equal((await berth.docker("ps", "-aq")).stdout, "");
    assert.equal((await berth.docker("volume", "ls", "-q")).stdout, "");
  },
);
