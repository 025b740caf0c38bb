import type { cri } from "../../api/index.ts";
import type { Clock } from "../../base/index.ts";
import type { RuntimeStats } from "../container/index.ts";
import type { ContainerRecord, SandboxRecord } from "./records.ts";

/** Turns counters into CRI's figures; a rate needs the sample before. */
export class StatsSampler {
  readonly #clock: Clock;
  readonly #last = new Map<string, { atMs: number; nanos: number; nanoCores: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  forget(id: string): void {
    this.#last.delete(id);
  }

  container(
    { id, config, startedAt }: ContainerRecord,
    stats: RuntimeStats,
    usage: { sizeBytes: number; inodes: number },
  ): cri.ContainerStats {
    const timestamp = stats.atMs * 1e6;
    const inactive = stats.memory.stat["total_inactive_file"] ?? stats.memory.stat["inactive_file"] ?? 0;
    const workingSet = Math.max(0, stats.memory.usageBytes - inactive);
    return {
      attributes: { id, metadata: config.metadata, labels: config.labels, annotations: config.annotations },
      cpu: {
        timestamp,
        usageCoreNanoSeconds: stats.cpu.usageNanos,
        usageNanoCores: this.#rate(id, stats, startedAt / 1e6),
      },
      memory: {
        timestamp,
        workingSetBytes: workingSet,
        availableBytes: Math.max(0, stats.memory.limitBytes - workingSet),
        usageBytes: stats.memory.usageBytes,
        rssBytes: stats.memory.stat["total_rss"] ?? stats.memory.stat["anon"] ?? 0,
        pageFaults: stats.memory.stat["total_pgfault"] ?? stats.memory.stat["pgfault"] ?? 0,
        majorPageFaults: stats.memory.stat["total_pgmajfault"] ?? stats.memory.stat["pgmajfault"] ?? 0,
      },
      writableLayer: { timestamp, mountpoint: "", usedBytes: usage.sizeBytes, inodesUsed: usage.inodes },
    };
  }

  /** Since the sample before, or the start: nothing known is not the same as nothing used. */
  #rate(id: string, stats: RuntimeStats, startedMs: number): number {
    const before = this.#last.get(id);
    const since = before ?? { atMs: startedMs, nanos: 0 };
    const nanos = stats.cpu.usageNanos;
    const tooSoon = before !== undefined && stats.atMs - before.atMs < MIN_INTERVAL_MS;
    if (tooSoon) return before.nanoCores;
    const elapsedMs = Math.max(MIN_INTERVAL_MS, stats.atMs - since.atMs);
    const nanoCores = Math.max(0, Math.round(((nanos - since.nanos) / elapsedMs) * 1000));
    this.#last.set(id, { atMs: stats.atMs, nanos, nanoCores });
    return nanoCores;
  }

  pod(
    { id, config }: SandboxRecord,
    containers: cri.ContainerStats[],
    raw: RuntimeStats | undefined,
  ): cri.PodSandboxStats {
    const timestamp = this.#clock.nowMs() * 1e6;
    const sum = (read: (stats: cri.ContainerStats) => number) =>
      containers.reduce((total, stats) => total + read(stats), 0);
    const interfaces = (raw?.network ?? [])
      .filter((link) => link.name !== "lo")
      .map(({ name, rxBytes, rxErrors, txBytes, txErrors }) => ({ name, rxBytes, rxErrors, txBytes, txErrors }));
    return {
      attributes: { id, metadata: config.metadata, labels: config.labels, annotations: config.annotations },
      cpu: {
        timestamp,
        usageCoreNanoSeconds: sum((stats) => stats.cpu.usageCoreNanoSeconds),
        usageNanoCores: sum((stats) => stats.cpu.usageNanoCores),
      },
      memory: {
        timestamp,
        workingSetBytes: sum((stats) => stats.memory.workingSetBytes),
        availableBytes: 0,
        usageBytes: sum((stats) => stats.memory.usageBytes),
        rssBytes: sum((stats) => stats.memory.rssBytes),
        pageFaults: sum((stats) => stats.memory.pageFaults),
        majorPageFaults: sum((stats) => stats.memory.majorPageFaults),
      },
      network: {
        timestamp,
        interfaces,
        defaultInterface: interfaces[0] ?? { name: "eth0", rxBytes: 0, rxErrors: 0, txBytes: 0, txErrors: 0 },
      },
      process: { timestamp, processCount: raw?.pids.current ?? 0 },
      containers,
    };
  }
}

/** Rates over less than this are noise. */
const MIN_INTERVAL_MS = 1_000;
