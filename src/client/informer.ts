import { messageOf, type Clock, type Logger, type Random } from "../base/index.ts";
import type { KubeClient, ResourceClient } from "./client.ts";
import { apiVersionOf, deepFreeze, keyOf, type AnyObject, type Resource, type Stored } from "./resource.ts";
import { isExpired } from "./status.ts";

export interface InformerHandler<T> {
  added?(object: Stored<T>): void;
  updated?(object: Stored<T>, old: Stored<T>): void;
  deleted?(object: Stored<T>): void;
}

/** The values under which an object is found again. */
export type IndexFunction<T> = (object: Stored<T>) => readonly string[];

/** What readers see of an informer. */
export interface Lister<T> {
  readonly size: number;
  get(key: string): Stored<T> | undefined;
  list(): Stored<T>[];
  inNamespace(namespace: string): readonly Stored<T>[];
  byIndex(name: string, value: string): readonly Stored<T>[];
}

export interface InformerOptions {
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly namespace?: string;
}

export interface InformerContext {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

const FIRST_RETRY_MS = 200;
const MAX_RETRY_MS = 10_000;
const LIST_PAGE = 5_000;
/** Upstream's reflectors ask for 5 to 10 minutes; the stream is then renewed from where it stood. */
const WATCH_SECONDS = 300;
const NONE: readonly never[] = Object.freeze([]);

/** A local, frozen, indexed copy of a resource, kept by list and watch. */
export class Informer<T extends AnyObject> implements Lister<T> {
  readonly resource: Resource<T>;
  readonly #client: ResourceClient<T>;
  readonly #context: InformerContext;
  readonly #options: InformerOptions;
  readonly #objects = new Map<string, Stored<T>>();
  readonly #indexes = new Map<string, Index<T>>();
  readonly #handlers: InformerHandler<T>[] = [];
  readonly #synced = Promise.withResolvers<void>();
  #hasSynced = false;
  #version = "";
  #running: Promise<void> | undefined;

  constructor(context: InformerContext, resource: Resource<T>, options: InformerOptions = {}) {
    this.resource = resource;
    this.#context = context;
    this.#options = options;
    this.#client = context.client.of(resource);
    if (resource.namespaced) this.addIndex("namespace", (object) => [object.metadata.namespace ?? ""]);
  }

  get size(): number {
    return this.#objects.size;
  }
  get hasSynced(): boolean {
    return this.#hasSynced;
  }
  /** The version up to which the copy is complete. */
  get resourceVersion(): string {
    return this.#version;
  }
  whenSynced(): Promise<void> {
    return this.#synced.promise;
  }
  get(key: string): Stored<T> | undefined {
    return this.#objects.get(key);
  }
  list(): Stored<T>[] {
    return [...this.#objects.values()];
  }
  values(): IterableIterator<Stored<T>> {
    return this.#objects.values();
  }
  inNamespace(namespace: string): readonly Stored<T>[] {
    return namespace === "" || !this.resource.namespaced ? this.list() : this.byIndex("namespace", namespace);
  }
  byIndex(name: string, value: string): readonly Stored<T>[] {
    const found = this.#indexes.get(name)?.get(value);
    return found ? [...found.values()] : NONE;
  }

  /** Idempotent by name. */
  addIndex(name: string, valuesOf: IndexFunction<T>): this {
    if (this.#indexes.has(name)) return this;
    const index = new Index(valuesOf);
    for (const [key, object] of this.#objects) index.put(key, object, undefined);
    this.#indexes.set(name, index);
    return this;
  }

  /** A late handler is told of everything already known. */
  onChange(handler: InformerHandler<T>): this {
    this.#handlers.push(handler);
    for (const object of this.#objects.values()) this.#tell(() => handler.added?.(object));
    return this;
  }

  /** Lists and watches until the signal aborts. Idempotent. */
  run(signal: AbortSignal): Promise<void> {
    return (this.#running ??= this.#reflect(signal));
  }

  async #reflect(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#context;
    let retryMs = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        if (this.#version === "") await this.#relist(signal);
        const begunMs = clock.monotonicMs();
        await this.#follow(signal);
        retryMs = FIRST_RETRY_MS;
        if (clock.monotonicMs() - begunMs < 1000) await clock.sleep(FIRST_RETRY_MS, signal);
      } catch (error) {
        if (signal.aborted) break;
        if (isExpired(error)) {
          this.#version = "";
          continue;
        }
        log.debug("informer lost its watch", { resource: this.resource.plural, error: messageOf(error) });
        await clock.sleep(retryMs * (1 + random.float()), signal).catch(() => {});
        retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
      }
    }
  }

  async #relist(signal: AbortSignal): Promise<void> {
    const fresh = new Map<string, Stored<T>>();
    let from: string | undefined;
    let version = "";
    do {
      // A consistent first page; the rest continues at the same revision.
      const page = await this.#client.list({ ...this.#options, limit: LIST_PAGE, continue: from, signal });
      for (const item of page.items) {
        const object = this.#typed(item);
        fresh.set(keyOf(object), deepFreeze(object));
      }
      version = page.metadata.resourceVersion ?? "";
      from = page.metadata.continue || undefined;
    } while (from !== undefined);
    for (const [key, old] of this.#objects) {
      const now = fresh.get(key);
      if (!now || now.metadata.uid !== old.metadata.uid) this.#remove(key, old);
    }
    for (const [key, object] of fresh) this.#put(key, object);
    this.#version = version;
    if (!this.#hasSynced) {
      this.#hasSynced = true;
      this.#synced.resolve();
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const events = this.#client.watch({
      ...this.#options,
      resourceVersion: this.#version,
      allowWatchBookmarks: true,
      timeoutSeconds: WATCH_SECONDS,
      signal,
    });
    for await (const { type, object } of events) {
      if (signal.aborted) return;
      if (type !== "BOOKMARK") {
        const key = keyOf(object);
        if (type === "DELETED") this.#remove(key, object);
        else this.#put(key, object);
      }
      this.#version = object.metadata.resourceVersion;
    }
  }

  /** Items of a list may come without kind and apiVersion. */
  #typed(item: Stored<T>): Stored<T> {
    if (item.kind) return item;
    return { ...item, apiVersion: apiVersionOf(this.resource), kind: this.resource.kind };
  }

