/** Limits of a group, in the kernel's v1 units: shares (1024 a CPU), microseconds, bytes. */
export interface CgroupLimits {
  readonly cpuShares?: number;
  readonly cpuQuota?: number;
  readonly cpuPeriod?: number;
  readonly memoryLimitInBytes?: number;
  readonly pidsLimit?: number;
}

interface LimitFile {
  readonly controller: string;
  readonly file: string;
  readonly value: string;
}

const DEFAULT_PERIOD_US = 100_000;

/** What to write where. Shares become v2 weights by the formula that OCI runtimes use. */
export function limitFiles(limits: CgroupLimits, unified: boolean): LimitFile[] {
  const { cpuShares, cpuQuota, cpuPeriod = DEFAULT_PERIOD_US, memoryLimitInBytes, pidsLimit } = limits;
  const max = (value: number) => (value < 0 ? "max" : String(value));
  const files: LimitFile[] = [];
  const add = (controller: string, file: string, value: string) => files.push({ controller, file, value });
  if (cpuShares)
    if (unified) add("cpu", "cpu.weight", String(1 + Math.floor(((cpuShares - 2) * 9999) / 262_142)));
    else add("cpu", "cpu.shares", String(cpuShares));
  if (cpuQuota)
    if (unified) add("cpu", "cpu.max", `${max(cpuQuota)} ${cpuPeriod}`);
    else add("cpu", "cpu.cfs_quota_us", String(cpuQuota));
  if (memoryLimitInBytes)
    if (unified) add("memory", "memory.max", max(memoryLimitInBytes));
    else add("memory", "memory.limit_in_bytes", String(memoryLimitInBytes));
  if (pidsLimit) add("pids", "pids.max", max(pidsLimit));
  return files;
}
