import { readFileSync } from "node:fs";
import type { Clock, Timer } from "../../../base/index.ts";
import { startTimeOf } from "../../../host/index.ts";

interface Watched {
  readonly pidFile: string;
  readonly onGone: () => void;
  monitor?: { readonly pid: number; readonly startTime: number | undefined };
}

/** How long a killed monitor may go unnoticed. A look costs 20 µs for each container. */
export const LOOK_EVERY_MS = 2_000;

/**
 * Notices monitors that were killed: they leave no exit code, and nobody would ever hear of their containers again. One timer for all, and none
 * while there is nothing to watch.
 */
export class MonitorWatch {
  readonly #clock: Clock;
  readonly #watched = new Set<Watched>();
  readonly #startTime: (pid: number) => number | undefined;
  #timer: Timer | undefined;

  constructor(clock: Clock, startTime: (pid: number) => number | undefined = startTimeOf) {
    this.#clock = clock;
    this.#startTime = startTime;
  }

  /** `onGone` is called at most once, and never after the signal. */
  add(pidFile: string, onGone: () => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    const watched: Watched = { pidFile, onGone };
    this.#watched.add(watched);
    signal.addEventListener("abort", () => this.#forget(watched), { once: true });
    this.#timer ??= this.#clock.after(LOOK_EVERY_MS, () => this.#look());
  }
  close(): void {
    this.#watched.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #forget(watched: Watched): void {
    this.#watched.delete(watched);
    if (this.#watched.size === 0) this.close();
  }
  #look(): void {
    for (const watched of this.#watched) {
      watched.monitor ??= this.#read(watched.pidFile);
      const { monitor } = watched;
      if (!monitor) continue;
      if (monitor.startTime !== undefined && this.#startTime(monitor.pid) === monitor.startTime) continue;
      this.#watched.delete(watched);
      watched.onGone();
    }
    this.#timer = this.#watched.size === 0 ? undefined : this.#clock.after(LOOK_EVERY_MS, () => this.#look());
  }
  #read(pidFile: string): Watched["monitor"] {
    try {
      const pid = Number(readFileSync(pidFile, "utf8"));
      return pid > 0 ? { pid, startTime: this.#startTime(pid) } : undefined;
    } catch {
      return undefined;
    }
  }
}
