/**
 * kill -9 of the daemon at any moment of a build, pull, run and stop: after the restart nothing is lost, nothing is leaked, what ran still runs
 * with its log and its exit code, and a neighbour instance notices nothing.
 *
 * Seeded: BERTH_FAULT_ROUNDS (default 12; 200 for the whole proof, which wants BERTH_TEST_TIMEOUT_MS too) and BERTH_FAULT_SEED choose how many and
 * which moments.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { kernelName, seededRandom } from "../../src/base/index.ts";
import { startBerth, type Output, type TestBerth } from "../support/daemon.ts";
import { startDebianRegistry } from "../support/image-engine.ts";
import { importBusybox } from "../support/images.ts";

const ROUNDS = Number(process.env["BERTH_FAULT_ROUNDS"] ?? 12);
const SEED = Number(process.env["BERTH_FAULT_SEED"] ?? 1);
const SETTLE_MS = 10_000;
/** The keeper counts lines and, on TERM, says goodbye with a code of its own. */
const KEEPER = "trap 'echo bye; exit 7' TERM; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.2 & wait $!; done";

const random = seededRandom(SEED);
let berth: TestBerth;
let neighbour: TestBerth;
let registry: Awaited<ReturnType<typeof startDebianRegistry>>;
let remote: string;
let context: string;
let calm: Census;
let neighboursCalm: Census;

before(async () => {
  berth = await startBerth();
  neighbour = await startBerth();
  registry = await startDebianRegistry(berth.directory);
  remote = `${registry.address}/big:1`;
  for (const each of [berth, neighbour]) await importBusybox(each);
  await makeRemoteImage();
  context = path.join(berth.directory, "context");
  fs.mkdirSync(context);
  fs.writeFileSync(path.join(context, "data"), seededRandom(3).bytes(3_000_000));
  fs.writeFileSync(
    path.join(context, "Dockerfile"),
    "FROM busybox\nARG round\nCOPY data /data\nRUN echo $round > /round; seq 2000 > /numbers\nRUN rm /data; sleep 0.1\nCMD cat /round\n",
  );
  for (const each of [berth, neighbour]) {
    await each.docker("volume", "create", "kept");
    await each.docker(
      "run",
      "-d",
      "--name",
      "keeper",
      "-p",
      "127.0.0.1::80",
      "-v",
      "kept:/kept",
      "busybox",
      "sh",
      "-c",
      KEEPER,
    );
  }
  calm = await settledCensus(berth);
  neighboursCalm = await settledCensus(neighbour);
});

after(async () => {
  await berth?.stop();
  await neighbour?.stop();
  await registry?.stop();
});

/** Three layers that don't compress, in the registry and no longer here. */
async function makeRemoteImage(): Promise<void> {
  const folder = path.join(berth.directory, "remote");
  fs.mkdirSync(folder);
  let dockerfile = "FROM busybox\n";
  for (let layer = 0; layer < 3; layer++) {
    fs.writeFileSync(path.join(folder, `part-${layer}`), seededRandom(layer).bytes(4_000_000));
    dockerfile += `COPY part-${layer} /\n`;
  }
  fs.writeFileSync(path.join(folder, "Dockerfile"), dockerfile);
  await berth.docker("build", "-t", remote, folder);
  await berth.docker("push", remote);
  await forgetImages();
}

async function forgetImages(): Promise<void> {
  const listed = await berth.docker("images", "-q", "--no-trunc");
  const busybox = (await berth.docker("images", "-q", "--no-trunc", "busybox")).stdout.trim();
  const others = [...new Set(listed.stdout.split("\n").filter((id) => id !== "" && id !== busybox))];
  if (others.length > 0) await berth.docker("rmi", "-f", ...others);
  await berth.docker("builder", "prune", "-af");
}

// --- what of an instance is in the kernel, among the processes and on the disk

type Census = Readonly<Record<string, readonly string[]>>;

