/**
 * What berth costs before anybody uses it: `node bench/start.ts`, as root. Time from `berth up -d` to the first answered `docker version`
 * (compiled sources are warm after the first), and the idle daemon's memory and processor time; with and without a cluster.
 */
import { readFileSync } from "node:fs";
import { startBerth } from "../test/support/daemon.ts";

const ROUNDS = 7;
const SETTLE_MS = 5_000;
const IDLE_MS = 10_000;
const TICKS_PER_SECOND = 100;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** User and system time of a process so far, in clock ticks (proc_pid_stat(5)). */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

async function measure(kubernetes: boolean): Promise<void> {
  const berth = await startBerth({ start: false, kubernetes });
  try {
    const up = async () => {
      const began = performance.now();
      const output = await berth.berth("up", "-d");
      if (output.code !== 0) throw new Error(output.stderr);
      await berth.docker("version");
      return performance.now() - began;
    };
    const times: number[] = [];
    for (let round = 0; round <= ROUNDS; round++) {
      const ms = await up();
      if (round > 0) times.push(ms);
      await berth.berth("down");
    }
    const median = times.toSorted((a, b) => a - b)[Math.floor(ROUNDS / 2)]!;
    await up();
    const { pid } = JSON.parse((await berth.berth("status", "--json")).stdout) as { pid: number };
    await pause(SETTLE_MS);
    const before = cpuTicks(pid);
    await pause(IDLE_MS);
    const cpu = ((cpuTicks(pid) - before) / TICKS_PER_SECOND / (IDLE_MS / 1000)) * 100;
    const pss = Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]) / 1024;
    console.log(
      `${kubernetes ? "with Kubernetes" : "engine only"}: up to first answer ${median.toFixed(0)} ms; idle and fresh ${pss.toFixed(0)} MiB PSS, ${cpu.toFixed(2)} % of a core`,
    );
  } finally {
    await berth.stop();
  }
}

await measure(false);
await measure(true);
