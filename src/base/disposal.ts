/**
 * Owners of mounts, processes, sockets and namespaces are disposable, and what creates several of them in a row undoes
 * them when a later step fails. `Undo` is AsyncDisposableStack with the one thing it lacks: `commit`.
 */
export class Undo implements AsyncDisposable {
  #steps: Array<() => unknown> = [];

  /** Registers how to undo what was just done. Steps run last first. */
  defer(step: () => unknown): void {
    this.#steps.push(step);
  }
  /** Everything worked: forget the undo steps. */
  commit(): void {
    this.#steps = [];
  }
  async [Symbol.asyncDispose](): Promise<void> {
    const errors: unknown[] = [];
    for (const step of this.#steps.reverse()) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    this.#steps = [];
    if (errors.length > 0) throw new AggregateError(errors, "undoing a failed operation failed in turn");
  }
}
