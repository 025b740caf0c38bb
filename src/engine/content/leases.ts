import type { Digest, Lease } from "./types.ts";

/**
 * Leases live in memory only: what they protect is work in progress, and after a crash there is none, so that whatever it left behind is
 * garbage at the next start.
 */
export class LeaseTable {
  readonly #open = new Map<string, Set<Digest>>();
  readonly #gathering = new Set<Set<Digest>>();
  #sequence = 0;

  /** One that doesn't gather holds only what it is told to `protect`. */
  lease(options: { gathers?: boolean } = {}): Lease {
    const id = `lease-${++this.#sequence}`;
    const held = new Set<Digest>();
    this.#open.set(id, held);
    if (options.gathers ?? true) this.#gathering.add(held);
    const release = async () => {
      this.#open.delete(id);
      this.#gathering.delete(held);
    };
    return { id, protect: (digest) => void held.add(digest), release, [Symbol.asyncDispose]: release };
  }

  /** Something arrived or was found to be there already: all open leases that gather hold it from now on. */
  touch(digest: Digest): void {
    for (const held of this.#gathering) held.add(digest);
  }

  holds(digest: Digest): boolean {
    for (const held of this.#open.values()) if (held.has(digest)) return true;
    return false;
  }
}
