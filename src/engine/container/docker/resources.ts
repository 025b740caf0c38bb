import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { cpus } from "node:os";
import path from "node:path";
import { invalidArgument } from "../../../base/index.ts";
import type {
  DockerHostConfig,
  DockerResources,
  OciDevice,
  OciDeviceRule,
  OciResources,
  OciThrottle,
} from "../../../api/index.ts";
import { deviceNumbers, devicesAt } from "../spec/devices.ts";

const MIN_MEMORY_BYTES = 6 * 1024 * 1024;
const CPU_PERIOD_US = 100_000;

/** Refuses limits that no kernel takes, in Docker's words. */
export function checkResources(limits: DockerResources): void {
  if (limits.Memory && limits.Memory > 0 && limits.Memory < MIN_MEMORY_BYTES)
    throw invalidArgument("Minimum memory limit allowed is 6MB");
  if (limits.MemorySwap && limits.MemorySwap > 0 && !limits.Memory)
    throw invalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage");
  if (limits.Memory && limits.MemorySwap && limits.MemorySwap > 0 && limits.MemorySwap < limits.Memory)
    throw invalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage");
  if (limits.Memory && limits.MemoryReservation && limits.MemoryReservation > limits.Memory)
    throw invalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage");
  if (limits.NanoCpus) {
    const most = cpus().length;
    if (limits.NanoCpus < 0 || limits.NanoCpus > most * 1e9)
      throw invalidArgument(`range of CPUs is from 0.01 to ${most}.00, as there are only ${most} CPUs available`);
    if (limits.CpuQuota || limits.CpuPeriod)
      throw invalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set");
  }
  if (limits.CpuQuota && limits.CpuQuota > 0 && limits.CpuQuota < 1000)
    throw invalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  if (limits.BlkioWeight && (limits.BlkioWeight < 10 || limits.BlkioWeight > 1000))
    throw invalidArgument("Range of blkio weight is from 10 to 1000");
  checkSet("CPUs", "cpus", limits.CpusetCpus, "/sys/devices/system/cpu/online");
  checkSet("memory nodes", "mems", limits.CpusetMems, "/sys/devices/system/node/online");
}

/** `0-2,7`, all of it among what the kernel lists in `online`. */
function checkSet(what: string, name: string, wanted: string | undefined, online: string): void {
  if (!wanted) return;
  const numbers = parseSet(wanted);
  if (!numbers) throw invalidArgument(`Invalid value ${wanted} for cpuset ${name}: invalid format: ${wanted}`);
  // A kernel without memory nodes has no such file, and the one node.
  const available = existsSync(online) ? readFileSync(online, "utf8").trim() : "0";
  const known = parseSet(available);
  if (known && ![...numbers].every((number) => known.has(number)))
    throw invalidArgument(`Requested ${what} are not available - requested ${wanted}, available: ${available}`);
}

/** More than any machine has. */
const MAX_SET = 8192;

/** The numbers of a list of ranges, as cpuset(7) has it; undefined for what is none. */
export function parseSet(text: string): Set<number> | undefined {
  const numbers = new Set<number>();
  for (const range of text.split(",")) {
    const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range.trim()) ?? [];
    if (first === undefined || Number(last) < Number(first) || Number(last) >= MAX_SET) return undefined;
    for (let number = Number(first); number <= Number(last); number++) numbers.add(number);
  }
  return numbers;
}

