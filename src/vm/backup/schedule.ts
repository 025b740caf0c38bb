import type { vm } from "../../api/index.ts";
import { invalidArgument, type Timer } from "../../base/index.ts";
import type { Machine } from "../machine/machine.ts";
import type { Machines } from "../machine/machines.ts";
import type { Backups } from "./backups.ts";

const MIN_EVERY_MS = 60_000;
const MAX_KEEP = 1_000;
const LOOK_MS = 30_000;

/** Makes the backups that machines' policies ask for, and drops those beyond what they keep. */
export class BackupSchedule {
  readonly #machines: Machines;
  readonly #backups: Backups;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(machines: Machines, backups: Backups) {
    this.#machines = machines;
    this.#backups = backups;
    this.#arm();
  }

  async set(machine: Machine, policy: vm.VmBackupPolicy | undefined): Promise<void> {
    if (policy) checkPolicy(policy);
    const { backupPolicy: _old, ...rest } = machine.record;
    await machine.replace({ ...rest, ...(policy ? { backupPolicy: policy } : {}) });
  }

  /** One look at all machines. */
  async look(): Promise<void> {
    const { clock, log } = this.#machines.host.context;
    for (const machine of this.#machines.all()) {
      const { backupPolicy: policy, name } = machine.record;
      if (!policy || !isDue(machine.record, clock.nowMs())) continue;
      try {
        await this.#backups.create(machine);
        await this.#backups.expire(machine, policy.keep);
      } catch (error) {
        log.error("a scheduled backup failed", { machine: name, error });
      }
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #arm(): void {
    this.#timer = this.#machines.host.context.clock.after(LOOK_MS, () => {
      void this.look().finally(() => {
        if (!this.#stopped) this.#arm();
      });
    });
  }
}

/** Pure. */
export function isDue(
  { backupPolicy, lastBackupMs, createdMs }: Pick<Machine["record"], "backupPolicy" | "lastBackupMs" | "createdMs">,
  nowMs: number,
): boolean {
  return backupPolicy !== undefined && nowMs - (lastBackupMs ?? createdMs) >= backupPolicy.everyMs;
}

export function checkPolicy({ everyMs, keep }: vm.VmBackupPolicy): void {
  if (!(everyMs >= MIN_EVERY_MS)) throw invalidArgument("backups cannot be made more often than each minute");
  if (!Number.isInteger(keep) || keep < 1 || keep > MAX_KEEP)
    throw invalidArgument(`${keep} backups cannot be kept`, { hint: `1 to ${MAX_KEEP}` });
}
