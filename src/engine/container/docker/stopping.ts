import { conflict, failedPrecondition } from "../../../base/index.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Live } from "./live.ts";
import { publish, saveIfRoom, type ContainerParts } from "./parts.ts";
import { isRunning, type ContainerRecord } from "./record.ts";
import { parseSignal } from "./signals.ts";

const DEFAULT_STOP_SECONDS = 10;
const KILL_WAIT_MS = 10_000;
const KILL_AGAIN_MS = 1_000;
const SIGKILL = 9;

export interface StopOptions {
  readonly signal?: string;
  /** Negative: no limit. Default: the container's own, else ten. */
  readonly timeoutSeconds?: number;
}

/** stop, kill, pause and unpause: what reaches a container's process from outside. */
export class Stopping {
  readonly #parts: ContainerParts;
  readonly #lifecycle: Lifecycle;

  constructor(parts: ContainerParts, lifecycle: Lifecycle) {
    this.#parts = parts;
    this.#lifecycle = lifecycle;
  }

  /** False when it doesn't run. */
  async stop(record: ContainerRecord, options: StopOptions = {}): Promise<boolean> {
    const { deps, store, waiters } = this.#parts;
    const signal = parseSignal(options.signal || record.config.StopSignal || "SIGTERM");
    if (this.#lifecycle.restarts.cancel(record.id) || record.state.status === "restarting") {
      record.stoppedByUser = true;
      record.state.status = "exited";
      await store.save(record);
      return true;
    }
    if (!isRunning(record)) return false;
    record.stoppedByUser = true;
    await saveIfRoom(this.#parts, record);
    const seconds = options.timeoutSeconds ?? record.config.StopTimeout ?? DEFAULT_STOP_SECONDS;
    const exited = waiters.nextExit(record.id);
    await this.#signal(record, seconds === 0 ? SIGKILL : signal).catch(() => {});
    if (record.state.status === "paused" && seconds !== 0) await this.unpause(record).catch(() => {});
    const { clock } = deps.ctx;
    const within = (ms: number) => Promise.race([exited.then(() => true), clock.sleep(ms).then(() => false)]);
    if (seconds > 0 && !(await within(seconds * 1000))) await this.#signal(record, SIGKILL).catch(() => {});
    if (seconds < 0) await exited;
    else if (!(await within(KILL_WAIT_MS)))
      throw failedPrecondition(`container ${record.id} did not end ${KILL_WAIT_MS / 1000} s after SIGKILL`);
    publish(deps, record, "stop");
    return true;
  }

  async kill(record: ContainerRecord, ref: string, signalName: string): Promise<void> {
    const { deps, waiters } = this.#parts;
    const signal = parseSignal(signalName || "SIGKILL");
    if (!isRunning(record)) throw conflict(`cannot kill container: ${ref}: container ${record.id} is not running`);
    if (signal === SIGKILL || signal === parseSignal(record.config.StopSignal || "SIGTERM"))
      record.stoppedByUser = true;
    const exited = waiters.nextExit(record.id);
    await this.#signal(record, signal);
    if (signal === SIGKILL) await Promise.race([exited, deps.ctx.clock.sleep(KILL_WAIT_MS)]);
  }

  /** Ends a container that is to be removed, whatever it does. */
  async end(record: ContainerRecord): Promise<void> {
    record.stoppedByUser = true;
    const exited = this.#parts.waiters.nextExit(record.id).then(() => true);
    const { clock } = this.#parts.deps.ctx;
    // Again and again: somebody may pause it between the signal and its end.
    for (let ended = false; !ended && isRunning(record);) {
      await this.#signal(record, SIGKILL).catch(() => {});
      ended = !isRunning(record) || (await Promise.race([exited, clock.sleep(KILL_AGAIN_MS).then(() => false)]));
    }
  }

  async #signal(record: ContainerRecord, signal: number): Promise<void> {
    const live = this.#parts.live.get(record);
    publish(this.#parts.deps, record, "kill", { signal: String(signal) });
    await live.container.kill(signal);
  }

  async pause(record: ContainerRecord): Promise<void> {
    const { live, lock } = this.#parts;
    await lock.run(record.id, async () => {
      if (record.state.status === "paused") throw conflict(`container ${record.id} is already paused`);
      const paused = live.get(record);
      await paused.container.pause();
      await this.#noteState(record, paused, "paused");
    });
    publish(this.#parts.deps, record, "pause");
  }

  async unpause(record: ContainerRecord): Promise<void> {
    const { live, lock } = this.#parts;
    await lock.run(record.id, async () => {
      if (record.state.status !== "paused") throw conflict(`Container ${record.id} is not paused`);
      const resumed = live.get(record);
      await resumed.container.resume();
      await this.#noteState(record, resumed, "running");
    });
    publish(this.#parts.deps, record, "unpause");
  }

  /** Unless it has ended meanwhile: then that is its state. */
  async #noteState(record: ContainerRecord, of: Live, status: "paused" | "running"): Promise<void> {
    if (this.#parts.live.find(record.id) !== of) throw conflict(`container ${record.id} is not running`);
    record.state.status = status;
    await this.#parts.store.save(record);
  }
}
