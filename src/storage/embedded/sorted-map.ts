/** Orders text as its UTF-8 bytes do: by code point, where JavaScript compares UTF-16 units (they differ only beyond U+D7FF). */
export function compareUtf8(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const x = a.charCodeAt(at);
    const y = b.charCodeAt(at);
    if (x === y) continue;
    if (x < 0xd800 || y < 0xd800) return x - y;
    return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above every other unit. */
const rank = (unit: number) => (unit >= 0xe000 ? unit : unit + 0x10000);

const MAX_CHUNK = 512;

/** A map ordered by key (UTF-8 order): chunks of sorted keys, so that an insert moves at most one chunk. */
export class SortedMap<V> {
  readonly #values = new Map<string, V>();
  #chunks: string[][] = [];

  get size(): number {
    return this.#values.size;
  }
  get(key: string): V | undefined {
    return this.#values.get(key);
  }
  has(key: string): boolean {
    return this.#values.has(key);
  }

  set(key: string, value: V): void {
    const known = this.#values.has(key);
    this.#values.set(key, value);
    if (known) return;
    const at = this.#chunkFor(key);
    const chunk = this.#chunks[at];
    if (!chunk) {
      this.#chunks.push([key]);
      return;
    }
    chunk.splice(lowerBound(chunk, key), 0, key);
    if (chunk.length > MAX_CHUNK) this.#chunks.splice(at + 1, 0, chunk.splice(MAX_CHUNK / 2));
  }

  delete(key: string): boolean {
    if (!this.#values.delete(key)) return false;
    const at = this.#chunkFor(key);
    const chunk = this.#chunks[at]!;
    chunk.splice(lowerBound(chunk, key), 1);
    if (chunk.length === 0) this.#chunks.splice(at, 1);
    return true;
  }

  clear(): void {
    this.#values.clear();
    this.#chunks = [];
  }

  /** Entries with this prefix in order, from `from` (inclusive) on. Don't change the map while iterating. */
  *range(prefix: string, from = prefix): Generator<[string, V], void, undefined> {
    const start = compareUtf8(from, prefix) > 0 ? from : prefix;
    for (let at = this.#chunkFor(start); at < this.#chunks.length; at++) {
      const chunk = this.#chunks[at]!;
      const firstInChunk = compareUtf8(chunk[0]!, start) >= 0 ? 0 : lowerBound(chunk, start);
      for (let index = firstInChunk; index < chunk.length; index++) {
        const key = chunk[index]!;
        if (!key.startsWith(prefix)) return;
        yield [key, this.#values.get(key)!];
      }
    }
  }

  /** How many keys `range` would yield, without looking at each. */
  count(prefix: string, from = prefix): number {
    const start = compareUtf8(from, prefix) > 0 ? from : prefix;
    let total = 0;
    for (let at = this.#chunkFor(start); at < this.#chunks.length; at++) {
      const chunk = this.#chunks[at]!;
      if (compareUtf8(chunk[0]!, start) >= 0 && !chunk[0]!.startsWith(prefix)) break;
      const isWhole = compareUtf8(chunk[0]!, start) >= 0 && chunk.at(-1)!.startsWith(prefix);
      if (isWhole) total += chunk.length;
      else total += chunk.filter((key) => key.startsWith(prefix) && compareUtf8(key, start) >= 0).length;
    }
    return total;
  }

  values(): IterableIterator<V> {
    return this.#values.values();
  }

  /** The last chunk that begins at or before the key, else the first. */
  #chunkFor(key: string): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (compareUtf8(this.#chunks[middle]![0]!, key) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareUtf8(keys[middle]!, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
