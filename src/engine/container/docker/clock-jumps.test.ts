/** The wall clock is set back and forth; what waits and what is measured goes on as if nothing had been. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle } from "../../../base/index.ts";
import { MemoryEventBus } from "../../events/index.ts";
import { HealthMonitor, type ProbeResult } from "./health.ts";
import type { ContainerRecord, HealthState } from "./record.ts";
import { RestartTimers } from "./restarts.ts";

const HOUR_MS = 3_600_000;
const NANOS = 1e6;

function monitored(clock: FakeClock, exitCode: number, startPeriodMs: number) {
  const record = { state: { startedMs: clock.nowMs() } } as ContainerRecord;
  const states: HealthState[] = [];
  const probe = async (): Promise<ProbeResult> => ({
    startMs: clock.nowMs(),
    endMs: clock.nowMs(),
    exitCode,
    output: "",
  });
  const config = {
    Test: ["CMD", "x"],
    Interval: 1_000 * NANOS,
    StartPeriod: startPeriodMs * NANOS,
    StartInterval: 1_000 * NANOS,
    Retries: 2,
  };
  const monitor = new HealthMonitor(clock, record, config, probe, (state) => {
    record.state.health = state;
    states.push(state);
  });
  return { states, monitor, record };
}

test("health: probes come at their interval, and a start period lasts as long as it lasts", async () => {
  for (const jumpMs of [HOUR_MS, -HOUR_MS]) {
    const clock = new FakeClock();
    const { states, monitor } = monitored(clock, 1, 5_000);
    await clock.advance(1_500);
    clock.jump(jumpMs);
    await clock.advance(3_000);
    assert.equal(states.length, 4, `${jumpMs}`);
    assert.equal(states.at(-1)?.status, "starting");
    await clock.advance(3_000);
    assert.equal(states.at(-1)?.status, "unhealthy");
    monitor.stop();
  }
});

test("health: after a restart of the daemon the next probe is due when it would have been", async () => {
  const clock = new FakeClock();
  const record = {
    state: {
      startedMs: clock.nowMs() - HOUR_MS,
      health: {
        status: "healthy",
        failingStreak: 0,
        log: [{ startMs: 0, endMs: clock.nowMs() - 8_000, exitCode: 0, output: "" }],
      },
    },
  } as unknown as ContainerRecord;
  let probes = 0;
  const probe = async (): Promise<ProbeResult> => ({
    startMs: 0,
    endMs: clock.nowMs(),
    exitCode: ++probes && 0,
    output: "",
  });
  const monitor = new HealthMonitor(clock, record, { Test: ["CMD", "x"], Interval: 10_000 * NANOS }, probe, () => {});
  await clock.advance(1_900);
  assert.equal(probes, 0);
  await clock.advance(200);
  assert.equal(probes, 1);
  monitor.stop();
});

test("restarts: the backoff goes on counting", async () => {
  const clock = new FakeClock();
  const timers = new RestartTimers(clock);
  let restarts = 0;
  timers.schedule("c", 0, () => restarts++);
  clock.jump(-HOUR_MS);
  await clock.advance(100);
  assert.equal(restarts, 1);
  timers.schedule("c", 0, () => restarts++);
  clock.jump(2 * HOUR_MS);
  await settle();
  assert.equal(restarts, 1);
  await clock.advance(200);
  assert.equal(restarts, 2);
  timers.close();
});

test("events keep their order when the clock goes back", async () => {
  const clock = new FakeClock();
  const bus = new MemoryEventBus(clock);
  const times: number[] = [];
  bus.on((event) => times.push(event.timeNano));
  bus.publish("container", "start", "a");
  clock.jump(-HOUR_MS);
  bus.publish("container", "die", "a");
  assert.ok(times[1]! > times[0]!);
  bus.close();
});
