import type { Readable } from "node:stream";
import { Worker } from "node:worker_threads";
import { BerthError, canceled, internal } from "../../../base/index.ts";
import type { FilesMessage, FilesTask, FilesWorkerData, PathStat } from "./worker.ts";

export type { PathStat } from "./worker.ts";

/** Chunks on their way from a thread to its reader. */
const MAX_CHUNKS_IN_FLIGHT = 8;

/** A directory as somebody's root. */
export interface FilesRoot {
  readonly path: string;
  /** Set when it is seen through a user namespace. */
  readonly owners?: FilesWorkerData["owners"];
}

/** What a path is; symlinks are followed but for the last component. Throws notFound. */
export async function statInRoot(root: FilesRoot, file: string): Promise<PathStat> {
  const task = start(root, { kind: "stat", path: file });
  for await (const message of task.messages()) if (message.kind === "stat") return message.stat;
  throw internal("the file thread ended without an answer");
}

/** A tar of a path and all below it, under `name`. Throws notFound before the first chunk. */
export async function* tarFromRoot(
  root: FilesRoot,
  file: string,
  name: string,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const task = start(root, { kind: "read", path: file, name }, signal);
  for await (const message of task.messages()) {
    if (message.kind !== "chunk") continue;
    yield message.chunk;
    task.credit();
  }
}

export interface UntarOptions {
  readonly noOverwriteDirNonDir?: boolean;
  /** Whose the files shall be; default: as the archive says. */
  readonly owner?: { uid: number; gid: number };
}

/** Unpacks a tar into an existing directory. */
export async function untarIntoRoot(
  root: FilesRoot,
  directory: string,
  archive: Readable,
  options: UntarOptions = {},
  signal?: AbortSignal,
): Promise<void> {
  const task = start(
    root,
    {
      kind: "write",
      path: directory,
      noOverwriteDirNonDir: options.noOverwriteDirNonDir ?? false,
      owner: options.owner,
    },
    signal,
  );
  const chunks = archive[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let sent = false;
  for await (const message of task.messages()) {
    if (message.kind !== "taken" || sent) continue;
    const next = await chunks.next();
    sent = next.done ?? false;
    task.post(next.done ? null : next.value);
  }
}

function start({ path: root, owners }: FilesRoot, task: FilesTask, signal?: AbortSignal) {
  const credits = new SharedArrayBuffer(4);
  const credit = new Int32Array(credits);
  credit[0] = MAX_CHUNKS_IN_FLIGHT;
  const data: FilesWorkerData = { root, task, credits, owners };
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: data, stderr: false });
  const queue: FilesMessage[] = [];
  let wake: () => void = () => {};
  let failure: unknown;
  let ended = false;
  const settle = (error?: unknown) => {
    failure ??= error;
    ended = true;
    wake();
  };
  worker.on("message", (message: FilesMessage) => {
    if (message.kind === "done") settle();
    else if (message.kind === "failed") settle(new BerthError(message.code, message.message));
    else {
      queue.push(message);
      wake();
    }
  });
  worker.on("error", (error) => settle(error));
  worker.on("exit", () => settle());
  const onAbort = () => settle(canceled("copying files was canceled", { cause: signal?.reason }));
  signal?.addEventListener("abort", onAbort, { once: true });
  async function* messages(): AsyncGenerator<FilesMessage> {
    try {
      for (;;) {
        while (queue.length > 0 && failure === undefined) yield queue.shift()!;
        if (failure !== undefined) throw failure;
        if (ended) return;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      // A thread that waits for credit must wake to be stopped.
      Atomics.add(credit, 0, 1_000);
      Atomics.notify(credit, 0);
      await worker.terminate();
    }
  }
  return {
    messages,
    credit: () => {
      Atomics.add(credit, 0, 1);
      Atomics.notify(credit, 0);
    },
    post: (chunk: Uint8Array | null) => worker.postMessage(chunk),
  };
}
