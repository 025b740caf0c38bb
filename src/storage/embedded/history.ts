import { SortedMap } from "./sorted-map.ts";

/** One change of one key, without its value: where the log holds it, and what it did. */
export interface Change {
  readonly revision: number;
  /** The change's place within its revision. */
  readonly sub: number;
  readonly createRevision: number;
  /** 0: a delete. */
  readonly version: number;
}

/** Which changes each key has had since the last compaction. The index over the log, held in memory as etcd holds its own. */
export class History {
  readonly #keys = new SortedMap<Change[]>();

  newest(key: string): Change | undefined {
    return this.#keys.get(key)?.at(-1);
  }

  /** What the key held at that revision; undefined when absent. */
  at(key: string, revision: number): Change | undefined {
    const changes = this.#keys.get(key);
    return changes && aliveAt(changes, revision);
  }

  add(key: string, change: Change): void {
    const changes = this.#keys.get(key);
    if (changes) changes.push(change);
    else this.#keys.set(key, [change]);
  }

  *range(prefix: string, from: string | undefined, revision: number): Generator<[string, Change], void, undefined> {
    for (const [key, changes] of this.#keys.range(prefix, from)) {
      const alive = aliveAt(changes, revision);
      if (alive) yield [key, alive];
    }
  }

  /** Forgets changes after this revision, which turned out not to be on disk. */
  truncate(revision: number): void {
    for (const [key, changes] of Array.from(this.#keys.range(""))) {
      while (changes.length > 0 && changes.at(-1)!.revision > revision) changes.pop();
      if (changes.length === 0) this.#keys.delete(key);
    }
  }

  /** Forgets what no read or watch from `revision` on can see; returns it. */
  compact(revision: number): Change[] {
    const dropped: Change[] = [];
    const empty: string[] = [];
    for (const [key, changes] of this.#keys.range("")) {
      if (changes.length === 1 && changes[0]!.version > 0) continue;
      let keepFrom = changes.findLastIndex((change) => change.revision <= revision);
      if (keepFrom < 0) continue;
      const base = changes[keepFrom]!;
      if (base.version === 0 && base.revision < revision) keepFrom++;
      dropped.push(...changes.splice(0, keepFrom));
      if (changes.length === 0) empty.push(key);
    }
    for (const key of empty) this.#keys.delete(key);
    return dropped;
  }
}

function aliveAt(changes: readonly Change[], revision: number): Change | undefined {
  for (let at = changes.length - 1; at >= 0; at--) {
    const change = changes[at]!;
    if (change.revision <= revision) return change.version > 0 ? change : undefined;
  }
  return undefined;
}
