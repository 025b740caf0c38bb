import { readFile, statfs } from "node:fs/promises";
import type { cri } from "../../api/index.ts";
import type { Clock } from "../../base/index.ts";
import type { PodVolumeStats } from "../kubelet/index.ts";

/** /proc/stat counts in hundredths of a second. */
const NANOS_PER_TICK = 10_000_000;
const MIN_INTERVAL_MS = 1_000;

export interface NodeUsage {
  readonly nanoCores: number;
  readonly memoryBytes: number;
}

/** Of the file system on which images, containers and Pods' folders are. */
export interface FilesystemRoom {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
  readonly inodesUsed: number;
}

export interface NodeUsageOptions {
  readonly clock: Clock;
  /** Of the instance's data. */
  readonly folder: string;
  readonly read?: (file: string) => Promise<string>;
}

/** What the whole machine uses, from /proc; CPU since the sample before. */
export class NodeUsageSampler {
  readonly #clock: Clock;
  readonly #read: (file: string) => Promise<string>;
  #last: { atMs: number; busyTicks: number; nanoCores: number } | undefined;

  readonly #folder: string;

  constructor({ clock, folder, read }: NodeUsageOptions) {
    this.#clock = clock;
    this.#folder = folder;
    this.#read = read ?? ((file) => readFile(file, "utf8"));
  }

  async filesystem(): Promise<FilesystemRoom> {
    const { bsize, blocks, bavail, bfree, files, ffree } = await statfs(this.#folder);
    return {
      capacityBytes: blocks * bsize,
      availableBytes: bavail * bsize,
      usedBytes: (blocks - bfree) * bsize,
      inodes: files,
      inodesFree: ffree,
      inodesUsed: files - ffree,
    };
  }

  async sample(): Promise<NodeUsage> {
    const [stat, memory] = await Promise.all([this.#read("/proc/stat"), this.#read("/proc/meminfo")]);
    return { nanoCores: this.#rate(busyTicks(stat)), memoryBytes: usedBytes(memory) };
  }

  #rate(ticks: number): number {
    const atMs = this.#clock.monotonicMs();
    const before = this.#last;
    if (before && atMs - before.atMs < MIN_INTERVAL_MS) return before.nanoCores;
    const nanoCores = before ? ((ticks - before.busyTicks) * NANOS_PER_TICK * 1000) / (atMs - before.atMs) : 0;
    this.#last = { atMs, busyTicks: ticks, nanoCores };
    return nanoCores;
  }
}

/** A node whose figures this process can read. */
export interface MeasuredNode {
  readonly name: string;
  readonly runtime: cri.RuntimeService;
  /** Of the machine. */
  readonly usage: NodeUsageSampler;
  /** One of several nodes on the machine: what it uses itself is what its Pods use. */
  readonly sharesMachine?: boolean;
  /** How full the volumes of its Pods are. */
  readonly volumes?: () => Promise<readonly PodVolumeStats[]>;
}

export async function usageOf({ runtime, usage, sharesMachine }: MeasuredNode): Promise<NodeUsage> {
  if (!sharesMachine) return usage.sample();
  const pods = await runtime.listPodSandboxStats();
  const sum = (read: (pod: cri.PodSandboxStats) => number) => pods.reduce((total, pod) => total + read(pod), 0);
  return { nanoCores: sum(({ cpu }) => cpu.usageNanoCores), memoryBytes: sum(({ memory }) => memory.workingSetBytes) };
}

/** user + nice + system + irq + softirq + steal of the first line. */
function busyTicks(stat: string): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = stat
    .split("\n")[0]!
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return user + nice + system + irq + softirq + steal;
}

function usedBytes(meminfo: string): number {
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(meminfo)?.[1] ?? 0);
  return Math.max(0, kib("MemTotal") - kib("MemAvailable")) * 1024;
}
