/** The builder: one build from request to image, and the care of the cache. */
import fs from "node:fs";
import path from "node:path";
import {
  codeOf,
  canceled,
  invalidArgument,
  messageOf,
  rfc3339Nano,
  type Clock,
  type Logger,
  type Random,
} from "../../base/index.ts";
import {
  cachePlan,
  inlineRecords,
  withInlineCache,
  type CachePlan,
  type CacheSource,
  type InlineRecord,
} from "./cache/exchange.ts";
import { LocalArtifacts } from "./cache/local.ts";
import { CacheMounts } from "./cache/mounts.ts";
import { planPrune, type CacheStore } from "./cache/store.ts";
import { exportCache, RemoteCache } from "./cache/transfer.ts";
import type { ExternalDecompressor } from "../snapshot/index.ts";
import { KnownFiles } from "./context/known.ts";
import { loadContext, type LoadedContext } from "./context/load.ts";
import { lint, lintText, parseDockerfile } from "./dockerfile/index.ts";
import { BuildSession, sharedLocks, type BuildServices } from "./graph/session.ts";
import { solve } from "./graph/solve.ts";
import { parsePlatform, planStages } from "./graph/stages.ts";
import type { StageState } from "./graph/state.ts";
import type { Builder, BuildRequest, BuildResult, CacheRecord, CachePruneOptions, CachePruneResult } from "./types.ts";
import type { Worker } from "./worker/worker.ts";
import type { ArtifactPlace } from "../image/index.ts";

export interface BuilderOptions {
  readonly worker: Worker;
  readonly cache: CacheStore;
  /** Where cache mounts are kept. */
  readonly directory: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly decompressor?: ExternalDecompressor;
  readonly fetch?: typeof globalThis.fetch;
}

/** Clears away what builds of a killed daemon left, and reads the cache's records. */
export function createBuilder(options: BuilderOptions): Builder {
  fs.rmSync(options.worker.scratchDir, { recursive: true, force: true });
  fs.mkdirSync(options.worker.scratchDir, { recursive: true, mode: 0o700 });
  fs.mkdirSync(options.worker.volatileDir, { recursive: true, mode: 0o700 });
  const services: BuildServices = {
    worker: options.worker,
    cache: options.cache,
    mounts: new CacheMounts(path.join(options.directory, "mounts"), options.clock),
    clock: options.clock,
    random: options.random,
    fetch: options.fetch ?? globalThis.fetch,
    ...(options.decompressor ? { decompressor: options.decompressor } : {}),
    ...sharedLocks(),
  };
  for (const record of services.cache.records()) services.worker.keep(record.chainId);
  return new EngineBuilder(services, new KnownFiles(path.join(options.directory, "known")), options.log);
}

class EngineBuilder implements Builder {
  readonly #services: BuildServices;
  readonly #known: KnownFiles;
  readonly #log: Logger;
  readonly cache: Builder["cache"];

  constructor(services: BuildServices, known: KnownFiles, log: Logger) {
    this.#known = known;
    this.#services = services;
    this.#log = log;
    this.cache = {
      list: async () => this.#records(),
      prune: (options) => this.#prune(options),
    };
  }

  async build(request: BuildRequest, signal: AbortSignal): Promise<BuildResult> {
    const { worker, fetch, decompressor } = this.#services;
    const scratch = fs.mkdtempSync(path.join(worker.scratchDir, "b-"));
    try {
      const loaded = await loadContext({
        known: this.#known,
        directory: path.join(scratch, "context"),
        dockerfile: request.dockerfile ?? "Dockerfile",
        fetch,
        signal,
        ...(request.context ? { context: request.context } : {}),
        ...(request.remote ? { remote: request.remote } : {}),
        ...(decompressor ? { decompressor } : {}),
      });
      const result = await this.#solve(request, loaded, scratch, signal);
      this.#known.remember(loaded.tree);
      return result;
    } catch (error) {
      if (signal.aborted && codeOf(error) !== "canceled") throw canceled("the build was canceled", { cause: error });
      throw error;
    } finally {
      await fs.promises.rm(scratch, { recursive: true, force: true });
      this.#known.sweep();
    }
  }

