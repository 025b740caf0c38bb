import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Cgroup } from "./cgroup.ts";
import type { CgroupLayout } from "./layout.ts";

/** Counters of a control group; fields are absent where the host has no such counter. */
export interface CgroupStats {
  readonly cpu: {
    readonly usageNanos: number;
    readonly userNanos: number;
    readonly systemNanos: number;
    readonly perCpuNanos?: readonly number[];
    readonly periods: number;
    readonly throttledPeriods: number;
    readonly throttledNanos: number;
  };
  readonly memory: {
    readonly usageBytes: number;
    readonly limitBytes: number;
    readonly maxUsageBytes?: number;
    readonly failures?: number;
    /** memory.stat as the kernel names it. */
    readonly stat: Readonly<Record<string, number>>;
  };
  readonly pids: { readonly current: number; readonly limit: number };
  readonly blockIo: ReadonlyArray<BlockIo>;
}

export interface BlockIo {
  readonly major: number;
  readonly minor: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly readOps: number;
  readonly writeOps: number;
}

/** A v1 clock tick (USER_HZ) in nanoseconds. */
const TICK_NANOS = 10_000_000;
/** v1 writes "no limit" as the largest multiple of the page size. */
const NO_LIMIT = 0x7ffffffffffff000;

/** Reads a group's counters. What a host does not count is 0. */
export async function cgroupStats(layout: CgroupLayout, group: Cgroup): Promise<CgroupStats> {
  return layout.mode === "unified" ? statsV2(group) : statsV1(group);
}

async function statsV1(group: Cgroup): Promise<CgroupStats> {
  const read = (controller: string, file: string) => readText(group.directory(controller), file);
  const [usage, ticks, perCpu, throttling, memory, limit, maxUsage, failures, memoryStat, pids, pidsMax] =
    await Promise.all([
      read("cpuacct", "cpuacct.usage"),
      read("cpuacct", "cpuacct.stat"),
      read("cpuacct", "cpuacct.usage_percpu"),
      read("cpu", "cpu.stat"),
      read("memory", "memory.usage_in_bytes"),
      read("memory", "memory.limit_in_bytes"),
      read("memory", "memory.max_usage_in_bytes"),
      read("memory", "memory.failcnt"),
      read("memory", "memory.stat"),
      read("pids", "pids.current"),
      read("pids", "pids.max"),
    ]);
  const [bytes, ops] = await Promise.all([
    read("blkio", "blkio.throttle.io_service_bytes"),
    read("blkio", "blkio.throttle.io_serviced"),
  ]);
  const cpu = flatKeyed(throttling);
  const tick = flatKeyed(ticks);
  return {
    cpu: {
      usageNanos: number(usage),
      userNanos: (tick["user"] ?? 0) * TICK_NANOS,
      systemNanos: (tick["system"] ?? 0) * TICK_NANOS,
      perCpuNanos: perCpu.trim() === "" ? undefined : perCpu.trim().split(/\s+/).map(Number),
      periods: cpu["nr_periods"] ?? 0,
      throttledPeriods: cpu["nr_throttled"] ?? 0,
      throttledNanos: cpu["throttled_time"] ?? 0,
    },
    memory: {
      usageBytes: number(memory),
      limitBytes: Math.min(number(limit), NO_LIMIT),
      maxUsageBytes: number(maxUsage),
      failures: number(failures),
      stat: flatKeyed(memoryStat),
    },
    pids: { current: number(pids), limit: number(pidsMax) },
    blockIo: blockIoV1(bytes, ops),
  };
}

async function statsV2(group: Cgroup): Promise<CgroupStats> {
  const directory = group.directory("cpu");
  const read = (file: string) => readText(directory, file);
  const [cpuText, memory, limit, memoryStat, pids, pidsMax, io] = await Promise.all(
    ["cpu.stat", "memory.current", "memory.max", "memory.stat", "pids.current", "pids.max", "io.stat"].map(read),
  );
  const cpu = flatKeyed(cpuText!);
  return {
    cpu: {
      usageNanos: (cpu["usage_usec"] ?? 0) * 1000,
      userNanos: (cpu["user_usec"] ?? 0) * 1000,
      systemNanos: (cpu["system_usec"] ?? 0) * 1000,
      periods: cpu["nr_periods"] ?? 0,
      throttledPeriods: cpu["nr_throttled"] ?? 0,
      throttledNanos: (cpu["throttled_usec"] ?? 0) * 1000,
    },
    memory: {
      usageBytes: number(memory!),
      limitBytes: limit!.trim() === "max" ? NO_LIMIT : number(limit!),
      stat: flatKeyed(memoryStat!),
    },
    pids: { current: number(pids!), limit: number(pidsMax!) },
    blockIo: blockIoV2(io!),
  };
}

async function readText(directory: string | undefined, file: string): Promise<string> {
  return directory === undefined ? "" : readFile(path.join(directory, file), "utf8").catch(() => "");
}

/** 0 for `max` and for nothing. */
function number(text: string): number {
  const value = Number(text.trim());
  return Number.isFinite(value) ? value : 0;
}

function flatKeyed(text: string): Record<string, number> {
  const result: Record<string, number> = {};
  for (const line of text.split("\n")) {
    const [key, value] = line.split(" ");
    if (key && value !== undefined) result[key] = Number(value);
  }
  return result;
}

/** `8:0 Read 4096` lines of two files, joined by device. */
export function blockIoV1(bytes: string, ops: string): BlockIo[] {
  const devices = new Map<string, { read: [number, number]; write: [number, number] }>();
  for (const [which, text] of [bytes, ops].entries()) {
    for (const line of text.split("\n")) {
      const [device, kind, value] = line.split(" ");
      if (!device?.includes(":") || (kind !== "Read" && kind !== "Write")) continue;
      const entry = devices.get(device) ?? { read: [0, 0], write: [0, 0] };
      (kind === "Read" ? entry.read : entry.write)[which] = Number(value);
      devices.set(device, entry);
    }
  }
  return [...devices].map(([device, { read, write }]) => ({
    ...deviceNumbers(device),
    readBytes: read[0],
    writeBytes: write[0],
    readOps: read[1],
    writeOps: write[1],
  }));
}

/** `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 …` lines. */
export function blockIoV2(text: string): BlockIo[] {
  return text
    .split("\n")
    .filter((line) => /^\d+:\d+ /.test(line))
    .map((line) => {
      const [device = "", ...pairs] = line.split(" ");
      const values = Object.fromEntries(pairs.map((pair) => pair.split("=") as [string, string]));
      const value = (name: string) => Number(values[name] ?? 0);
      return {
        ...deviceNumbers(device),
        readBytes: value("rbytes"),
        writeBytes: value("wbytes"),
        readOps: value("rios"),
        writeOps: value("wios"),
      };
    });
}

function deviceNumbers(device: string): { major: number; minor: number } {
  const [major, minor] = device.split(":").map(Number);
  return { major: major!, minor: minor! };
}
