import type { HealthConfig } from "../../../api/index.ts";
import type { Clock, Timer } from "../../../base/index.ts";
import type { ContainerRecord, HealthState } from "./record.ts";

const NANOS_PER_MS = 1e6;
const DEFAULT_INTERVAL_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_START_INTERVAL_MS = 5_000;
const DEFAULT_RETRIES = 3;
const KEPT_RESULTS = 5;
const MAX_OUTPUT = 4096;

export interface ProbeResult {
  readonly startMs: number;
  readonly endMs: number;
  readonly exitCode: number;
  readonly output: string;
}

/** The probe's command; undefined for no health check. */
export function healthCommand(
  health: HealthConfig | null | undefined,
  shell?: readonly string[] | null,
): string[] | undefined {
  const [kind, ...rest] = health?.Test ?? [];
  if (kind === "CMD" && rest.length > 0) return rest;
  if (kind === "CMD-SHELL" && rest[0] !== undefined) return [...(shell?.length ? shell : ["/bin/sh", "-c"]), rest[0]];
  return undefined;
}

/** Docker's rule: one success is healthy; so many failures in a row, after the start period, unhealthy. Pure. */
export function nextHealth(
  health: HealthState,
  result: ProbeResult,
  config: HealthConfig,
  inStartPeriod: boolean,
): HealthState {
  const log = [...health.log, { ...result, output: result.output.slice(0, MAX_OUTPUT) }].slice(-KEPT_RESULTS);
  if (result.exitCode === 0) return { status: "healthy", failingStreak: 0, log };
  if (inStartPeriod && health.status === "starting") return { ...health, log };
  const failingStreak = health.failingStreak + 1;
  const unhealthy = failingStreak >= (config.Retries || DEFAULT_RETRIES);
  return { status: unhealthy ? "unhealthy" : health.status, failingStreak, log };
}

/** Probes one running container until stopped. */
export class HealthMonitor {
  readonly #clock: Clock;
  readonly #record: ContainerRecord;
  readonly #config: HealthConfig;
  readonly #probe: (timeoutMs: number) => Promise<ProbeResult>;
  readonly #onChange: (state: HealthState, changed: boolean) => void;
  #timer: Timer | undefined;
  #stopped = false;
  /** When the container started, on the clock that doesn't jump. */
  readonly #startedMonotonicMs: number;

  constructor(
    clock: Clock,
    record: ContainerRecord,
    config: HealthConfig,
    probe: (timeoutMs: number) => Promise<ProbeResult>,
    onChange: (state: HealthState, changed: boolean) => void,
  ) {
    this.#clock = clock;
    this.#record = record;
    this.#config = config;
    this.#probe = probe;
    this.#onChange = onChange;
    const ranMs = Math.max(0, clock.nowMs() - record.state.startedMs);
    this.#startedMonotonicMs = clock.monotonicMs() - ranMs;
    this.#schedule(this.#sinceLastMs());
  }
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #inStartPeriod(): boolean {
    return this.#clock.monotonicMs() - this.#startedMonotonicMs < (this.#config.StartPeriod ?? 0) / NANOS_PER_MS;
  }
  /** After a restart of the daemon the next probe is due when it would have been. A clock that went back counts as no time. */
  #sinceLastMs(): number {
    const last = this.#record.state.health?.log.at(-1);
    return last ? Math.max(0, this.#clock.nowMs() - last.endMs) : 0;
  }
  #schedule(elapsedMs = 0): void {
    if (this.#stopped) return;
    const starting = this.#inStartPeriod() && this.#record.state.health?.status === "starting";
    const delayMs = starting
      ? (this.#config.StartInterval ?? 0) / NANOS_PER_MS || DEFAULT_START_INTERVAL_MS
      : (this.#config.Interval ?? 0) / NANOS_PER_MS || DEFAULT_INTERVAL_MS;
    this.#timer = this.#clock.after(Math.max(0, delayMs - elapsedMs), () => void this.#run());
  }
  async #run(): Promise<void> {
    const result = await this.#probe((this.#config.Timeout ?? 0) / NANOS_PER_MS || DEFAULT_TIMEOUT_MS);
    if (this.#stopped) return;
    const before = this.#record.state.health ?? { status: "starting", failingStreak: 0, log: [] };
    const after = nextHealth(before, result, this.#config, this.#inStartPeriod());
    this.#onChange(after, after.status !== before.status);
    this.#schedule();
  }
}