  async #solve(
    request: BuildRequest,
    loaded: LoadedContext,
    scratch: string,
    signal: AbortSignal,
  ): Promise<BuildResult> {
    const { worker } = this.#services;
    const dockerfile = parseDockerfile(loaded.dockerfileText, loaded.dockerfileName);
    const targetPlatform = request.platform ? parsePlatform(request.platform, worker.platform) : worker.platform;
    const plan = planStages(dockerfile, {
      buildArgs: request.buildArgs ?? {},
      buildPlatform: worker.platform,
      targetPlatform,
      ...(request.target ? { target: request.target } : {}),
    });
    const cache = cachePlan(request);
    await using session = new BuildSession({
      services: this.#services,
      request,
      plan,
      signal,
      context: loaded.tree,
      scratch,
      epochMs: sourceDateEpoch(request),
    });
    this.#lint(session);
    await this.#importCache(session, cache);
    const { state, warnings } = await solve(session);
    const result = await this.#publish(session, state, cache.inline);
    await this.#exportCache(session, state, cache);
    this.#log.info("image built", { imageId: result.id, tags: result.tags });
    return {
      imageId: result.id,
      tags: result.tags,
      config: result.config,
      warnings: [...session.warnings, ...warnings],
    };
  }

  /** `invalidArgument` when `# check=error=true` makes warnings errors. */
  #lint(session: BuildSession): void {
    const { dockerfile } = session.plan;
    const found = lint(dockerfile);
    for (const warning of found) session.warn(lintText(warning));
    if (!dockerfile.directives.check?.error || found.length === 0) return;
    const rules = [...new Set(found.map(({ rule }) => rule))];
    throw invalidArgument(`lint violation found for rules: ${rules.join(", ")}\n${found.map(lintText).join("\n")}`, {
      hint: "mend them, or leave rules out with # check=skip=RULE",
    });
  }

  async #publish(session: BuildSession, state: StageState, inline: boolean) {
    const { request, services } = session;
    for (const [key, value] of Object.entries(request.labels ?? {})) state.setLabel(key, value);
    const created = session.epochMs === undefined ? state.history.at(-1)?.created : rfc3339Nano(session.epochMs);
    const image = { ...state.image(), created: created ?? rfc3339Nano(session.nowMs()) };
    const config = inline ? withInlineCache(image, this.#made(session)) : image;
    const { id, tags } = await services.worker.publish({
      config,
      chainId: state.chainId,
      parent: state.parentImage,
      tags: request.tags ?? [],
    });
    session.emit({ kind: "image", id });
    return { id, tags, config };
  }

  /** What this build made or found, for others. */
  #made(session: BuildSession): InlineRecord[] {
    return [...session.made].flatMap(([chainId, key]) => {
      const record = this.#services.cache.get(key);
      return record ? [{ key, chainId, description: record.description, createdAtMs: record.createdAtMs }] : [];
    });
  }

  /** Records from elsewhere; a cache that cannot be had is a warning, as with BuildKit. */
  async #importCache(session: BuildSession, { from }: CachePlan): Promise<void> {
    for (const source of from) {
      try {
        const remote =
          source.type === "image" ? undefined : await RemoteCache.open(this.#place(session, source, false));
        if (remote) session.remoteCaches.push(remote);
        else if (source.type !== "local") await this.#importInline(session, source.name);
      } catch (error) {
        if (session.signal.aborted) throw error;
        session.warn(`cache-from ${source.name} could not be used: ${messageOf(error)}`);
      }
    }
  }

  /** An image that carries its records. */
  async #importInline({ request, services, signal }: BuildSession, reference: string): Promise<void> {
    const image = await services.worker.image(reference, {
      platform: services.worker.platform,
      pull: false,
      signal,
      ...(request.registryAuth ? { registryAuth: request.registryAuth } : {}),
    });
    for (const record of inlineRecords(image.config)) this.#adopt(record);
  }

  async #exportCache(session: BuildSession, state: StageState, { to }: CachePlan): Promise<void> {
    const { worker } = session.services;
    const own = new Set(state.chainId === undefined ? [] : worker.chain(state.chainId).map(({ chainId }) => chainId));
    for (const target of to) {
      const records = this.#made(session).filter(({ chainId }) => target.mode === "max" || own.has(chainId));
      try {
        await exportCache(this.#place(session, target, true), records, worker, session.signal);
      } catch (error) {
        if (session.signal.aborted || !target.ignoreError) throw error;
        session.warn(`cache-to ${target.name} failed: ${messageOf(error)}`);
      }
    }
  }

  #place({ request, services, signal }: BuildSession, { type, name }: CacheSource, write: boolean): ArtifactPlace {
    if (type === "local") return new LocalArtifacts(name);
    const { registryAuth } = request;
    return services.worker.artifacts(name, { write, signal, ...(registryAuth && { registryAuth }) });
  }

  #adopt({ key, chainId, description, createdAtMs }: ReturnType<typeof inlineRecords>[number]): void {
    const { cache, worker } = this.#services;
    const layer = worker.layer(chainId);
    if (!layer || cache.get(key)) return;
    cache.put(key, layer, { parent: undefined, description, type: "regular" }, createdAtMs);
    worker.keep(chainId);
  }

  #records(): CacheRecord[] {
    const { cache, mounts } = this.#services;
    const records = cache.records();
    const byChain = new Map(records.map((record) => [record.chainId, record.key]));
    const layers = records.map((record): CacheRecord => {
      const parent = record.parent === undefined ? undefined : byChain.get(record.parent);
      return {
        id: record.key.slice(0, 25),
        parents: parent ? [parent.slice(0, 25)] : [],
        type: record.type,
        description: record.description,
        inUse: cache.inUse(record.chainId),
        shared: false,
        sizeBytes: record.sizeBytes,
        createdAtMs: record.createdAtMs,
        lastUsedAtMs: record.lastUsedAtMs,
        usageCount: record.usageCount,
      };
    });
    return [...layers, ...mounts.list()];
  }

  async #prune(options: CachePruneOptions): Promise<CachePruneResult> {
    const { cache, mounts, worker, clock } = this.#services;
    const chosen = planPrune(this.#records(), options, clock.nowMs());
    const mountRecords = chosen.filter((record) => record.type === "exec.cachemount");
    for (const record of mountRecords) await mounts.remove(record.id);
    const ids = new Set(chosen.map((record) => record.id));
    const dropped = cache.records().filter((record) => ids.has(record.key.slice(0, 25)));
    cache.drop(dropped.map((record) => record.key));
    const kept = new Set(cache.records().map((record) => record.chainId));
    const freed = await worker.forget(dropped.map((record) => record.chainId).filter((chainId) => !kept.has(chainId)));
    this.#known.sweep();
    return {
      deleted: [...ids],
      reclaimedBytes: freed + mountRecords.reduce((sum, record) => sum + record.sizeBytes, 0),
    };
  }
}

/** https://reproducible-builds.org/specs/source-date-epoch/ as a build argument. */
function sourceDateEpoch(request: BuildRequest): number | undefined {
  const text = request.buildArgs?.["SOURCE_DATE_EPOCH"];
  if (text === undefined || text === "") return undefined;
  if (!/^\d{1,11}$/.test(text))
    throw invalidArgument(`invalid SOURCE_DATE_EPOCH ${JSON.stringify(text)}: it is a number of seconds since 1970`);
  return Number(text) * 1000;
}
