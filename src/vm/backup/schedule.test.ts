import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, silentLogger } from "../../base/index.ts";
import type { MachineRecord } from "../machine/record.ts";
import type { Machine } from "../machine/machine.ts";
import type { Machines } from "../machine/machines.ts";
import type { Backups } from "./backups.ts";
import { BackupSchedule } from "./schedule.ts";

const HOUR_MS = 3_600_000;

test("a schedule makes a backup whenever one is due, goes on after one that failed, and ends with the daemon or by the policy's end", async () => {
  const clock = new FakeClock();
  const machine = {
    record: { name: "web", createdMs: clock.nowMs() } as MachineRecord,
    async replace(record: MachineRecord) {
      this.record = record;
    },
  };
  const made: number[] = [];
  const kept: number[] = [];
  let fails = false;
  const backups = {
    async create() {
      if (fails) throw new Error("the disk is full");
      made.push(Math.round((clock.nowMs() - machine.record.createdMs) / HOUR_MS));
      machine.record = { ...machine.record, lastBackupMs: clock.nowMs() };
    },
    async expire(_machine: Machine, keep: number) {
      kept.push(keep);
    },
  };
  const machines = { host: { context: { clock, log: silentLogger } }, all: () => [machine] };
  const schedule = new BackupSchedule(machines as unknown as Machines, backups as unknown as Backups);
  const set = (policy?: { everyMs: number; keep: number }) => schedule.set(machine as unknown as Machine, policy);

  await clock.advance(HOUR_MS);
  assert.deepEqual(made, [], "no policy, no backup");
  await set({ everyMs: 6 * HOUR_MS, keep: 3 });
  await clock.advance(13 * HOUR_MS);
  assert.deepEqual(made, [6, 12]);
  assert.deepEqual(kept, [3, 3]);
  fails = true;
  await clock.advance(6 * HOUR_MS);
  fails = false;
  await clock.advance(HOUR_MS);
  assert.equal(made.length, 3, "made up for at the next look");
  await set();
  await clock.advance(24 * HOUR_MS);
  assert.equal(made.length, 3);
  schedule.stop();
  assert.equal(clock.nextDueMs(), undefined);
});
