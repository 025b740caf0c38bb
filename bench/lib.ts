/**
 * What benchmarks share: a berth and Debian's dockerd side by side, medians of runs that take turns, and a table of ratios.
 *
 * dockerd runs in a network namespace of its own, with its own directories and socket: its bridge, its iptables rules and its FORWARD policy
 * touch nothing of the host, and it works at full function (a bridge, addresses, rules for each container), so the comparison is fair.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { TestBerth } from "../test/support/daemon.ts";

export interface Contender {
  readonly name: string;
  /** Environment for its client. */
  readonly env: NodeJS.ProcessEnv;
  /** The client's command and leading flags. */
  readonly client: readonly string[];
  /** Enters its network namespace; empty where it works in the host's. */
  readonly enter: readonly string[];
  /** Processes of its own: the daemon, monitors, shims, proxies; not what runs in containers. */
  processes(): number[];
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const RUN_TIMEOUT_MS = 120_000;

/** berth as a contender; `stop` ends it. */
export function berthContender(berth: TestBerth): Contender {
  return {
    name: "berth",
    env: berth.env,
    client: ["docker"],
    enter: [],
    processes: () => [berth.pid, ...processesNaming(berth.directory).filter((pid) => pid !== berth.pid)],
    stop: () => berth.stop(),
  };
}

/** Debian's dockerd (package docker.io); undefined, with a word on stderr, where it is not installed. */
export async function startDockerd(): Promise<Contender | undefined> {
  const dockerd = ["/usr/sbin/dockerd", "/usr/bin/dockerd"].find((file) => fs.existsSync(file));
  if (!dockerd) {
    console.error("dockerd is not installed (apt-get install docker.io): berth's own figures only");
    return undefined;
  }
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-bench-dockerd-"));
  const socket = path.join(directory, "docker.sock");
  const flags = [
    "--data-root",
    `${directory}/data`,
    "--exec-root",
    `${directory}/exec`,
    "--pidfile",
    `${directory}/pid`,
    "-H",
    `unix://${socket}`,
  ];
  const log = fs.openSync(path.join(directory, "log"), "w");
  const daemon = spawn("unshare", ["--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", dockerd, ...flags], {
    stdio: ["ignore", log, log],
    detached: true,
  });
  fs.closeSync(log);
  const env = {
    ...process.env,
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_BUILDKIT: "0",
    DOCKER_CONFIG: `${directory}/config`,
  };
  const stop = () => stopDockerd(daemon, directory);
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (spawnSync("docker", ["version"], { env, timeout: 5000 }).status !== 0) {
    if (daemon.exitCode !== null || Date.now() > deadline) {
      const why = fs.readFileSync(path.join(directory, "log"), "utf8").slice(-2000);
      await stop();
      throw new Error(`dockerd did not start:\n${why}`);
    }
    await sleep(100);
  }
  return {
    name: "dockerd",
    env,
    client: ["docker"],
    enter: ["nsenter", "-t", String(daemon.pid!), "-n"],
    processes: () => processesNaming(directory),
    stop,
  };
}

