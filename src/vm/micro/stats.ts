import type { RuntimeStats } from "../../engine/index.ts";

const FILES = ["cpu.stat", "memory.current", "memory.max", "memory.stat", "pids.current", "pids.max"];

/** Prints the counters of a container's control group in the guest, each file under a heading. */
export const STATS_SCRIPT = (id: string): string =>
  `cd /sys/fs/cgroup/${id} && for f in ${FILES.join(" ")}; do echo "== $f"; cat $f; done`;

const NANOS_PER_MICRO = 1000;

/** Counters of a control group of version 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html). Pure. */
export function parseStats(text: string): Omit<RuntimeStats, "atMs" | "network"> {
  const files = new Map<string, string>();
  for (const part of text.split(/^== /m).slice(1)) {
    const end = part.indexOf("\n");
    files.set(part.slice(0, end), part.slice(end + 1));
  }
  const number = (name: string) => Number(files.get(name)?.trim() === "max" ? 0 : (files.get(name) ?? 0));
  const cpu = keyed(files.get("cpu.stat"));
  return {
    cpu: {
      usageNanos: (cpu["usage_usec"] ?? 0) * NANOS_PER_MICRO,
      userNanos: (cpu["user_usec"] ?? 0) * NANOS_PER_MICRO,
      systemNanos: (cpu["system_usec"] ?? 0) * NANOS_PER_MICRO,
      periods: cpu["nr_periods"] ?? 0,
      throttledPeriods: cpu["nr_throttled"] ?? 0,
      throttledNanos: (cpu["throttled_usec"] ?? 0) * NANOS_PER_MICRO,
    },
    memory: {
      usageBytes: number("memory.current"),
      limitBytes: number("memory.max"),
      stat: keyed(files.get("memory.stat")),
    },
    pids: { current: number("pids.current"), limit: number("pids.max") },
    blockIo: [],
  };
}

function keyed(text = ""): Record<string, number> {
  return Object.fromEntries(
    text
      .split("\n")
      .filter(Boolean)
      .map((line) => {
        const [name = "", value] = line.split(" ");
        return [name, Number(value)];
      }),
  );
}
