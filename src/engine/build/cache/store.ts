/**
 * The build cache: which input gave which layer. The layers themselves are the snapshot store's; a record keeps its layer from being collected.
 *
 * On disk it is a log, one JSON line a change, appended and never rewritten in place: after kill -9 the last line may be half there and is left
 * out. What a record says is checked against the layers when it is used, so a stale record costs a rebuilt step and nothing else.
 */
import fs from "node:fs";
import path from "node:path";
import { errnoOf, type Clock } from "../../../base/index.ts";
import { MAX_CACHE_RECORDS } from "../limits.ts";
import type { CacheRecord, Layer, CachePruneOptions } from "../types.ts";

export interface StoredRecord {
  /** The input's digest. */
  readonly key: string;
  /** Chain ID of the result, and of what it was made on. */
  readonly chainId: string;
  readonly parent: string | undefined;
  readonly diffId: string;
  readonly sizeBytes: number;
  readonly description: string;
  readonly type: CacheRecord["type"];
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number;
  readonly usageCount: number;
}

type LogLine = { put: StoredRecord } | { use: string; atMs: number } | { drop: readonly string[] };

/** Compaction waits until the log has grown to this many lines, and to twice what it says. */
const MIN_COMPACT_LINES = 1000;

export class CacheStore {
  readonly #file: string;
  readonly #clock: Clock;
  readonly #records = new Map<string, StoredRecord>();
  /** Chain IDs that running builds stand on, with how many do. */
  readonly #inUse = new Map<string, number>();
  #lines = 0;

  /** Reads the log. A missing one is an empty cache. */
  constructor(directory: string, clock: Clock) {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#file = path.join(directory, "records.jsonl");
    this.#clock = clock;
    this.#load();
  }

  get(key: string): StoredRecord | undefined {
    return this.#records.get(key);
  }

  records(): StoredRecord[] {
    return [...this.#records.values()];
  }

  put(
    key: string,
    layer: Layer,
    facts: Pick<StoredRecord, "parent" | "description" | "type">,
    createdAtMs = this.#clock.nowMs(),
  ): StoredRecord {
    const record: StoredRecord = {
      key,
      chainId: layer.chainId,
      diffId: layer.diffId,
      sizeBytes: layer.sizeBytes,
      ...facts,
      description: facts.description.slice(0, 1024),
      createdAtMs,
      lastUsedAtMs: this.#clock.nowMs(),
      usageCount: 1,
    };
    this.#append({ put: record });
    return record;
  }

  used(key: string): void {
    if (this.#records.has(key)) this.#append({ use: key, atMs: this.#clock.nowMs() });
  }

  drop(keys: readonly string[]): void {
    if (keys.length > 0) this.#append({ drop: keys });
  }

  /** A running build stands on the layer: it isn't pruned until released. */
  hold(chainId: string): () => void {
    this.#inUse.set(chainId, (this.#inUse.get(chainId) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.#inUse.get(chainId)! - 1;
      if (left === 0) this.#inUse.delete(chainId);
      else this.#inUse.set(chainId, left);
    };
  }

  inUse(chainId: string): boolean {
    return this.#inUse.has(chainId);
  }

  #append(line: LogLine): void {
    this.#apply(line);
    fs.appendFileSync(this.#file, JSON.stringify(line) + "\n", { mode: 0o600 });
    this.#lines++;
    if (this.#records.size > MAX_CACHE_RECORDS) this.#evict();
    if (this.#lines > Math.max(MIN_COMPACT_LINES, 2 * this.#records.size)) this.#compact();
  }

  #apply(line: LogLine): void {
    if ("put" in line) this.#records.set(line.put.key, line.put);
    else if ("drop" in line) for (const key of line.drop) this.#records.delete(key);
    else {
      const record = this.#records.get(line.use);
      if (record)
        this.#records.set(line.use, { ...record, lastUsedAtMs: line.atMs, usageCount: record.usageCount + 1 });
    }
  }

  #evict(): void {
    const oldest = this.records().sort((a, b) => a.lastUsedAtMs - b.lastUsedAtMs);
    for (const { key } of oldest.slice(0, this.#records.size - MAX_CACHE_RECORDS)) this.#records.delete(key);
    this.#compact();
  }

  #compact(): void {
    const beside = `${this.#file}.new`;
    fs.writeFileSync(
      beside,
      this.records()
        .map((record) => JSON.stringify({ put: record }) + "\n")
        .join(""),
      { mode: 0o600 },
    );
    fs.renameSync(beside, this.#file);
    this.#lines = this.#records.size;
  }

  #load(): void {
    let text: string;
    try {
      text = fs.readFileSync(this.#file, "utf8");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return;
      throw error;
    }
    const lines = text.split("\n");
    for (const line of lines) {
      const parsed = parseLine(line);
      if (parsed) this.#apply(parsed);
    }
    this.#lines = lines.length;
    // A half line at the end would spoil the next one.
    if (!text.endsWith("\n") && text !== "") this.#compact();
  }
}

function parseLine(line: string): LogLine | undefined {
  if (line === "") return undefined;
  try {
    const parsed = JSON.parse(line) as LogLine;
    return typeof parsed === "object" && parsed !== null && ("put" in parsed || "use" in parsed || "drop" in parsed)
      ? parsed
      : undefined;
  } catch {
    return undefined;
  }
}

/** Which records a prune takes. Pure. Records in use are never taken; children don't matter, since a layer's chain keeps what is below it. */
export function planPrune(records: readonly CacheRecord[], options: CachePruneOptions, nowMs: number): CacheRecord[] {
  const filters = options.filters ?? {};
  const within = (values: readonly string[] | undefined, value: (text: string) => boolean) =>
    !values || values.length === 0 || values.some(value);
  const candidates = records
    .filter((record) => !record.inUse && filters.inUse !== true)
    .filter((record) => options.all || record.type !== "exec.cachemount")
    .filter((record) => options.olderThanMs === undefined || nowMs - record.lastUsedAtMs >= options.olderThanMs)
    .filter((record) => within(filters.id, (id) => record.id.startsWith(id)))
    .filter((record) => within(filters.parent, (id) => record.parents.some((parent) => parent.startsWith(id))))
    .filter((record) => within(filters.type, (type) => record.type === type))
    .filter((record) => within(filters.description, (text) => record.description.includes(text)))
    .filter((record) => filters.shared === undefined || record.shared === filters.shared)
    .filter((record) => filters.private === undefined || record.shared !== filters.private)
    .sort((a, b) => a.lastUsedAtMs - b.lastUsedAtMs);
  if (options.keepBytes === undefined) return candidates;
  let total = records.reduce((sum, record) => sum + record.sizeBytes, 0);
  return candidates.filter((record) => {
    if (total <= options.keepBytes!) return false;
    total -= record.sizeBytes;
    return true;
  });
}
