import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../base/index.ts";
import { kubeletConfiguration } from "../configuration.ts";
import type { Pod } from "../pod/imports.ts";
import { shutdownPods, type Ending } from "./shutdown.ts";

function ending(name: string, priority: number, clock: FakeClock, takesMs: number, log: string[]): Ending {
  let done: Promise<void> = Promise.resolve();
  return {
    pod: { metadata: { name }, spec: { containers: [], priority } } as unknown as Pod,
    fail(verdict, maxGraceSeconds) {
      log.push(`${name} ${verdict.reason} within ${maxGraceSeconds}`);
      done = clock.sleep(takesMs).then(() => void log.push(`${name} ended`));
    },
    settled: () => done,
  };
}

async function shutdown(raw: Record<string, unknown>, pods: Array<[name: string, priority: number, takesMs: number]>) {
  const clock = new FakeClock();
  const log: string[] = [];
  const endings = pods.map(([name, priority, takesMs]) => ending(name, priority, clock, takesMs, log));
  const finished = shutdownPods(
    endings,
    kubeletConfiguration(raw).shutdownGroups,
    clock,
    new AbortController().signal,
  ).then(() => log.push("off"));
  for (let second = 0; second < 120 && log.at(-1) !== "off"; second++) await clock.advance(1_000);
  await finished;
  return log;
}

test("critical Pods end after the others, each group within its time", async () => {
  const critical = 2_000_000_000;
  assert.deepEqual(
    await shutdown({ shutdownGracePeriod: "30s", shutdownGracePeriodCriticalPods: "10s" }, [
      ["dns", critical, 1_000],
      ["web", 0, 2_000],
    ]),
    ["web Terminated within 20", "web ended", "dns Terminated within 10", "dns ended", "off"],
  );
});

test("what doesn't end in its time is left behind", async () => {
  assert.deepEqual(
    await shutdown({ shutdownGracePeriod: "10s", shutdownGracePeriodCriticalPods: "4s" }, [["stubborn", 5, 60_000]]),
    ["stubborn Terminated within 6", "off"],
  );
});

test("groups by priority, the lowest first; what is below all ends with the first", async () => {
  const shutdownGracePeriodByPodPriority = [
    { priority: 1000, shutdownGracePeriodSeconds: 3 },
    { priority: 0, shutdownGracePeriodSeconds: 5 },
  ];
  const log = await shutdown({ shutdownGracePeriodByPodPriority }, [
    ["high", 1500, 1_000],
    ["low", -10, 1_000],
    ["middle", 999, 1_000],
  ]);
  assert.deepEqual(log, [
    "low Terminated within 5",
    "middle Terminated within 5",
    "low ended",
    "middle ended",
    "high Terminated within 3",
    "high ended",
    "off",
  ]);
});

test("a configuration that can't be meant is refused by the name of its field", () => {
  assert.throws(
    () => kubeletConfiguration({ shutdownGracePeriod: "5s", shutdownGracePeriodCriticalPods: "6s" }),
    /shutdownGracePeriodCriticalPods is more than shutdownGracePeriod/,
  );
  assert.throws(
    () => kubeletConfiguration({ shutdownGracePeriod: "soon" }),
    /shutdownGracePeriod: "soon" is no duration/,
  );
  assert.throws(() => kubeletConfiguration({ nodeLeaseDurationSeconds: 0.5 }), /whole number of seconds above 0/);
  assert.throws(() => kubeletConfiguration({ staticPodpath: "/x" }), /unknown field "staticPodpath"/);
});
