/** The thread in which layers are packed and unpacked: file work and hashing here are synchronous, which is what makes them fast. */
import { parentPort } from "node:worker_threads";
import { assert, codeOf, errnoOf, messageOf, BerthError } from "../../../base/index.ts";
import type { FromWorker, ToWorker } from "./workers.ts";
import { tasks } from "./tasks.ts";

assert(parentPort, "worker.ts runs in a worker thread");
const port = parentPort;
let credit: (() => void) | undefined;

/** One chunk is on the way at a time. Its memory moves to the other thread instead of being copied. */
function send(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
  port.postMessage({ kind: "chunk", chunk } satisfies FromWorker, [chunk.buffer]);
  return new Promise((resolve) => (credit = resolve));
}

async function run(message: Extract<ToWorker, { kind: "task" }>): Promise<void> {
  try {
    const task = tasks[message.name] as (args: unknown, send: unknown) => unknown;
    port.postMessage({ kind: "done", result: await task(message.args, send) } satisfies FromWorker);
  } catch (error) {
    const outOfSpace = errnoOf(error) === "ENOSPC" || errnoOf(error) === "EDQUOT";
    const told = error instanceof BerthError ? error : undefined;
    port.postMessage({
      kind: "failed",
      code: outOfSpace ? "resourceExhausted" : codeOf(error),
      message: outOfSpace ? "no space left on device: the disk that holds the images is full" : messageOf(error),
      hint: told?.hint,
    } satisfies FromWorker);
  }
}

port.on("message", (message: ToWorker) => {
  if (message.kind === "task") void run(message);
  else credit?.();
});