/** podman with crun, in namespaces of its own: its bridge touches nothing of the host, and crun doesn't see the hybrid hierarchy's empty half. */
export async function startPodman(): Promise<Contender | undefined> {
  if (spawnSync("podman", ["--version"]).status !== 0) {
    console.error("podman is not installed (apt-get install podman): left out");
    return undefined;
  }
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-bench-podman-"));
  const prepare =
    'ip link set lo up; mount --make-rprivate /; umount /sys/fs/cgroup/unified 2>/dev/null; mkdir -p "$1/net"; echo; exec sleep infinity';
  const holder = spawn("unshare", ["--net", "--mount", "sh", "-c", prepare, "sh", directory], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await new Promise((resolve) => holder.stdout!.once("data", resolve));
  const enter = ["nsenter", "-t", String(holder.pid!), "-n", "-m"];
  const flags = ["--root", `${directory}/root`, "--runroot", `${directory}/run`, "--tmpdir", `${directory}/tmp`];
  const places = ["--network-config-dir", `${directory}/net`, "--cgroup-manager", "cgroupfs", "--runtime", "crun"];
  const client = [...enter, "podman", ...flags, ...places];
  // Raising limits needs CAP_SYS_RESOURCE, which root of a test machine may lack.
  const conf = path.join(directory, "containers.conf");
  fs.writeFileSync(conf, '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n');
  return {
    name: "podman",
    env: { ...process.env, CONTAINERS_CONF: conf },
    client,
    enter,
    processes: () => processesNaming(directory),
    async stop() {
      spawnSync(client[0]!, [...client.slice(1), "rm", "-af", "-t", "0"], { timeout: 30_000 });
      holder.kill("SIGKILL");
      for (const pid of processesNaming(directory)) process.kill(pid, "SIGKILL");
      await sleep(100);
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Processes whose command line names a directory, but for clients. */
function processesNaming(directory: string): number[] {
  return fs.readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      return fs.readFileSync(`/proc/${name}/cmdline`, "utf8").includes(directory) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

/** Proportional set size of processes together, MiB. */
export function pssOf(pids: readonly number[]): number {
  const kilobytes = pids.map((pid) => {
    try {
      return Number(/^Pss:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? 0);
    } catch {
      return 0;
    }
  });
  return kilobytes.reduce((sum, each) => sum + each, 0) / 1024;
}

const TICK_MS = 10;

/** User and system time of processes so far (proc_pid_stat(5)). */
export function cpuMsOf(pids: readonly number[]): number {
  const ticks = pids.map((pid) => {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, each) => sum + each, 0) * TICK_MS;
}

async function stopDockerd(daemon: ChildProcess, directory: string): Promise<void> {
  daemon.kill("SIGTERM");
  for (let tries = 0; daemon.exitCode === null && daemon.signalCode === null && tries < 200; tries++) await sleep(50);
  if (daemon.exitCode === null && daemon.signalCode === null) daemon.kill("SIGKILL");
  for (const line of fs.readFileSync("/proc/mounts", "utf8").split("\n").reverse()) {
    const target = line.split(" ")[1];
    if (target?.startsWith(`${directory}/`)) spawnSync("umount", ["-l", target]);
  }
  fs.rmSync(directory, { recursive: true, force: true });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Runs a client's command and answers with the wall time in milliseconds. Throws when it fails. */
export function timed(
  contender: Pick<Contender, "env">,
  argv: readonly string[],
  options: { cwd?: string } = {},
): number {
  const startedMs = performance.now();
  const result = spawnSync(argv[0]!, argv.slice(1), {
    env: contender.env,
    encoding: "utf8",
    maxBuffer: 256 << 20,
    timeout: RUN_TIMEOUT_MS,
    ...options,
  });
  const tookMs = performance.now() - startedMs;
  if (result.status !== 0)
    throw new Error(`${argv.join(" ")}: exit ${result.status}\n${result.stdout}${result.stderr}`);
  return tookMs;
}

/** One command of a contender's client, timed. */
export function client(contender: Contender, ...args: string[]): number {
  return timed(contender, [...contender.client, ...args]);
}

/** Several at one time: wall time until the last has ended. */
export async function parallel(contender: Contender, commands: readonly (readonly string[])[]): Promise<number> {
  const startedMs = performance.now();
  await Promise.all(
    commands.map(
      (args) =>
        new Promise<void>((resolve, reject) => {
          const argv = [...contender.client, ...args];
          const child = spawn(argv[0]!, argv.slice(1), { env: contender.env, stdio: ["ignore", "ignore", "inherit"] });
          child.on("error", reject);
          child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`${argv.join(" ")}: exit ${code}`))));
        }),
    ),
  );
  return performance.now() - startedMs;
}

/** Gives every contender the same busybox, made by the first. */
export function shareBusybox(contenders: readonly Contender[]): void {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-bench-image-"));
  const archive = path.join(directory, "busybox.tar");
  const [first, ...others] = contenders;
  client(first!, "save", "-o", archive, "busybox");
  for (const other of others) client(other, "load", "-i", archive);
  fs.rmSync(directory, { recursive: true });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export interface Measure {
  readonly name: string;
  /** Default milliseconds. */
  readonly unit?: string;
  /** At most this share of the base's median (SPECIFICATION.md). */
  readonly limit?: number;
  /** Fewer rounds than the rest: for what takes long or hardly varies. */
  readonly rounds?: number;
  /** One run for one contender; answers with a figure where less is better. */
  run(contender: Contender, round: number): number | Promise<number>;
}

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly medians: Readonly<Record<string, number>>;
  readonly ratio: number | undefined;
  readonly limit: number | undefined;
}

/** The first median against the second. */
export function rowOf(name: string, medians: Readonly<Record<string, number>>, limit?: number, unit = "ms"): Row {
  const [own, base] = Object.values(medians);
  return { name, unit, medians, limit, ratio: own !== undefined && base ? own / base : undefined };
}

/** Contenders take turns, so that what else happens on the machine meets all of them. The first is held against the second. */
export async function compare(
  measures: readonly Measure[],
  contenders: readonly Contender[],
  rounds: number,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const measure of measures) {
    const values = new Map(contenders.map(({ name }) => [name, [] as number[]]));
    for (let round = 0; round < (measure.rounds ?? rounds); round++) {
      for (const contender of contenders) values.get(contender.name)!.push(await measure.run(contender, round));
    }
    const medians = Object.fromEntries([...values].map(([name, each]) => [name, median(each)]));
    rows.push(rowOf(measure.name, medians, measure.limit, measure.unit));
  }
  return rows;
}

/** Prints a table; false when a limit is broken. */
export function report(rows: readonly Row[]): boolean {
  for (const { name, unit, medians, ratio, limit } of rows) {
    const figures = Object.entries(medians).map(([each, value]) =>
      `${each} ${value.toFixed(unit === "ms" ? 0 : 2)} ${unit}`.padEnd(20),
    );
    const bound = limit === undefined ? "" : `of ${limit.toFixed(2)}${isOver({ ratio, limit }) ? "  over" : ""}`;
    console.log([name.padEnd(36), ...figures, (ratio?.toFixed(2) ?? "").padStart(6), bound].join(" "));
  }
  return !rows.some(isOver);
}

function isOver({ ratio, limit }: Pick<Row, "ratio" | "limit">): boolean {
  return ratio !== undefined && limit !== undefined && ratio > limit;
}
