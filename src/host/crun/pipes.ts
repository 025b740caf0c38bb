import { Socket } from "node:net";
import { systemClock } from "../../base/index.ts";
import type { AttachSocket } from "../conmon/index.ts";
import { libc } from "../ffi/index.ts";
import { pipeReader } from "../process/index.ts";

const ioctl = "int ioctl(int fd, unsigned long request, _Out_ int *count)";
const FIONREAD = 0x541b;
/** How often a pipe is looked at that somebody else than the ended process may still hold open. */
const DRAIN_POLL_MS = 5;

/** The stdio of a process over three pipes that the daemon holds. Nothing is read before somebody listens, so nothing is lost. */
export class ProcessPipes implements AttachSocket {
  readonly ended: Promise<void>;
  readonly #outputs: ReadonlyArray<{ readonly fd: number; readonly socket: Socket }>;
  readonly #input: Socket | undefined;
  #paused = false;
  #listener: ((stream: "stdout" | "stderr", chunk: Buffer) => void) | undefined;

  constructor(outFd: number, errFd: number, inFd: number | undefined) {
    this.#outputs = [outFd, errFd].map((fd) => ({ fd, socket: pipeReader(fd).on("error", () => {}) }));
    this.#input =
      inFd === undefined
        ? undefined
        : new Socket({ fd: inFd, readable: false, writable: true }).on("error", () => this.#input?.destroy());
    const closed = this.#outputs.map(({ socket }) => new Promise<void>((resolve) => socket.once("close", resolve)));
    this.ended = Promise.all(closed).then(() => void this.#input?.destroy());
  }

  onData(listener: (stream: "stdout" | "stderr", chunk: Buffer) => void): void {
    this.#listener = listener;
    this.#outputs.forEach(({ socket }, index) => {
      socket.removeAllListeners("data");
      socket.on("data", (chunk: Buffer) => listener(index === 0 ? "stdout" : "stderr", chunk));
      if (this.#paused) socket.pause();
    });
  }
  /** Says something in the program's name. */
  complain(text: string): void {
    this.#listener?.("stderr", Buffer.from(text));
  }
  /** All that comes until the end. */
  async text(): Promise<string> {
    let text = "";
    this.onData((_stream, chunk) => (text += chunk.toString()));
    await this.ended;
    return text;
  }
  write(chunk: Uint8Array): boolean {
    if (!this.#input || this.#input.destroyed) return true;
    return this.#input.write(chunk);
  }
  drained(): Promise<void> {
    const input = this.#input;
    if (!input || input.destroyed || !input.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      input.once("drain", resolve);
      input.once("close", resolve);
    });
  }
  closeStdin(): void {
    if (this.#input && !this.#input.destroyed) this.#input.end();
  }
  pause(): void {
    this.#paused = true;
    for (const { socket } of this.#outputs) socket.pause();
  }
  resume(): void {
    this.#paused = false;
    for (const { socket } of this.#outputs) if (socket.listenerCount("data") > 0) socket.resume();
  }
  close(): void {
    for (const { socket } of this.#outputs) socket.destroy();
    this.#input?.destroy();
  }

  /** The process has ended: what it wrote is still to be read; what others hold open (children in the background) is let go of. */
  async finish(): Promise<void> {
    this.#input?.destroy();
    for (const { fd, socket } of this.#outputs) {
      while (!socket.destroyed && !(await this.#empty(fd, socket))) await systemClock.sleep(DRAIN_POLL_MS);
      socket.destroy();
    }
  }
  async #empty(fd: number, socket: Socket): Promise<boolean> {
    // A turn of the loop, so that a pipe with an end in sight comes to it by itself.
    await systemClock.sleep(0);
    if (socket.destroyed) return true;
    if (this.#paused || socket.listenerCount("data") === 0 || socket.readableLength > 0) return false;
    const count = [0];
    return libc(ioctl)(fd, FIONREAD, count) !== 0 || count[0] === 0;
  }
}
