import { systemClock, type Clock } from "../../base/index.ts";
import { EmbeddedStore } from "../embedded/embedded-store.ts";
import type { Change } from "../embedded/history.ts";
import type { Log, LogEntry } from "../embedded/log.ts";
import type { Store } from "../store.ts";

/** A log that forgets everything when the process ends: for simulation and tests. */
class MemoryLog implements Log {
  readonly #revisions = new Map<number, LogEntry[]>();
  #compacted = 0;

  async open() {
    return { heads: [], compactRevision: 0, revision: 0 };
  }
  async append(entries: readonly LogEntry[]): Promise<void> {
    for (const entry of entries) {
      const same = this.#revisions.get(entry.revision);
      if (same) same.push(entry);
      else this.#revisions.set(entry.revision, [entry]);
    }
  }
  value(change: Change): Uint8Array {
    return this.#revisions.get(change.revision)!.find((entry) => entry.sub === change.sub)!.value;
  }
  read(fromRevision: number, toRevision: number, limit: number): LogEntry[] {
    const found: LogEntry[] = [];
    for (let at = Math.max(fromRevision, this.#compacted); at <= toRevision && found.length < limit; at++)
      found.push(...(this.#revisions.get(at) ?? []));
    return found;
  }
  async compact(revision: number, dropped: readonly Change[]): Promise<void> {
    this.#compacted = revision;
    for (const { revision: at, sub } of dropped) {
      const left = this.#revisions.get(at)!.filter((entry) => entry.sub !== sub);
      if (left.length > 0) this.#revisions.set(at, left);
      else this.#revisions.delete(at);
    }
  }
  async close(): Promise<void> {
    this.#revisions.clear();
  }
}

/** The store of simulations and tests: etcd's guarantees but for durability. */
export function openMemoryStore(options: { clock?: Clock } = {}): Promise<Store> {
  return EmbeddedStore.open(new MemoryLog(), options.clock ?? systemClock);
}
