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
    // The line comes before the server listens.
    .withWaitStrategy(Wait.forAll([Wait.forLogMessage("ready"), Wait.forListeningPorts()]))
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

test("testcontainers: wait strategies, a network with aliases, files copied in, an image of a Dockerfile", async () => {
  process.env["DOCKER_HOST"] = `unix://${berth.dockerSocket}`;
  process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
  const { GenericContainer, Network, Wait } = await import("testcontainers");
  const context = path.join(berth.directory, "context");
  mkdirSync(context);
  writeFileSync(
    path.join(context, "Dockerfile"),
    'FROM busybox\nARG WORD\nRUN mkdir /srv && echo $WORD > /srv/word\nCMD ["httpd", "-f", "-p", "80", "-h", "/srv"]\n',
  );
  const image = await GenericContainer.fromDockerfile(context)
    .withBuildArgs({ WORD: "built" })
    .build("tc-built:1", { deleteOnExit: false });
  await using network = await new Network().start();
  await using server = await image
    .withNetwork(network)
    .withNetworkAliases("server")
    .withExposedPorts(80)
    .withCopyContentToContainer([{ content: "copied in\n", target: "/srv/copied" }])
    .withWaitStrategy(Wait.forHttp("/word", 80))
    .start();
  const at = `http://${server.getHost()}:${server.getMappedPort(80)}`;
  assert.equal(await (await fetch(`${at}/word`)).text(), "built\n");
  assert.equal(await (await fetch(`${at}/copied`)).text(), "copied in\n");
  await using healthy = await new GenericContainer("busybox")
    .withNetwork(network)
    .withHealthCheck({
      test: ["CMD-SHELL", "wget -qO- http://server/word"],
      interval: 200,
      retries: 20,
      timeout: 2_000,
    })
    .withCommand(["sleep", "60"])
    .withWaitStrategy(Wait.forHealthCheck())
    .start();
  const answered = await healthy.exec(["wget", "-qO-", "http://server/copied"]);
  assert.equal(answered.output, "copied in\n");
  await using once = await new GenericContainer("busybox")
    .withCommand(["sh", "-c", "exit 0"])
    .withWaitStrategy(Wait.forOneShotStartup())
    .start();
  assert.notEqual(once.getId(), "");
});

test("testcontainers: a container that is reused", async () => {
  process.env["DOCKER_HOST"] = `unix://${berth.dockerSocket}`;
  process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
  const { GenericContainer } = await import("testcontainers");
  const reused = () => new GenericContainer("busybox").withCommand(["sleep", "60"]).withReuse().start();
  const first = await reused();
  const second = await reused();
  assert.equal(second.getId(), first.getId());
  await berth.docker("rm", "-f", first.getId());
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

const PROFILES = `
version: "2.4"
services:
  app:
    build: { context: ., args: { WORD: one } }
    command: ["sleep", "60"]
    init: true
  debug:
    image: busybox
    profiles: [debug]
    command: ["sleep", "60"]
`;

test(
  "Compose: images that are built, profiles, scale, exec, and all of it gone",
  { skip: has("docker-compose") ? false : "docker-compose is not installed" },
  async () => {
    const folder = path.join(berth.directory, "profiles");
    mkdirSync(folder);
    writeFileSync(path.join(folder, "docker-compose.yml"), PROFILES);
    writeFileSync(path.join(folder, "Dockerfile"), "FROM busybox\nARG WORD\nRUN echo $WORD > /word\n");
    const compose = async (...args: string[]) => {
      const output = await run("docker-compose", args, { env: berth.env, cwd: folder });
      assert.equal(output.code, 0, `docker-compose ${args.join(" ")}\n${output.stdout}${output.stderr}`);
      return output.stdout.trim();
    };
    await compose("up", "-d", "--build", "--scale", "app=2");
    assert.equal((await compose("ps", "-q")).split("\n").length, 2);
    assert.equal(await compose("exec", "-T", "--index", "2", "app", "cat", "/word"), "one");
    writeFileSync(path.join(folder, "docker-compose.yml"), PROFILES.replace("WORD: one", "WORD: two"));
    // Compose 1 cannot recreate a container whose image has no ContainerConfig, which no daemon has told since API 1.45.
    await compose("down", "-t", "0");
    await compose("--profile", "debug", "up", "-d", "--build");
    assert.equal(await compose("exec", "-T", "app", "cat", "/word"), "two");
    assert.equal((await compose("--profile", "debug", "ps", "-q", "debug")).split("\n").length, 1);
    await compose("--profile", "debug", "down", "-v", "-t", "0", "--rmi", "local");
    assert.equal((await berth.docker("ps", "-aq")).stdout, "");
  },
);
