import { codeOf } from "../../base/index.ts";
import type { KeyValue, Store } from "../../storage/index.ts";
import type { CacheEvent } from "./cache.ts";
import { Entry } from "./entry.ts";
import { ROOT } from "./feed.ts";

/** Who is further behind lists anew. */
const MAX_SCANNED_EVENTS = 50_000;
const MAX_EVENTS = 10_000;

export interface PastOptions {
  /** Of the resource. */
  readonly prefix: string;
  /** Events after this revision… */
  readonly after: number;
  /** …up to this one, which the store has reached. */
  readonly until: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * What happened to a resource before the cache's memory begins, from the store, which forgets only by compaction. Undefined when the store
 * has forgotten it too, or when it is too much.
 */
export async function readPast(
  store: Store,
  { prefix, after, until, signal }: PastOptions,
): Promise<CacheEvent[] | undefined> {
  const events: CacheEvent[] = [];
  const newest = new Map<string, Entry | undefined>();
  let scanned = 0;
  try {
    if (after >= until) return events;
    for await (const batch of store.watch(ROOT, after + 1, { signal })) {
      for (const { type, kv } of batch.events) {
        if (++scanned > MAX_SCANNED_EVENTS || events.length >= MAX_EVENTS) return undefined;
        if (kv.modRevision > until || !kv.key.startsWith(prefix)) continue;
        const old = newest.has(kv.key) ? newest.get(kv.key) : await entryBefore(store, kv);
        const entry = type === "delete" ? old?.at(kv.modRevision) : Entry.of(kv.key, kv.value, kv.modRevision);
        newest.set(kv.key, type === "delete" ? undefined : entry);
        if (!entry) continue;
        const kind = type === "delete" ? "DELETED" : old ? "MODIFIED" : "ADDED";
        events.push({ type: kind, revision: kv.modRevision, entry, old });
      }
      if (batch.revision >= until) return events;
    }
    return undefined;
  } catch (error) {
    if (codeOf(error) === "resourceExhausted") return undefined;
    throw error;
  }
}

async function entryBefore(store: Store, { key, modRevision, version }: KeyValue): Promise<Entry | undefined> {
  if (version === 1) return undefined;
  const { kv } = await store.get(key, { revision: modRevision - 1 });
  return kv && Entry.of(key, kv.value, kv.modRevision);
}