function census(of: TestBerth): Census {
  const name = kernelName(of.instance);
  const list = (folder: string) => {
    const full = path.join(of.dataDir, folder);
    return fs.existsSync(full) ? fs.readdirSync(full).sort() : [];
  };
  return {
    mounts: fs
      .readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .map((line) => line.split(" ")[4] ?? "")
      .filter((point) => point.startsWith(of.directory))
      .sort(),
    links: fs
      .readdirSync("/sys/class/net")
      .filter((link) => link.startsWith(name))
      .sort(),
    rules: rules(name),
    groups: fs.globSync([`/sys/fs/cgroup/${name}/*/`, `/sys/fs/cgroup/*/${name}/*/`]).sort(),
    processes: processes(of),
    // A directory and its facts per snapshot; its name changes with a container's restart only.
    snapshots: list("snapshots/s"),
    layers: list("snapshots/l"),
    blobs: list("content/blobs/sha256"),
    uploads: list("content/uploads"),
    scratch: list("build/scratch"),
    containers: list("containers"),
    networks: list("network/networks"),
    sandboxes: fs.readdirSync(path.join(of.runtimeDir, "network/sandboxes")).sort(),
    volumes: [...list("volumes"), ...list("volume-records")],
  };
}

/** Elements and rules, without counters. */
function rules(name: string): string[] {
  const text = execFileSync("nft", ["list", "ruleset"], { encoding: "utf8", maxBuffer: 64 << 20 });
  const tables = text.split(/^(?=table )/m).filter((table) => table.split("\n")[0]!.includes(name));
  return tables.map((table) => table.replace(/counter packets \d+ bytes \d+/g, "counter").replace(/ expires \S+/g, ""));
}

/** Monitors and the processes in containers, by their control group's or command line's mark of the instance. */
function processes(of: TestBerth): string[] {
  const name = kernelName(of.instance);
  return fs
    .readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        const command = fs.readFileSync(`/proc/${pid}/cmdline`, "utf8");
        const group = fs.readFileSync(`/proc/${pid}/cgroup`, "utf8");
        if (command.startsWith("sleep\0") || !(group.includes(`/${name}/`) || /conmon\0/.test(command))) return [];
        if (!group.includes(`/${name}/`) && !command.includes(of.directory)) return [];
        return [`${pid} ${path.basename(command.split("\0")[0]!)}`];
      } catch {
        return [];
      }
    })
    .sort();
}

/** The census once it no longer changes. */
async function settledCensus(of: TestBerth): Promise<Census> {
  for (let last = census(of); ;) {
    await pause(300);
    const now = census(of);
    if (JSON.stringify(now) === JSON.stringify(last)) return now;
    last = now;
  }
}

async function expectCalm(round: string): Promise<void> {
  assert.deepEqual(await calmCensus(berth, calm), calm, `${round}: leaked or lost`);
  assert.deepEqual(await calmCensus(neighbour, neighboursCalm), neighboursCalm, `${round}: the neighbour was touched`);
}

