/** Who waits for the end of a container's process, and who for its removal. */
export class ContainerWaiters {
  readonly #exits = new Map<string, Set<(exitCode: number) => void>>();
  readonly #removals = new Map<string, Set<(exitCode: number) => void>>();

  /** Resolves with the exit code when the process that runs now, or next, has ended and is cleaned up after. */
  nextExit(id: string): Promise<number> {
    return listen(this.#exits, id);
  }
  removal(id: string): Promise<number> {
    return listen(this.#removals, id);
  }
  exited(id: string, exitCode: number): void {
    wake(this.#exits, id, exitCode);
  }
  removed(id: string, exitCode: number): void {
    wake(this.#removals, id, exitCode);
  }
}

type Listeners = Map<string, Set<(exitCode: number) => void>>;

function listen(listeners: Listeners, id: string): Promise<number> {
  return new Promise((resolve) => {
    const set = listeners.get(id) ?? new Set();
    set.add(resolve);
    listeners.set(id, set);
  });
}

function wake(listeners: Listeners, id: string, exitCode: number): void {
  const waiting = listeners.get(id);
  listeners.delete(id);
  for (const resolve of waiting ?? []) resolve(exitCode);
}
