import type { Timer } from "../../../base/index.ts";
import { logLimits, rotateLog } from "./log-files.ts";
import type { ContainerParts } from "./parts.ts";

const LOG_CHECK_MS = 1_000;
/** While a log grows: how far it may grow beyond its limit is what is written in this time. */
const BUSY_CHECK_MS = 50;

/** Looks after the logs of running containers that have a `max-size`. */
export class LogRotation {
  readonly #parts: ContainerParts;
  #timer: Timer | undefined;
  #closed = false;
  #busy = false;
  /** By container: the log's size when it was looked at last. */
  #sizes = new Map<string, number>();

  constructor(parts: ContainerParts) {
    this.#parts = parts;
  }
  start(): void {
    if (this.#closed) return;
    const delayMs = this.#busy ? BUSY_CHECK_MS : LOG_CHECK_MS;
    this.#timer = this.#parts.deps.ctx.clock.after(delayMs, () => void this.#rotate().finally(() => this.start()));
  }
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #rotate(): Promise<void> {
    const { launcher, live, store } = this.#parts;
    const sizes = new Map<string, number>();
    for (const [id, { container }] of live.entries()) {
      const record = store.byId(id);
      const file = record && launcher.logPath(record);
      const { maxBytes } = record ? logLimits(record) : {};
      if (!record || file === undefined || maxBytes === undefined) continue;
      const sizeBytes = await rotateLog(record, file, () => container.reopenLog()).catch(() => 0);
      sizes.set(id, sizeBytes);
    }
    this.#busy = [...sizes].some(([id, sizeBytes]) => sizeBytes !== this.#sizes.get(id));
    this.#sizes = sizes;
  }
}
