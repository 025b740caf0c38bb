import type { vm } from "../../api/index.ts";
import { MiB } from "../../base/index.ts";
import type { MachineRecord } from "./record.ts";

const DAY_MS = 24 * 3_600_000;
/** A machine younger than this needs no backup yet. */
const GRACE_MS = DAY_MS;
const RECENT_MS = 7 * DAY_MS;
const LITTLE_USED = 0.25;
const NEARLY_FULL = 0.9;
/** A machine that runs shorter than this says little about its need. */
const IDLE_AFTER_MS = 600_000;
const BUSY_PERCENT = 90;
const STRESSED_PERCENT = 25;
const SMALL_BYTES = 256 * MiB;

/** What berth recommends for a machine, each with the figures behind it. Pure. */
export function adviceFor(
  record: Pick<MachineRecord, "name" | "spec" | "createdMs" | "startedMs" | "lastBackupMs" | "backupPolicy">,
  stats: vm.VmStats | undefined,
  nowMs: number,
): vm.VmAdvice[] {
  return [
    ...backupAdvice(record, nowMs),
    ...(stats ? [...sizeAdvice(record, stats), ...idleAdvice(record, stats), ...hostAdvice(stats)] : []),
  ];
}

function backupAdvice({ name, createdMs, lastBackupMs, backupPolicy }: Parameters<typeof adviceFor>[0], nowMs: number) {
  const limitMs = backupPolicy ? 2 * backupPolicy.everyMs : RECENT_MS;
  const sinceMs = nowMs - (lastBackupMs ?? createdMs);
  if (sinceMs < (lastBackupMs === undefined ? Math.min(GRACE_MS, limitMs) : limitMs)) return [];
  const days = Math.floor(sinceMs / DAY_MS);
  const message =
    lastBackupMs === undefined
      ? `it has never been backed up in ${days} days: berth vm backup create ${name}`
      : `its last backup is ${days} days old: berth vm backup create ${name}`;
  return [{ kind: "noRecentBackup" as const, message }];
}

function sizeAdvice({ name, spec }: Parameters<typeof adviceFor>[0], stats: vm.VmStats): vm.VmAdvice[] {
  const advice: vm.VmAdvice[] = [];
  const mib = (bytes: number) => `${Math.round(bytes / MiB)} MiB`;
  const { memoryGivenBytes: given, memoryUsedBytes: used, cpuPercent } = stats;
  if (used !== undefined && given > SMALL_BYTES && used < given * LITTLE_USED)
    advice.push({
      kind: "overProvisioned",
      message: `it uses ${mib(used)} of its ${mib(given)} of memory: berth vm resize --memory ${Math.max(256, Math.ceil((used * 2) / MiB / 64) * 64)}m ${name}`,
    });
  if (used !== undefined && used > given * NEARLY_FULL)
    advice.push({
      kind: "underProvisioned",
      message: `it uses ${mib(used)} of its ${mib(given)} of memory: berth vm resize --memory ${Math.ceil((given * 1.5) / MiB)}m ${name}`,
    });
  const allowed = Math.min(spec.cpus * 100, spec.limits.cpuMillis ? spec.limits.cpuMillis / 10 : Infinity);
  if (cpuPercent !== undefined && cpuPercent > (allowed * BUSY_PERCENT) / 100)
    advice.push({
      kind: "underProvisioned",
      message: `it uses ${Math.round(cpuPercent)} % of the ${allowed} % of processor time that it may: berth vm resize --cpus ${spec.cpus + 1} ${name}`,
    });
  return advice;
}

/** Processors that a machine had no use for, over all the time it runs. */
function idleAdvice({ name, spec, startedMs }: Parameters<typeof adviceFor>[0], stats: vm.VmStats): vm.VmAdvice[] {
  const forMs = startedMs === undefined ? 0 : stats.atMs - startedMs;
  if (spec.cpus < 2 || forMs < IDLE_AFTER_MS) return [];
  const used = stats.cpuNs / 1e6 / forMs;
  if (used >= spec.cpus * LITTLE_USED) return [];
  const minutes = Math.round(forMs / 60_000);
  return [
    {
      kind: "overProvisioned",
      message: `it used ${used.toFixed(2)} of its ${spec.cpus} processors on average in ${minutes} minutes: berth vm stop ${name}, then berth vm resize --cpus ${Math.max(1, Math.ceil(used * 2))} ${name}`,
    },
  ];
}

function hostAdvice({ hostPressure, stealPercent = 0 }: vm.VmStats): vm.VmAdvice[] {
  const advice: vm.VmAdvice[] = [];
  for (const [what, percent] of Object.entries(hostPressure)) {
    if (percent !== undefined && percent >= STRESSED_PERCENT)
      advice.push({
        kind: "hostStressed",
        message: `in the last 10 s something on the host waited for ${what} ${percent} % of the time: stop or shrink machines`,
      });
  }
  if (stealPercent >= STRESSED_PERCENT)
    advice.push({
      kind: "hostStressed",
      message: `the host withheld ${Math.round(stealPercent)} % of the machine's processor time`,
    });
  return advice;
}
