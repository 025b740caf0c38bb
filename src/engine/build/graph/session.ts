/** What the steps of one build share: its request, its context, the root filesystems it looks into, and what has to be cleared away at the end. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import {
  BerthError,
  codeOf,
  errnoOf,
  KeyedMutex,
  messageOf,
  randomHex,
  resourceExhausted,
  Semaphore,
  type Clock,
  type Random,
} from "../../../base/index.ts";
import type { CacheMounts } from "../cache/mounts.ts";
import type { CacheStore } from "../cache/store.ts";
import type { RemoteCache } from "../cache/transfer.ts";
import type { ExternalDecompressor } from "../../snapshot/index.ts";
import { checked, lintText, type Instruction } from "../dockerfile/index.ts";
import type { FileTree } from "../context/tree.ts";
import { MAX_PARALLEL_RUNS } from "../limits.ts";
import type { BuildRequest, Layer, BuildEvent, Vertex } from "../types.ts";
import type { Draft, View, Worker } from "../worker/worker.ts";
import type { BuildPlan } from "./stages.ts";

/** What all builds of an engine share. */
export interface BuildServices {
  readonly worker: Worker;
  readonly cache: CacheStore;
  readonly mounts: CacheMounts;
  readonly clock: Clock;
  readonly random: Random;
  readonly decompressor?: ExternalDecompressor;
  readonly fetch: typeof globalThis.fetch;
  /** One builder of a layer at a time per input; the others then find it in the cache. */
  readonly layerLocks: KeyedMutex;
  readonly runs: Semaphore;
}

export function sharedLocks(): Pick<BuildServices, "layerLocks" | "runs"> {
  return { layerLocks: new KeyedMutex(), runs: new Semaphore(MAX_PARALLEL_RUNS) };
}

export interface MadeLayer {
  readonly layer: Layer;
  readonly createdMs: number;
  readonly cached: boolean;
}

export interface LayerInput {
  /** Everything that the result depends on; turned into the cache key. */
  readonly input: unknown;
  readonly parent: string | undefined;
  readonly description: string;
  readonly make: (draft: Draft) => Promise<void>;
  /** Called when the cache has nothing and the work begins. */
  readonly onStart?: () => void;
}

export class BuildSession implements AsyncDisposable {
  readonly services: BuildServices;
  readonly request: BuildRequest;
  readonly plan: BuildPlan;
  /** Fires when the client goes away, and when a step fails. */
  readonly signal: AbortSignal;
  readonly context: FileTree;
  readonly scratch: string;
  /** Which input gave which layer in this build, by chain ID: what an inline cache tells others. */
  readonly made = new Map<string, string>();
  readonly warnings: string[] = [];
  /** Caches elsewhere that this build may use. */
  readonly remoteCaches: RemoteCache[] = [];
  readonly #abort = new AbortController();
  /** SOURCE_DATE_EPOCH. */
  readonly epochMs: number | undefined;
  readonly #undo = new AsyncDisposableStack();
  readonly #views = new Map<string, Promise<View>>();
  readonly #trees = new Map<string, FileTree>();

  constructor(options: {
    services: BuildServices;
    request: BuildRequest;
    plan: BuildPlan;
    signal: AbortSignal;
    context: FileTree;
    scratch: string;
    epochMs: number | undefined;
  }) {
    this.services = options.services;
    this.request = options.request;
    this.plan = options.plan;
    this.signal = AbortSignal.any([options.signal, this.#abort.signal]);
    this.context = options.context;
    this.scratch = options.scratch;
    this.epochMs = options.epochMs;
  }

  emit(event: BuildEvent): void {
    this.request.onProgress?.(event);
  }

  /** Tells it now, and once more with the result. */
  warn(message: string): void {
    this.warnings.push(message);
    this.emit({ kind: "warning", message });
  }

  /** For expansions: a variable that nobody declared gives nothing, which is seldom meant. Each is told once a line. */
  undefinedVariable(instruction: Instruction): (name: string) => void {
    const { dockerfile } = this.plan;
    return (name) => {
      if (isDeclared(dockerfile.instructions, name)) return;
      const message = `Usage of undefined variable '$${name}'`;
      for (const warning of checked(dockerfile, [
        { rule: "UndefinedVar", message, line: instruction.line.startLine },
      ])) {
        const text = lintText(warning);
        if (!this.warnings.includes(text)) this.warn(text);
      }
    };
  }

  /** Stops every stage that still works. */
  abort(reason: unknown): void {
    this.#abort.abort(reason);
  }

  /** When something made now is made, as the image says it. */
  nowMs(): number {
    return this.epochMs ?? this.services.clock.nowMs();
  }

  uniqueId(): string {
    return randomHex(this.services.random, 32);
  }

  /** A fresh directory, gone with the build. */
  scratchDir(): string {
    return fs.mkdtempSync(path.join(this.scratch, "d-"));
  }

  /** The root filesystem of a chain, mounted read-only until the build ends. */
  async tree(chainId: string | undefined): Promise<FileTree> {
    const key = chainId ?? "scratch";
    let view = this.#views.get(key);
    if (!view) {
      view = this.services.worker.view(chainId);
      this.#views.set(key, view);
      this.#undo.defer(async () => {
        await (await view!.catch(() => undefined))?.[Symbol.asyncDispose]();
      });
    }
    const { root } = await view;
    const tree = this.#trees.get(key) ?? { root, digests: new Map<string, string>() };
    this.#trees.set(key, tree);
    return tree;
  }