  #put(key: string, object: Stored<T>): void {
    const old = this.#objects.get(key);
    if (old && old.metadata.resourceVersion === object.metadata.resourceVersion) return;
    if (old && old.metadata.uid !== object.metadata.uid) this.#remove(key, old);
    const previous = this.#objects.get(key);
    this.#objects.set(key, object);
    for (const index of this.#indexes.values()) index.put(key, object, previous);
    for (const handler of this.#handlers) {
      this.#tell(() => (previous ? handler.updated?.(object, previous) : handler.added?.(object)));
    }
  }

  #remove(key: string, last: Stored<T>): void {
    const old = this.#objects.get(key);
    if (!old) return;
    this.#objects.delete(key);
    for (const index of this.#indexes.values()) index.remove(key, old);
    for (const handler of this.#handlers) this.#tell(() => handler.deleted?.(last));
  }

  /** One broken handler must not stop the others or the watch. */
  #tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#context.log.error("an informer's handler failed", { resource: this.resource.plural, error });
    }
  }
}

class Index<T> {
  readonly #valuesOf: IndexFunction<T>;
  readonly #buckets = new Map<string, Map<string, Stored<T>>>();

  constructor(valuesOf: IndexFunction<T>) {
    this.#valuesOf = valuesOf;
  }
  get(value: string): ReadonlyMap<string, Stored<T>> | undefined {
    return this.#buckets.get(value);
  }
  put(key: string, object: Stored<T>, old: Stored<T> | undefined): void {
    const values = this.#valuesOf(object);
    if (old) for (const value of this.#valuesOf(old)) if (!values.includes(value)) this.#drop(value, key);
    for (const value of values) {
      const bucket = this.#buckets.get(value);
      if (bucket) bucket.set(key, object);
      else this.#buckets.set(value, new Map([[key, object]]));
    }
  }
  remove(key: string, object: Stored<T>): void {
    for (const value of this.#valuesOf(object)) this.#drop(value, key);
  }
  #drop(value: string, key: string): void {
    const bucket = this.#buckets.get(value);
    if (bucket?.delete(key) && bucket.size === 0) this.#buckets.delete(value);
  }
}

/** One informer per resource, shared by everybody in the process. */
export class InformerFactory {
  readonly #context: InformerContext;
  readonly #informers = new Map<string, Informer<AnyObject>>();
  #signal: AbortSignal | undefined;

  constructor(context: InformerContext) {
    this.#context = context;
  }

  /** Started at once when the factory is running already. */
  for<T extends AnyObject>(resource: Resource<T>): Informer<T> {
    const id = `${resource.group}/${resource.version}/${resource.plural}`;
    let informer = this.#informers.get(id) as Informer<T> | undefined;
    if (!informer) {
      informer = new Informer(this.#context, resource);
      this.#informers.set(id, informer as unknown as Informer<AnyObject>);
      if (this.#signal) void informer.run(this.#signal);
    }
    return informer;
  }

  /** Idempotent: the first caller's signal is the factory's, so that no user's end stops the copies of the others. */
  start(signal: AbortSignal): void {
    if (this.#signal) return;
    this.#signal = signal;
    for (const informer of this.#informers.values()) void informer.run(signal);
  }

  /** Resolves when every informer asked for so far has its first list. */
  async whenSynced(): Promise<void> {
    await Promise.all([...this.#informers.values()].map((informer) => informer.whenSynced()));
  }
}
