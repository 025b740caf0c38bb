import { invalidArgument, parseQuantity } from "../../../base/index.ts";

/** https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-signals */
export type EvictionSignal = "memory.available" | "nodefs.available" | "nodefs.inodesFree" | "pid.available";

export interface Threshold {
  readonly signal: EvictionSignal;
  /** As written: `100Mi` or `10%`. */
  readonly text: string;
  /** Absolute, or a share of the capacity. */
  readonly quantity?: number;
  readonly share?: number;
}

export interface Observation {
  readonly available: number;
  readonly capacity: number;
}
export type Observations = Readonly<Partial<Record<EvictionSignal, Observation>>>;

/** Upstream's hard thresholds for Linux. */
export const DEFAULT_EVICTION_HARD = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%";

const SIGNALS: ReadonlySet<string> = new Set([
  "memory.available",
  "nodefs.available",
  "nodefs.inodesFree",
  "pid.available",
]);

/** `SIGNAL<QUANTITY,…`, as upstream's --eviction-hard. Throws invalidArgument. */
export function parseThresholds(text: string): Threshold[] {
  return text
    .split(",")
    .filter((part) => part.trim() !== "")
    .map((part) => {
      const [, signal, value] = /^\s*([a-zA-Z.]+)\s*<\s*(\S+)\s*$/.exec(part) ?? [];
      if (signal === undefined || value === undefined || !SIGNALS.has(signal))
        throw invalidArgument(`eviction threshold ${JSON.stringify(part)} is not SIGNAL<QUANTITY`, {
          hint: `signals: ${[...SIGNALS].join(", ")}`,
        });
      const percent = /^(\d+(?:\.\d+)?)%$/.exec(value);
      const amount = percent ? { share: Number(percent[1]) / 100 } : { quantity: parseQuantity(value) };
      return { signal: signal as EvictionSignal, text: value, ...amount };
    });
}

/** The thresholds that are crossed now. */
export function crossed(thresholds: readonly Threshold[], observations: Observations): Threshold[] {
  return thresholds.filter(({ signal, quantity, share }) => {
    const observed = observations[signal];
    return observed !== undefined && observed.available < (quantity ?? share! * observed.capacity);
  });
}

/** The node condition that a signal is about. */
export function pressureOf(signal: EvictionSignal): "memory" | "disk" | "pid" {
  if (signal === "memory.available") return "memory";
  return signal === "pid.available" ? "pid" : "disk";
}

/** What messages call the resource. */
export function resourceOf(signal: EvictionSignal): string {
  return { memory: "memory", disk: signal === "nodefs.inodesFree" ? "inodes" : "ephemeral-storage", pid: "pids" }[
    pressureOf(signal)
  ];
}