/** The first census that is as expected, or the last before patience ends. One look is not enough: a shell that forks is two shells for a moment. */
async function calmCensus(of: TestBerth, expected: Census): Promise<Census> {
  const deadline = Date.now() + SETTLE_MS;
  for (;;) {
    const now = census(of);
    if (JSON.stringify(now) === JSON.stringify(expected) || Date.now() > deadline) return now;
    await pause(50);
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const any = (...args: string[]) => berth.dockerWith({}, ...args);
const inspect = async (name: string, format: string) =>
  (await berth.docker("inspect", "-f", format, name)).stdout.trim();

// --- the four things that are interrupted

interface Victim {
  /** Kills come between 0 and this many milliseconds after the command's start. */
  readonly spanMs: number;
  prepare?(round: number): Promise<void>;
  command(round: number): string[];
  /** What must hold after the restart, whatever the moment was. `output` is what the client had been told. */
  verify(round: number, output: Output): Promise<void>;
}

const VICTIMS: Readonly<Record<string, Victim>> = {
  build: {
    spanMs: 900,
    command: (round) => ["build", "-t", `built:${round}`, "--build-arg", `round=${round}`, context],
    async verify(round, output) {
      if (output.code === 0) await berth.docker("image", "inspect", `built:${round}`);
      await berth.docker(...this.command(round));
      const { stdout } = await berth.docker("run", "--rm", "--network", "none", `built:${round}`);
      assert.equal(stdout, `${round}\n`);
    },
  },
  pull: {
    spanMs: 500,
    command: () => ["pull", remote],
    async verify(_round, output) {
      if (output.code === 0) await berth.docker("image", "inspect", remote);
      await berth.docker("pull", remote);
      const { stdout } = await berth.docker("run", "--rm", "--network", "none", remote, "stat", "-c", "%s", "/part-2");
      assert.equal(stdout, "4000000\n");
    },
  },
  run: {
    spanMs: 250,
    command: (round) =>
      ["run", "-d", "--name", `run-${round}`, "-p", "127.0.0.1::80", "-v", "/anonymous"].concat([
        "busybox",
        "sh",
        "-c",
        "echo out; sleep 0.3; echo more; exit 3",
      ]),
    async verify(round, output) {
      const name = `run-${round}`;
      const known = (await berth.docker("ps", "-aq", "--filter", `name=^${name}$`)).stdout.trim();
      if (output.stdout.trim() !== "") assert.notEqual(known, "", "a container whose id was told is lost");
      if (known === "") return;
      const started = (await inspect(name, "{{.State.StartedAt}}")).startsWith("0001") === false;
      if (!started) await berth.docker("start", name);
      assert.equal((await berth.docker("wait", name)).stdout.trim(), "3");
      const { stdout } = await berth.docker("logs", name);
      assert.equal(stdout, "out\nmore\n");
    },
  },
  "run --rm": {
    spanMs: 250,
    command: (round) => ["run", "--rm", "--name", `once-${round}`, "busybox", "sh", "-c", "echo out; sleep 0.1"],
    async verify(round) {
      const name = `once-${round}`;
      const created = await any("inspect", "-f", "{{.State.Status}} {{.State.StartedAt}}", name);
      if (created.code === 0 && created.stdout.includes("created 0001")) await berth.docker("rm", name);
      const deadline = Date.now() + SETTLE_MS;
      while ((await any("inspect", name)).code === 0) {
        assert.ok(Date.now() < deadline, `${name} was not removed: ${created.stdout}`);
        await pause(50);
      }
    },
  },
  stop: {
    spanMs: 400,
    async prepare(round) {
      await berth.docker("run", "-d", "--name", `stop-${round}`, "busybox", "sh", "-c", KEEPER);
    },
    command: (round) => ["stop", "-t", "5", `stop-${round}`],
    async verify(round, output) {
      const name = `stop-${round}`;
      const running = (await inspect(name, "{{.State.Running}}")) === "true";
      if (output.code === 0) assert.equal(running, false, "told to be stopped, and runs");
      if (running) await berth.docker("stop", "-t", "5", name);
      assert.equal(await inspect(name, "{{.State.ExitCode}}"), "7");
      assert.match((await berth.docker("logs", name)).stdout, /^line 0\n(line \d+\n)*bye\n$/);
    },
  },
  exec: {
    spanMs: 150,
    command: () => ["exec", "keeper", "sh", "-c", "echo inside; sleep 0.1"],
    async verify() {
      assert.equal((await berth.docker("exec", "keeper", "echo", "again")).stdout, "again\n");
    },
  },
};

/** The keeper never stopped counting, and nothing of its log is missing. */
async function expectKeeper(): Promise<void> {
  const { stdout } = await berth.docker("logs", "keeper");
  const lines = stdout.trim().split("\n");
  for (const [index, line] of lines.entries()) assert.equal(line, `line ${index}`);
  assert.equal(await inspect("keeper", "{{.State.Running}} {{.RestartCount}}"), "true 0");
  assert.equal((await berth.docker("exec", "keeper", "echo", "here")).stdout, "here\n");
}

test(`${ROUNDS} kills from seed ${SEED}`, async () => {
  const verbs = Object.keys(VICTIMS);
  for (let round = 0; round < ROUNDS; round++) {
    const verb = verbs[round % verbs.length]!;
    const victim = VICTIMS[verb]!;
    await victim.prepare?.(round);
    const delayMs = Math.floor(random.float() * victim.spanMs);
    const interrupted = any(...victim.command(round));
    await pause(delayMs);
    await berth.kill();
    const output = await interrupted;
    await berth.start();
    const what = `round ${round}: ${verb} killed after ${delayMs} ms`;
    try {
      await victim.verify(round, output);
      await expectKeeper();
    } catch (error) {
      throw new Error(`${what}; the client saw ${JSON.stringify(output)}`, { cause: error });
    }
    const others = (await berth.docker("ps", "-aq", "--no-trunc")).stdout.trim().split("\n");
    const keeper = await inspect("keeper", "{{.Id}}");
    const rest = others.filter((id) => id !== keeper && id !== "");
    if (rest.length > 0) await berth.docker("rm", "-fv", ...rest);
    await forgetImages();
    await expectCalm(what);
  }
  for (const each of [berth, neighbour]) {
    await each.docker("stop", "keeper");
    assert.equal((await each.docker("inspect", "-f", "{{.State.ExitCode}}", "keeper")).stdout.trim(), "7");
    assert.match((await each.docker("logs", "--tail", "1", "keeper")).stdout, /^bye\n$/);
  }
});
