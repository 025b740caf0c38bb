import type { Clock, Timer } from "../../../base/index.ts";
import type { ContainerRecord } from "./record.ts";

const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 60_000;
/** A container that ran this long has recovered: the next backoff starts anew. */
const STABLE_MS = 10_000;

/** Whether a restart policy wants a container back after this exit. Pure. */
export function wantsRestart(record: ContainerRecord, exitCode: number): boolean {
  const { Name, MaximumRetryCount = 0 } = record.hostConfig.RestartPolicy ?? {};
  if (record.stoppedByUser || record.state.status === "removing") return false;
  if (Name === "always" || Name === "unless-stopped") return true;
  if (Name !== "on-failure" || exitCode === 0) return false;
  return MaximumRetryCount === 0 || record.restartCount < MaximumRetryCount;
}

/** The restarts to come, each with a delay that doubles while a container keeps failing. */
export class RestartTimers {
  readonly #clock: Clock;
  readonly #timers = new Map<string, Timer>();
  readonly #delays = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }
  schedule(id: string, ranMs: number, restart: () => void): void {
    const last = this.#delays.get(id) ?? 0;
    const delayMs = ranMs >= STABLE_MS || last === 0 ? FIRST_BACKOFF_MS : Math.min(last * 2, LAST_BACKOFF_MS);
    this.#delays.set(id, delayMs);
    const timer = this.#clock.after(delayMs, () => {
      this.#timers.delete(id);
      restart();
    });
    this.#timers.set(id, timer);
  }
  /** True when one was waiting. */
  cancel(id: string): boolean {
    this.#timers.get(id)?.cancel();
    return this.#timers.delete(id);
  }
  forget(id: string): void {
    this.cancel(id);
    this.#delays.delete(id);
  }
  close(): void {
    for (const timer of this.#timers.values()) timer.cancel();
  }
}
