import { PushQueue, resourceExhausted, type Clock, type Timer } from "../../base/index.ts";
import type { ApiWatchEvent, KubeObject, Status } from "../../api/index.ts";
import type { CacheEvent, EventBatch, ResourceCache } from "../watch/cache.ts";
import type { Entry } from "../watch/entry.ts";
import { readPast } from "../watch/past.ts";
import type { Kind } from "./kind.ts";
import type { ListOptions } from "./list-options.ts";
import { cacheOf, presentAll, type Core, type Presented } from "./operation.ts";
import { apiVersionOf } from "./registry.ts";
import { statusOf, expiredError } from "./status.ts";

const BOOKMARK_EVERY_MS = 60_000;
const MIN_TIMEOUT_SECONDS = 1800;
/** Batches that an in-process reader may be behind. */
const MAX_QUEUED = 10_000;
/** Bytes that a connection may be behind before its watch is dropped; the client lists anew. */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;

type EventType = ApiWatchEvent["type"];

/** What a watch shows of an event. Watches of one `key` show the same bytes. */
export interface WatchView {
  readonly key: string;
  /** How the object is shown (tables, partial metadata); undefined: as it is. */
  readonly show?: (object: KubeObject, first: boolean) => unknown;
  /** How events stand on the wire; one line of JSON each by default. */
  readonly encode?: (events: readonly ApiWatchEvent[]) => Uint8Array;
}

/** Where encoded events go: a connection. */
export interface ByteSink {
  write(bytes: Uint8Array): void;
  end(): void;
  /** Breaks off what is still to be sent. */
  destroy(): void;
  readonly bufferedBytes: number;
}

interface WireEvent {
  readonly type: EventType;
  readonly entry: Entry;
}

interface Output {
  /** Encoded or not, in order. `key` is set where others need the same bytes. */
  /** False when the reader is too slow. */
  send(events: readonly ApiWatchEvent[]): boolean;
  end(error?: unknown): void;
}

/**
 * One watch. Read it once: as events (in process), or as bytes into a sink (a connection), where watches with the same view share their
 * encoding of each batch.
 */
export class WatchStream implements AsyncIterable<ApiWatchEvent> {
  readonly #core: Core;
  readonly #kind: Kind;
  readonly #options: ListOptions;
  readonly #view: WatchView;
  readonly #signal: AbortSignal | undefined;