  /** Looks into a root filesystem for a moment only. */
  async look<T>(chainId: string | undefined, task: (root: string) => Promise<T> | T): Promise<T> {
    if (this.#views.has(chainId ?? "scratch")) return await task((await this.tree(chainId)).root);
    await using view = await this.services.worker.view(chainId);
    return await task(view.root);
  }

  hold(chainId: string): void {
    this.#undo.defer(this.services.cache.hold(chainId));
  }

  keyOf(input: unknown): string {
    return createHash("sha256")
      .update(JSON.stringify(["berth-build-1", this.epochMs ?? null, input]))
      .digest("hex");
  }

  /** The layer for an input: out of the cache, or made and remembered. */
  async layer({ input, parent, description, make, onStart }: LayerInput): Promise<MadeLayer> {
    const { cache, layerLocks } = this.services;
    const key = this.keyOf([parent ?? "scratch", input]);
    const made = await layerLocks.run(key, async () => {
      this.signal.throwIfAborted();
      const hit = this.cached(key) ?? (await this.#fetched(key, parent));
      if (hit) return hit;
      onStart?.();
      const layer = await this.#make(parent, make);
      const record = cache.put(key, layer, { parent, description, type: "regular" }, this.nowMs());
      this.services.worker.keep(layer.chainId);
      return { layer, createdMs: record.createdAtMs, cached: false };
    });
    this.hold(made.layer.chainId);
    this.made.set(made.layer.chainId, key);
    return made;
  }

  cached(key: string): MadeLayer | undefined {
    if (this.request.noCache) return undefined;
    const record = this.services.cache.get(key);
    if (!record) return undefined;
    const layer = this.services.worker.layer(record.chainId);
    if (!layer) {
      this.services.cache.drop([key]);
      return undefined;
    }
    this.services.cache.used(key);
    return { layer, createdMs: record.createdAtMs, cached: true };
  }

  /** The layer of a cache elsewhere. One that cannot be had is made here: a cache that fails costs time, not the build. */
  async #fetched(key: string, parent: string | undefined): Promise<MadeLayer | undefined> {
    if (this.request.noCache) return undefined;
    for (const remote of this.remoteCaches) {
      const entry = remote.entry(key);
      if (!entry) continue;
      try {
        const layer = await remote.fetch(entry, this.services.worker, this.signal);
        const facts = { parent, description: entry.description, type: "regular" as const };
        this.services.cache.put(key, layer, facts, entry.createdAtMs);
        this.services.worker.keep(layer.chainId);
        return { layer, createdMs: entry.createdAtMs, cached: true };
      } catch (error) {
        if (this.signal.aborted) throw error;
        this.warn(`a cached layer could not be fetched: ${messageOf(error)}`);
      }
    }
    return undefined;
  }

  async #make(parent: string | undefined, make: (draft: Draft) => Promise<void>): Promise<Layer> {
    try {
      await using draft = await this.services.worker.begin(parent);
      await make(draft);
      this.signal.throwIfAborted();
      await draft.unmount();
      return await draft.commit(this.epochMs === undefined ? {} : { clampMtimeMs: this.epochMs });
    } catch (error) {
      if (errnoOf(error) === "ENOSPC")
        throw resourceExhausted("the disk is full: the layer could not be written", {
          cause: error,
          hint: "`docker system prune` frees space.",
        });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo.disposeAsync();
  }
}

/** Times a step and tells progress about it. */
export class StepReporter {
  readonly vertex: Vertex;
  readonly #session: BuildSession;
  readonly #startedMs: number;

  constructor(session: BuildSession, vertex: Vertex) {
    this.#session = session;
    this.vertex = vertex;
    this.#startedMs = session.services.clock.monotonicMs();
    session.emit({ kind: "started", vertex });
  }
  cached(): void {
    this.#session.emit({ kind: "cached", vertex: this.vertex });
  }
  output(stream: "stdout" | "stderr", text: string): void {
    this.#session.emit({ kind: "output", vertex: this.vertex, stream, text });
  }
  done(result?: string): void {
    this.#session.emit({
      kind: "done",
      vertex: this.vertex,
      durationMs: this.#elapsed(),
      ...(result === undefined ? {} : { result }),
    });
  }
  failed(error: unknown): void {
    const message =
      error instanceof BerthError ? error.message : codeOf(error) === "canceled" ? "canceled" : String(error);
    this.#session.emit({ kind: "failed", vertex: this.vertex, message, durationMs: this.#elapsed() });
  }
  #elapsed(): number {
    return this.#session.services.clock.monotonicMs() - this.#startedMs;
  }
}

/** An ARG without a value is declared, too. */
function isDeclared(instructions: readonly Instruction[], name: string): boolean {
  return instructions.some(
    (instruction) => instruction.kind === "arg" && instruction.args.some((argument) => argument.name === name),
  );
}
