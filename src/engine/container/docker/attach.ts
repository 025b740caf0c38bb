import type { AttachStream } from "../runtime/index.ts";

/** Clients that wait for a container to start, so that they miss no output. */
export class AttachWaiters {
  readonly #waiting = new Map<string, Set<(stream: AttachStream) => void>>();

  /** Resolves with a stream at the next start; undefined when `signal` is aborted before. */
  wait(id: string, signal: AbortSignal): Promise<AttachStream | undefined> {
    return new Promise((resolve) => {
      const waiters = this.#waiting.get(id) ?? new Set();
      this.#waiting.set(id, waiters);
      const leave = () => {
        waiters.delete(take);
        if (waiters.size === 0 && this.#waiting.get(id) === waiters) this.#waiting.delete(id);
        resolve(undefined);
      };
      const take = (stream: AttachStream) => {
        signal.removeEventListener("abort", leave);
        resolve(stream);
      };
      waiters.add(take);
      if (signal.aborted) leave();
      else signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** Gives each of those waiting a stream of its own. Each is paused until its owner listens. */
  async serve(id: string, attach: () => Promise<AttachStream>): Promise<void> {
    const waiters = this.#waiting.get(id);
    this.#waiting.delete(id);
    for (const take of waiters ?? []) take(await attach());
  }
}
