import { closeSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import type { Socket } from "node:net";
import { internal, notFound } from "../../base/index.ts";
import { makePipe, pipeReader, reap, spawn } from "../process/index.ts";
import { monitorArgv, type MonitorRequest } from "./argv.ts";
import { connectAttach, type AttachSocket } from "./attach.ts";

/** What conmon says on its sync pipe, one JSON object a line: the pid, then (exec only) the exit code; negative: `message` says why not. */
interface SyncMessage {
  readonly data: number;
  readonly message?: string;
}

/** Starts a monitor that creates a container, which then waits for `start`. Resolves with the init process' pid. */
export async function createMonitored(request: MonitorRequest, prefix: readonly string[] = []): Promise<number> {
  const sync = makePipe();
  const pid = launch([...prefix, ...monitorArgv(request)], new Map([[3, sync.writeFd]]), { _OCI_SYNCPIPE: "3" }, [
    sync,
  ]);
  void reap(pid);
  const messages = new SyncReader(pipeReader(sync.readFd));
  try {
    return checked(await messages.next());
  } finally {
    messages.close();
  }
}

export interface MonitoredExec {
  readonly pid: number;
  readonly attach: AttachSocket;
  readonly exitCode: Promise<number>;
}

/** Starts a monitor that execs a process in a running container, attached from its first byte of output. */
export async function execMonitored(request: MonitorRequest, prefix: readonly string[] = []): Promise<MonitoredExec> {
  const [sync, start, ready] = [makePipe(), makePipe(), makePipe()];
  const fds = new Map([
    [3, sync.writeFd],
    [4, start.readFd],
    [5, ready.writeFd],
  ]);
  const env = { _OCI_SYNCPIPE: "3", _OCI_STARTPIPE: "4", _OCI_ATTACHPIPE: "5" };
  const pid = launch([...prefix, ...monitorArgv(request)], fds, env, [
    sync,
    { readFd: -1, writeFd: start.readFd },
    ready,
  ]);
  void reap(pid);
  const messages = new SyncReader(pipeReader(sync.readFd));
  const readiness = new SyncReader(pipeReader(ready.readFd));
  let attach: AttachSocket | undefined;
  try {
    writeSync(start.writeFd, "\0");
    checked(await readiness.next());
    attach = connectAttach(request.bundle);
    writeSync(start.writeFd, "\0");
    const execPid = checked(await messages.next());
    const exitCode = messages.next().then((message) => {
      messages.close();
      return message.data;
    });
    return { pid: execPid, attach, exitCode };
  } catch (error) {
    attach?.close();
    messages.close();
    throw error;
  } finally {
    readiness.close();
    closeSync(start.writeFd);
  }
}

function launch(
  argv: string[],
  fds: ReadonlyMap<number, number>,
  env: Record<string, string>,
  pipes: ReadonlyArray<{ readFd: number; writeFd: number }>,
): number {
  try {
    return spawn({ argv, fds, env, newSession: true });
  } catch (error) {
    for (const { readFd } of pipes) if (readFd >= 0) closeSync(readFd);
    throw error;
  } finally {
    for (const { writeFd } of pipes) closeSync(writeFd);
  }
}

function checked(message: SyncMessage): number {
  if (message.data < 0) throw internal(message.message ?? "the container runtime failed without a word");
  return message.data;
}

class SyncReader {
  readonly #socket: Socket;
  #text = "";
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString();
      this.#wake?.();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#ended = true;
      this.#wake?.();
    });
  }
  async next(): Promise<SyncMessage> {
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return JSON.parse(line) as SyncMessage;
      }
      if (this.#ended) return { data: -1, message: "the container's monitor ended unexpectedly" };
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
  close(): void {
    this.#socket.destroy();
  }
}

/** Tells a monitor the size of its terminal. */
export function resizeTerminal(bundle: string, columns: number, rows: number): Promise<void> {
  return writeFifo(path.join(bundle, "winsz"), `${rows} ${columns}\n`);
}

/** Makes a monitor open its log file anew. */
export function reopenLog(bundle: string): Promise<void> {
  return writeFifo(path.join(bundle, "ctl"), "2 0 0\n");
}

const O_WRONLY_NONBLOCK = 0o1 | 0o4000;

async function writeFifo(file: string, text: string): Promise<void> {
  try {
    await using fifo = await open(file, O_WRONLY_NONBLOCK);
    await fifo.write(text);
  } catch (error) {
    throw notFound("the container's monitor does not listen any more", { cause: error });
  }
}
