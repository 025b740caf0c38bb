/**
 * A published port through localhost beside the same port at the machine's address: `node bench/ports.ts [rounds]` (root, iperf3). The figure is
 * the time that 1 GB takes, so that less is better. dockerd's localhost is its userland proxy.
 */
import { spawn, spawnSync } from "node:child_process";
import os from "node:os";
import { startBerth } from "../test/support/daemon.ts";
import {
  berthContender,
  client,
  median,
  report,
  rowOf,
  shareBusybox,
  sleep,
  startDockerd,
  type Contender,
} from "./lib.ts";

const rounds = Number(process.argv[2] ?? 5);
const PORT = 5923;
const SECONDS = 2;

const berth = await startBerth();
const dockerd = await startDockerd();
const contenders = [berthContender(berth), ...(dockerd ? [dockerd] : [])];

function output(contender: Contender, ...args: string[]): string {
  const [file, ...rest] = [...contender.client, ...args];
  return spawnSync(file!, rest, { env: contender.env, encoding: "utf8" }).stdout.trim();
}

/** The bridge's address in a namespace of its own, else the machine's. */
function hostAddress(contender: Contender): string {
  if (contender.enter.length > 0) {
    const argv = [...contender.enter, "ip", "-4", "-o", "addr", "show", "docker0"];
    const found = /inet ([\d.]+)/.exec(spawnSync(argv[0]!, argv.slice(1), { encoding: "utf8" }).stdout);
    return found![1]!;
  }
  const all = Object.entries(os.networkInterfaces()).filter(([name]) => !/^(lo|berth|br|docker|veth|cni)/.test(name));
  return all.flatMap(([, addresses]) => addresses ?? []).find((each) => each.family === "IPv4")!.address;
}

function msPerGigabyte(contender: Contender, address: string): number {
  const argv = [...contender.enter, "iperf3", "-c", address, "-p", String(PORT), "-t", String(SECONDS), "-J"];
  const result = spawnSync(argv[0]!, argv.slice(1), { encoding: "utf8" });
  const { end, error } = JSON.parse(result.stdout);
  if (error) throw new Error(`iperf3 to ${address} (${contender.name}): ${error}`);
  return 8e12 / end.sum_received.bits_per_second;
}

try {
  await berth.berth("image", "bootstrap", "busybox");
  shareBusybox(contenders);
  const rows = [];
  for (const contender of contenders) {
    client(contender, "run", "-d", "--name", "port", "-p", `${PORT}:5201`, "busybox", "sleep", "1000");
    const pid = output(contender, "inspect", "-f", "{{.State.Pid}}", "port");
    const server = spawn("nsenter", ["-t", pid, "-n", "iperf3", "-s"], { stdio: "ignore" });
    await sleep(500);
    const [local, direct]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      local.push(msPerGigabyte(contender, "127.0.0.1"));
      direct.push(msPerGigabyte(contender, hostAddress(contender)));
    }
    server.kill("SIGKILL");
    client(contender, "rm", "-f", "port");
    const medians = { localhost: median(local), DNAT: median(direct) };
    rows.push(rowOf(`1 GB to a published port, ${contender.name}`, medians, contender === dockerd ? undefined : 1.1));
  }
  if (!report(rows)) process.exitCode = 1;
} finally {
  await dockerd?.stop();
  await berth.stop();
}