/** Takes out of `limits` what this kernel can't do, as dockerd does, and answers its warnings. */
export function discardUnsupported(limits: DockerResources, weights = hasBlockWeights()): string[] {
  if (weights) return [];
  const warnings: string[] = [];
  if (limits.BlkioWeight)
    warnings.push("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
  if (limits.BlkioWeightDevice?.length)
    warnings.push(
      "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
    );
  if (warnings.length > 0) Object.assign(limits, { BlkioWeight: 0, BlkioWeightDevice: [] });
  return warnings;
}

/** Whether the kernel's I/O scheduler knows weights: its file is in v1's root, and in v2's groups below it. */
function hasBlockWeights(): boolean {
  const groups = readdirSync("/sys/fs/cgroup", { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return groups.some(({ name }) =>
    ["io.weight", "blkio.weight"].some((file) => existsSync(`/sys/fs/cgroup/${name}/${file}`)),
  );
}

/** Docker's limits as the OCI spec has them; device rules apart. */
export function ociResources(limits: DockerResources): OciResources {
  const memory = limits.Memory || undefined;
  const quota = limits.NanoCpus ? Math.round((limits.NanoCpus / 1e9) * CPU_PERIOD_US) : limits.CpuQuota || undefined;
  const resources: OciResources = {
    memory: {
      limit: memory,
      // As Docker: twice the memory when only that is given.
      swap: limits.MemorySwap || (memory !== undefined && hasSwapAccounting() ? memory * 2 : undefined),
      reservation: limits.MemoryReservation || undefined,
      // The CLI says -1 for "as the host has it".
      swappiness: (limits.MemorySwappiness ?? -1) < 0 ? undefined : limits.MemorySwappiness!,
      disableOOMKiller: limits.OomKillDisable || undefined,
    },
    cpu: {
      shares: limits.CpuShares || undefined,
      quota,
      period: limits.NanoCpus ? CPU_PERIOD_US : limits.CpuPeriod || undefined,
      cpus: limits.CpusetCpus || undefined,
      mems: limits.CpusetMems || undefined,
      realtimePeriod: limits.CpuRealtimePeriod || undefined,
      realtimeRuntime: limits.CpuRealtimeRuntime || undefined,
    },
  };
  if (limits.PidsLimit && limits.PidsLimit > 0) resources.pids = { limit: limits.PidsLimit };
  const blockIO = {
    weight: limits.BlkioWeight || undefined,
    weightDevice: limits.BlkioWeightDevice?.map(({ Path, Weight }) => ({ ...numbersOf(Path), weight: Weight })),
    throttleReadBpsDevice: throttles(limits.BlkioDeviceReadBps),
    throttleWriteBpsDevice: throttles(limits.BlkioDeviceWriteBps),
    throttleReadIOPSDevice: throttles(limits.BlkioDeviceReadIOps),
    throttleWriteIOPSDevice: throttles(limits.BlkioDeviceWriteIOps),
  };
  if (Object.values(blockIO).some((value) => value !== undefined)) resources.blockIO = blockIO;
  return JSON.parse(JSON.stringify(resources)) as OciResources;
}

let swapAccounting: boolean | undefined;
function hasSwapAccounting(): boolean {
  swapAccounting ??= ["/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "/sys/fs/cgroup/cgroup.controllers"].some(
    (file) => statSync(file, { throwIfNoEntry: false }) !== undefined,
  );
  return swapAccounting;
}

function throttles(list: Array<{ Path: string; Rate: number }> | null | undefined): OciThrottle[] | undefined {
  if (!list?.length) return undefined;
  return list.map(({ Path, Rate }) => ({ ...numbersOf(Path), rate: Rate }));
}

function numbersOf(file: string): { major: number; minor: number } {
  const { major, minor } = deviceNumbers(file);
  return { major, minor };
}

/** `--device` and `--device-cgroup-rule`. */
export function ociDevices(host: DockerHostConfig): { devices: OciDevice[]; rules: OciDeviceRule[] } {
  const devices: OciDevice[] = [];
  const rules: OciDeviceRule[] = [];
  for (const device of host.Devices ?? []) {
    const outside = device.PathOnHost ?? "";
    const inside = device.PathInContainer || outside;
    for (const node of devicesAt(outside)) {
      devices.push({ ...node, path: path.join(inside, path.relative(outside, node.path)) });
      const { type, major, minor } = node;
      rules.push({ allow: true, type, major, minor, access: device.CgroupPermissions || "rwm" });
    }
  }
  for (const rule of host.DeviceCgroupRules ?? []) {
    const match = /^([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})$/.exec(rule);
    if (!match) throw invalidArgument(`invalid device cgroup rule format: '${rule}'`);
    const number = (text: string) => (text === "*" ? undefined : Number(text));
    rules.push({
      allow: true,
      type: match[1] as "a" | "b" | "c",
      major: number(match[2]!),
      minor: number(match[3]!),
      access: match[4],
    });
  }
  return { devices, rules };
}
