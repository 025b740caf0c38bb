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

export interface Contender {
  readonly name: string;
  /** Environment for its client. */
  readonly env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const RUN_TIMEOUT_MS = 120_000;

/** Debian's dockerd (package docker.io); undefined, with a word on stderr, where it is not installed. */
export async function startDockerd(): Promise<(Contender & { readonly pid: number }) | undefined> {
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
  return { name: "dockerd", env, stop, pid: daemon.pid! };
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

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export interface Measure {
  readonly name: string;
  /** At most this share of dockerd's median (SPECIFICATION.md). */
  readonly limit?: number;
  /** One run for one contender; answers with milliseconds. */
  run(contender: Contender, round: number): number | Promise<number>;
}

export interface Row {
  readonly name: string;
  readonly medians: Readonly<Record<string, number>>;
  readonly ratio: number | undefined;
  readonly limit: number | undefined;
}

/** Contenders take turns, so that what else happens on the machine meets all of them. */
export async function compare(
  measures: readonly Measure[],
  contenders: readonly Contender[],
  rounds: number,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const measure of measures) {
    const times = new Map(contenders.map(({ name }) => [name, [] as number[]]));
    for (let round = 0; round < rounds; round++) {
      for (const contender of contenders) times.get(contender.name)!.push(await measure.run(contender, round));
    }
    const medians = Object.fromEntries([...times].map(([name, values]) => [name, median(values)]));
    const { berth, dockerd } = medians;
    rows.push({
      name: measure.name,
      medians,
      limit: measure.limit,
      ratio: berth !== undefined && dockerd ? berth / dockerd : undefined,
    });
  }
  return rows;
}

/** Prints the table; false when a limit is broken. */
export function report(rows: readonly Row[]): boolean {
  const names = Object.keys(rows[0]?.medians ?? {});
  console.log(
    ["measure".padEnd(34), ...names.map((name) => name.padStart(12)), "ratio".padStart(8), "limit".padStart(8)].join(
      "",
    ),
  );
  for (const { name, medians, ratio, limit } of rows) {
    const figures = names.map((each) => `${medians[each]!.toFixed(0)} ms`.padStart(12));
    const verdict = ratio !== undefined && limit !== undefined && ratio > limit ? "  over" : "";
    console.log(
      [
        name.padEnd(34),
        ...figures,
        (ratio?.toFixed(2) ?? "").padStart(8),
        (limit?.toFixed(2) ?? "").padStart(8),
        verdict,
      ].join(""),
    );
  }
  return rows.every(({ ratio, limit }) => ratio === undefined || limit === undefined || ratio <= limit);
}