  constructor(core: Core, kind: Kind, options: ListOptions, view: WatchView, signal: AbortSignal | undefined) {
    this.#core = core;
    this.#kind = kind;
    this.#options = options;
    this.#view = view;
    this.#signal = signal;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ApiWatchEvent, void, undefined> {
    const queue = new PushQueue<readonly ApiWatchEvent[]>(MAX_QUEUED);
    const stop = await this.#start({
      send: (events) => queue.push(events),
      end: (error) => (error === undefined ? queue.end() : queue.fail(error)),
    });
    try {
      for await (const events of queue) yield* events;
    } finally {
      stop();
    }
  }

  /** Writes lines `{"type":…,"object":…}` until the watch ends. Returns how to stop it. */
  async pipe(sink: ByteSink): Promise<() => void> {
    // The state that a watch begins with may be larger than what a reader may be behind afterwards.
    let begun = false;
    let allowedBytes = MAX_BUFFERED_BYTES;
    const write = (bytes: Uint8Array): boolean => {
      if (bytes.length > 0) sink.write(bytes);
      if (!begun) allowedBytes = sink.bufferedBytes + MAX_BUFFERED_BYTES;
      return sink.bufferedBytes <= allowedBytes;
    };
    const output: Output = {
      send: (events) => write((this.#view.encode ?? encodeEvents)(events)),
      end: (error) => (error === undefined ? sink.end() : sink.destroy()),
    };
    const stop = await this.#start(output, (batch, encode) => {
      const bytes = batch.encoded.get(this.#view.key) ?? encode();
      batch.encoded.set(this.#view.key, bytes);
      return write(bytes);
    });
    begun = true;
    return stop;
  }

  async #start(output: Output, share?: (batch: EventBatch, encode: () => Uint8Array) => boolean): Promise<() => void> {
    const { revision, sendInitialEvents } = this.#options;
    if (revision === undefined || (sendInitialEvents && revision === 0)) await this.#core.feed.fresh();
    const cache = cacheOf(this.#core, this.#kind);
    const fromState = sendInitialEvents ?? !revision;
    const asked = revision || this.#core.feed.revision;
    const past = fromState ? [] : (cache.since(asked) ?? (await this.#fromStore(cache, asked)));
    if (!past) {
      const error = expiredError(`too old resource version: ${revision} (${cache.historyFrom})`);
      output.send([{ type: "ERROR", object: statusOf(error) satisfies Status }]);
      output.end();
      return () => {};
    }
    const live = new LiveWatch(this.#core, this.#kind, this.#options, this.#view, output, share);
    // From here to the subscription nothing may be awaited, or an event would be lost.
    if (fromState) live.initial(sendInitialEvents === true);
    else live.replay(past);
    const unsubscribe = cache.subscribe(live);
    live.onEnd(unsubscribe);
    const counted = this.#core.metrics?.watch(this.#kind, scopeOf(this.#options));
    if (counted) live.onEnd(counted);
    live.arm(this.#core.clock, this.#core.random.float());
    const stop = () => live.end();
    this.#signal?.addEventListener("abort", stop, { once: true });
    live.onEnd(() => this.#signal?.removeEventListener("abort", stop));
    if (this.#signal?.aborted) stop();
    return stop;
  }

  /** Before the cache's memory begins, as after a restart, the store may still know. The end is read from the cache, without a gap. */
  async #fromStore(cache: ResourceCache, after: number): Promise<readonly CacheEvent[] | undefined> {
    const until = this.#core.feed.revision;
    const past = await readPast(this.#core.store, { prefix: cache.prefix, after, until, signal: this.#signal });
    const rest = cache.since(until);
    return past && rest && [...past, ...rest];
  }
}

/** A started watch: filters and hands on. Kinds with conversion go through a chain of promises to keep their order. */
class LiveWatch {
  readonly #core: Core;
  readonly #kind: Kind;
  readonly #options: ListOptions;
  readonly #view: WatchView;
  readonly #output: Output;
  readonly #share: ((batch: EventBatch, encode: () => Uint8Array) => boolean) | undefined;
  readonly #prefix: string;
  #chain: Promise<void> | undefined;
  #first = true;
  #sharedHeader: boolean;
  #ended = false;
  #timers: Timer[] = [];
  readonly #whenEnded: Array<() => void> = [];

  constructor(
    core: Core,
    kind: Kind,
    options: ListOptions,
    view: WatchView,
    output: Output,
    share: ((batch: EventBatch, encode: () => Uint8Array) => boolean) | undefined,
  ) {
    this.#core = core;
    this.#kind = kind;
    this.#options = options;
    this.#view = view;
    this.#output = output;
    this.#share = kind.conversion ? undefined : share;
    this.#sharedHeader = view.show === undefined;
    const { prefix } = cacheOf(core, kind);
    const { namespace, name } = options;
    const inNamespace = kind.namespaced && namespace !== "" ? `${prefix}${namespace}/` : prefix;
    this.#prefix = name === "" ? inNamespace : inNamespace + name;
  }

  initial(announce: boolean): void {
    const found: WireEvent[] = [];
    for (const [key, entry] of cacheOf(this.#core, this.#kind).entries.range(this.#prefix)) {
      if (this.#isMine(key) && this.#matches(entry)) found.push({ type: "ADDED", entry });
    }
    this.#send(found);
    if (announce && this.#options.bookmarks) this.#bookmark(true);
  }

  replay(events: readonly CacheEvent[]): void {
    this.#send(this.#filter(events));
  }

  deliver(batch: EventBatch): void {
    if (this.#ended) return;
    if (!this.#share || !this.#sharedHeader) return this.#send(this.#filter(batch.events));
    const encode = this.#view.encode ?? encodeEvents;
    const fits = this.#share(batch, () => encode(this.#wire(this.#filter(batch.events))));
    if (!fits) this.#drop();
  }

  #drop(): void {
    this.end(resourceExhausted("the watch was dropped: its reader is too slow"));
  }

  #put(events: readonly ApiWatchEvent[]): void {
    if (!this.#output.send(events)) this.#drop();
  }

  /** Ends after the asked or a usual time, and sends bookmarks until then. */
  arm(clock: Clock, spread: number): void {
    if (this.#ended) return;
    const { timeoutSeconds, bookmarks } = this.#options;
    const seconds = timeoutSeconds || MIN_TIMEOUT_SECONDS * (1 + spread);
    this.#timers.push(clock.after(seconds * 1000, () => this.#endInTime()));
    if (!bookmarks) return;
    const tick = () => {
      if (this.#ended) return;
      this.#bookmark(false);
      this.#timers[1] = clock.after(BOOKMARK_EVERY_MS, tick);
    };
    this.#timers.push(clock.after(BOOKMARK_EVERY_MS * (0.8 + 0.2 * spread), tick));
  }

  onEnd(callback: () => void): void {
    this.#whenEnded.push(callback);
  }

  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const timer of this.#timers) timer.cancel();
    for (const callback of this.#whenEnded) callback();
    this.#output.end(error);
  }

  #endInTime(): void {
    if (this.#options.bookmarks && !this.#ended) this.#bookmark(false);
    this.end();
  }

  #isMine(key: string): boolean {
    return this.#options.name === "" ? key.startsWith(this.#prefix) : key === this.#prefix;
  }

  #matches(entry: Entry): boolean {
    return this.#options.matches?.(entry.object) ?? true;
  }

  /** A change may bring an object into a selector's view or take it out of it. */
  #filter(events: readonly CacheEvent[]): WireEvent[] {
    const found: WireEvent[] = [];
    for (const { type, entry, old, revision } of events) {
      if (!this.#isMine(entry.key)) continue;
      if (!this.#options.matches) {
        found.push({ type, entry });
        continue;
      }
      const was = old !== undefined && this.#matches(old);
      const is = type !== "DELETED" && this.#matches(entry);
      if (is) found.push({ type: was ? "MODIFIED" : "ADDED", entry });
      else if (was) found.push({ type: "DELETED", entry: type === "DELETED" ? entry : old.at(revision) });
    }
    return found;
  }

  #send(events: readonly WireEvent[]): void {
    if (events.length === 0 || this.#ended) return;
    if (!this.#kind.conversion) return this.#put(this.#wire(events));
    this.#chain = (this.#chain ?? Promise.resolve()).then(async () => {
      try {
        const shown = await presentAll(
          this.#kind,
          events.map(({ entry }) => entry),
        );
        if (!this.#ended) this.#put(events.map(({ type }, at) => this.#event(type, shown[at]!)));
      } catch (error) {
        this.end(error);
      }
    });
  }

  #wire(events: readonly WireEvent[]): ApiWatchEvent[] {
    return events.map(({ type, entry }) => this.#event(type, entry));
  }

  #event(type: EventType, shown: Presented): ApiWatchEvent {
    const { show } = this.#view;
    if (!show) return new SharedEvent(type, shown);
    const object = show(shown.object, this.#first);
    this.#first = false;
    this.#sharedHeader = true;
    return { type, object };
  }

  #bookmark(initialEventsEnd: boolean): void {
    const metadata: KubeObject["metadata"] = { resourceVersion: String(this.#core.feed.revision) };
    if (initialEventsEnd) metadata.annotations = { "k8s.io/initial-events-end": "true" };
    const object: KubeObject = { kind: this.#kind.kind, apiVersion: apiVersionOf(this.#kind), metadata };
    const send = () => {
      if (!this.#ended) this.#put([{ type: "BOOKMARK", object: this.#view.show?.(object, this.#first) ?? object }]);
    };
    if (this.#chain) this.#chain = this.#chain.then(send);
    else send();
  }
}

/** An event whose object is only parsed when somebody looks at it. */
class SharedEvent implements ApiWatchEvent {
  readonly type: EventType;
  readonly #shown: Presented;
  constructor(type: EventType, shown: Presented) {
    this.type = type;
    this.#shown = shown;
  }
  get object(): KubeObject {
    return this.#shown.object;
  }
  get json(): Uint8Array {
    return this.#shown.json;
  }
}

const scopeOf = ({ name, namespace }: ListOptions) => (name ? "resource" : namespace ? "namespace" : "cluster");

const TAIL = Buffer.from("}\n");

/** Events as the wire has them, one a line. */
export function encodeEvents(events: readonly ApiWatchEvent[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const event of events) {
    const json = event.json ?? Buffer.from(JSON.stringify(event.object));
    parts.push(Buffer.from(`{"type":"${event.type}","object":`), json, TAIL);
  }
  return parts.length === 0 ? new Uint8Array(0) : Buffer.concat(parts);
}
