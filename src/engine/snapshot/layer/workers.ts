import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import {
  BerthError,
  canceled,
  internal,
  Semaphore,
  type Clock,
  type ErrorCode,
  type Timer,
} from "../../../base/index.ts";
import type { TaskName, Tasks } from "./tasks.ts";

export type ToWorker = { kind: "task"; name: TaskName; args: unknown } | { kind: "credit" };
export type FromWorker =
  | { kind: "done"; result: unknown }
  | { kind: "chunk"; chunk: Uint8Array }
  | { kind: "failed"; code: ErrorCode; message: string; hint: string | undefined };

export interface RunOptions {
  readonly signal?: AbortSignal;
  /** The next chunk comes when the promise resolves. */
  readonly onChunk?: (chunk: Uint8Array) => Promise<void> | void;
}

/** An idle worker holds some megabytes: it goes after this. */
const IDLE_MS = 5_000;

/**
 * Worker threads for layers, started on demand and let go when idle. A worker does one task at a time; canceling a task ends its worker,
 * since file work can't be interrupted otherwise.
 */
export class LayerWorkers implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #turns = new Semaphore(Math.max(1, Math.min(4, availableParallelism())));
  readonly #idle = new Map<Worker, Timer>();
  readonly #all = new Set<Worker>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  run<N extends TaskName>(
    name: N,
    args: Parameters<Tasks[N]>[0],
    options: RunOptions = {},
  ): Promise<ReturnType<Tasks[N]>> {
    return this.#turns.run(() => this.#runNow(name, args, options), options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#idle.values()) timer.cancel();
    this.#idle.clear();
    await Promise.all([...this.#all].map((worker) => worker.terminate()));
  }

  async #runNow<N extends TaskName>(
    name: N,
    args: Parameters<Tasks[N]>[0],
    options: RunOptions,
  ): Promise<ReturnType<Tasks[N]>> {
    const worker = this.#take();
    let reusable = false;
    try {
      const result = await converse(worker, { kind: "task", name, args }, options);
      reusable = true;
      return result as ReturnType<Tasks[N]>;
    } catch (error) {
      reusable = error instanceof TaskFailure;
      throw error instanceof TaskFailure ? error.told : error;
    } finally {
      if (reusable) this.#rest(worker);
      else await this.#end(worker);
    }
  }

  #take(): Worker {
    for (const [worker, timer] of this.#idle) {
      timer.cancel();
      this.#idle.delete(worker);
      worker.ref();
      return worker;
    }
    const worker = new Worker(new URL("./worker.ts", import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: 256 },
    });
    this.#all.add(worker);
    worker.once("exit", () => this.#all.delete(worker));
    return worker;
  }

  #rest(worker: Worker): void {
    worker.unref();
    this.#idle.set(
      worker,
      this.#clock.after(IDLE_MS, () => void this.#end(worker)),
    );
  }

  async #end(worker: Worker): Promise<void> {
    this.#idle.delete(worker);
    await worker.terminate();
  }
}

/** The task failed and said why; the worker is fine. */
class TaskFailure extends Error {
  readonly told: BerthError;
  constructor(told: BerthError) {
    super(told.message);
    this.told = told;
  }
}

function converse(worker: Worker, task: ToWorker, { signal, onChunk }: RunOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
      signal?.removeEventListener("abort", onAbort);
      settle();
    };
    const onError = (error: unknown) => finish(() => reject(internal("a layer worker failed", { cause: error })));
    const onExit = () => finish(() => reject(internal("a layer worker ended in the middle of its task")));
    const onAbort = () => finish(() => reject(canceled("canceled", { cause: signal?.reason })));
    const onMessage = (message: FromWorker) => {
      if (message.kind === "done") finish(() => resolve(message.result));
      else if (message.kind === "failed")
        finish(() => reject(new TaskFailure(new BerthError(message.code, message.message, { hint: message.hint }))));
      else
        Promise.resolve(onChunk?.(message.chunk)).then(
          () => worker.postMessage({ kind: "credit" } satisfies ToWorker),
          (error: unknown) => finish(() => reject(error as Error)),
        );
    };
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) return onAbort();
    worker.postMessage(task);
  });
}
