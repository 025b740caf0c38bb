import { readFile } from "node:fs/promises";
import type { vm } from "../../api/index.ts";
import { networkCounters } from "../../host/index.ts";
import type { MachineHost } from "./host.ts";
import type { Machine } from "./machine.ts";

/** What a rate is told from: counters at a time. */
export interface StatsSample {
  readonly atMs: number;
  readonly cpuNs: number;
  /** Of all time the guest's processors had, in the guest's ticks. */
  readonly steal?: { readonly stolen: number; readonly total: number };
}

interface BlockStats {
  readonly stats: { readonly rd_bytes: number; readonly wr_bytes: number };
}

/** One look at a machine that runs. */
export async function readStats(
  host: MachineHost,
  machine: Machine,
  before: StatsSample | undefined,
): Promise<{ stats: vm.VmStats; sample: StatsSample }> {
  const { monitor, record } = machine;
  const [group, blocks, balloon, pressure, steal] = await Promise.all([
    machine.program.stats(),
    monitor.execute<BlockStats[]>("query-blockstats"),
    balloonStats(machine),
    hostPressure(),
    guestSteal(machine),
  ]);
  const cpuNs = group.cpu?.usageNanos ?? 0;
  const atMs = host.context.clock.monotonicMs();
  const elapsedNs = before ? (atMs - before.atMs) * 1e6 : 0;
  const links = await networkCounters(machine.program.pid).catch(() => []);
  // What the host's end of the tap sends is what the guest receives.
  const taps = links.filter(({ name }) => name.startsWith("tap"));
  const sum = <T>(items: readonly T[], of: (item: T) => number) => items.reduce((total, item) => total + of(item), 0);
  const stolen = stealPercent(before?.steal, steal);
  return {
    sample: { atMs, cpuNs, ...(steal ? { steal } : {}) },
    stats: {
      atMs: host.context.clock.nowMs(),
      cpuNs,
      ...(before && elapsedNs > 0 ? { cpuPercent: (100 * (cpuNs - before.cpuNs)) / elapsedNs } : {}),
      ...(stolen === undefined ? {} : { stealPercent: stolen }),
      memoryGivenBytes: balloon.givenBytes ?? record.spec.memoryBytes,
      ...(balloon.usedBytes === undefined ? {} : { memoryUsedBytes: balloon.usedBytes }),
      hostMemoryBytes: group.memory?.usageBytes ?? 0,
      readBytes: sum(blocks, ({ stats }) => stats.rd_bytes),
      writeBytes: sum(blocks, ({ stats }) => stats.wr_bytes),
      rxBytes: sum(taps, ({ txBytes }) => txBytes),
      txBytes: sum(taps, ({ rxBytes }) => rxBytes),
      hostPressure: pressure,
    },
  };
}

/** From the guest's balloon driver: https://www.qemu.org/docs/master/interop/virtio-balloon-stats.html */
async function balloonStats({ monitor }: Machine): Promise<{ givenBytes?: number; usedBytes?: number }> {
  const [given, guest] = await Promise.all([
    monitor.execute<{ actual: number }>("query-balloon").catch(() => undefined),
    monitor
      .execute<{ stats: Record<string, number> }>("qom-get", {
        path: "/machine/peripheral/balloon",
        property: "guest-stats",
      })
      .catch(() => undefined),
  ]);
  const { "stat-total-memory": total = -1, "stat-available-memory": available = -1 } = guest?.stats ?? {};
  // Values that no driver has given yet are all ones.
  const known = total > 0 && available >= 0 && available <= total;
  return { ...(given ? { givenBytes: given.actual } : {}), ...(known ? { usedBytes: total - available } : {}) };
}

/** Pressure stall information: https://docs.kernel.org/accounting/psi.html */
async function hostPressure(): Promise<vm.VmStats["hostPressure"]> {
  const read = async (name: string) => {
    const text = await readFile(`/proc/pressure/${name}`, "utf8").catch(() => "");
    const value = /^some avg10=([\d.]+)/m.exec(text)?.[1];
    return value === undefined ? {} : { [name]: Number(value) };
  };
  return Object.assign({}, ...(await Promise.all(["cpu", "memory", "io"].map(read)))) as vm.VmStats["hostPressure"];
}

async function guestSteal(machine: Machine): Promise<StatsSample["steal"]> {
  if (machine.agentSeenMs === undefined) return undefined;
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of machine.agent.read("/proc/stat")) chunks.push(chunk);
  } catch {
    return undefined;
  }
  return parseSteal(Buffer.concat(chunks).toString());
}

/** The first line of /proc/stat: user nice system idle iowait irq softirq steal … */
export function parseSteal(text: string): StatsSample["steal"] {
  const fields = /^cpu +(.*)$/m.exec(text)?.[1]?.split(" ").map(Number);
  if (!fields || fields.length < 8) return undefined;
  return { stolen: fields[7]!, total: fields.slice(0, 8).reduce((sum, ticks) => sum + ticks, 0) };
}

export function stealPercent(before: StatsSample["steal"], now: StatsSample["steal"]): number | undefined {
  if (!before || !now || now.total <= before.total) return undefined;
  return (100 * (now.stolen - before.stolen)) / (now.total - before.total);
}
