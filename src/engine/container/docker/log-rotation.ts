import type { Timer } from "../../../base/index.ts";
import { logLimits, rotateLog } from "./log-files.ts";
import type { ContainerParts } from "./parts.ts";

const LOG_CHECK_MS = 1_000;

/** Looks after the logs of running containers that have a `max-size`. */
export class LogRotation {
  readonly #parts: ContainerParts;
  #timer: Timer | undefined;
  #closed = false;

  constructor(parts: ContainerParts) {
    this.#parts = parts;
  }
  start(): void {
    if (this.#closed) return;
    this.#timer = this.#parts.deps.ctx.clock.after(LOG_CHECK_MS, () => void this.#rotate().finally(() => this.start()));
  }
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #rotate(): Promise<void> {
    const { launcher, live, store } = this.#parts;
    for (const [id, { container }] of live.entries()) {
      const record = store.byId(id);
      const file = record && launcher.logPath(record);
      if (!record || file === undefined || logLimits(record).maxBytes === undefined) continue;
      await rotateLog(record, file, () => container.reopenLog()).catch(() => {});
    }
  }
}
