/**
 * The build group: POST /build for the classic client (a tar in, JSON lines out), /build/prune, /build/cancel.
 *
 * What Docker's clients never send: the header `X-Berth-Progress: plain` gives BuildKit's form of progress, `X-Berth-Build-Secrets` carries
 * `{"id": "base64"}`, base64url, for RUN --mount=type=secret, and the parameter `cacheto` is a JSON array as `cachefrom` is.
 */
import type { BuildCacheRecord, BuildPruneResponse, BuildUlimit } from "../../api/index.ts";
import {
  BerthError,
  conflict,
  messageOf,
  invalidArgument,
  notFound,
  notImplemented,
  PushQueue,
  rfc3339Nano,
  type Clock,
} from "../../base/index.ts";
import {
  ClassicProgress,
  PlainProgress,
  type Builder,
  type BuildRequest,
  type BuildResources,
  type BuildResult,
  type CacheRecord,
  type CachePruneOptions,
  type BuildEvent,
  type BuildRegistryAuth,
  type ClassicMessage,
  shortId,
} from "../../engine/index.ts";
import { empty, json, jsonLines, type DockerRequest, type Route } from "../route.ts";
import type { Query } from "../query.ts";

export interface BuildBackend {
  readonly builder: Builder;
  readonly clock: Clock;
}

export function buildRoutes(backend: BuildBackend): Route[] {
  const running = new Map<string, AbortController>();
  return [
    { method: "POST", path: "/build", handle: (request) => build(backend, request, running) },
    { method: "POST", path: "/build/prune", handle: async (request) => json(await prune(backend, request)) },
    { method: "POST", path: "/build/cancel", handle: (request) => cancel(request, running) },
  ];
}

/** Docker's classic builder reads its context to the end before it answers; so an error that comes early has its own status. */
function build({ builder, clock }: BuildBackend, request: DockerRequest, running: Map<string, AbortController>) {
  const { query } = request;
  refuseUnsupported(query);
  const buildId = query.text("buildid");
  if (buildId && running.has(buildId)) throw conflict(`a build with the id ${buildId} is running`);
  const messages = new PushQueue<ClassicMessage>(MAX_PENDING_MESSAGES);
  const progress = query.bool("q") ? undefined : progressOf(request, clock, (message) => messages.push(message));
  const buildRequest: BuildRequest = {
    ...readRequest(request),
    ...(progress ? { onProgress: (event: BuildEvent) => progress.on(event) } : {}),
  };
  const canceler = new AbortController();
  if (buildId) running.set(buildId, canceler);
  const work = builder
    .build(buildRequest, AbortSignal.any([request.signal, canceler.signal]))
    .then((result) => {
      for (const message of closing(result, query.bool("q"))) messages.push(message);
      messages.end();
    })
    .catch((error: unknown) => {
      progress?.flush?.();
      const failure = commandFailure(error);
      if (!failure) return messages.fail(error);
      messages.push(failure);
      return messages.end();
    })
    .finally(() => buildId && running.delete(buildId));
  return jsonLines(untilDone(messages, work));
}

/** Messages that wait for a client that reads slowly. */
const MAX_PENDING_MESSAGES = 1_000_000;

/** The answer isn't over before the build is: what it holds is given back first. */
async function* untilDone(messages: PushQueue<ClassicMessage>, work: Promise<unknown>): AsyncGenerator<ClassicMessage> {
  try {
    yield* messages;
  } finally {
    await work;
  }
}

interface Progress {
  on(event: BuildEvent): void;
  flush?(): void;
}

function progressOf(request: DockerRequest, clock: Clock, write: (message: ClassicMessage) => void): Progress {
  if (request.headers["x-berth-progress"] !== "plain") return new ClassicProgress(write);
  return new PlainProgress(
    (line) => write({ stream: line }),
    () => clock.monotonicMs(),
  );
}

function closing(result: BuildResult, quiet: boolean): ClassicMessage[] {
  if (quiet) return [{ stream: `${result.imageId}\n` }];
  return [
    { aux: { ID: result.imageId } },
    { stream: `Successfully built ${shortId(result.imageId)}\n` },
    ...result.tags.map((tag) => ({ stream: `Successfully tagged ${tag}\n` })),
  ];
}

/** A command's own exit code is told, and the CLI exits with it. */
function commandFailure(error: unknown): ClassicMessage | undefined {
  const code = error instanceof BerthError ? error.details["exitCode"] : undefined;
  if (typeof code !== "number") return undefined;
  const message = messageOf(error);
  return { errorDetail: { code, message }, error: message };
}

function refuseUnsupported(query: Query): void {
  if (query.text("version") === "2")
    throw notImplemented("this daemon speaks the classic builder's protocol, not BuildKit's", {
      hint: "Set DOCKER_BUILDKIT=0.",
    });
  if (query.bool("squash"))
    throw notImplemented("--squash is not supported", {
      hint: "A last stage FROM scratch with COPY --from does the same.",
    });
  const isolation = query.text("isolation");
  if (isolation && isolation !== "default") throw invalidArgument(`unsupported isolation: ${isolation}`);
  if (query.text("outputs") && query.text("outputs") !== "[]")
    throw notImplemented("outputs are part of BuildKit's protocol, which is not spoken yet");
}

function readRequest(request: DockerRequest): BuildRequest {
  const { query, headers } = request;
  const remote = query.text("remote");
  return {
    ...(remote ? { remote } : { context: request.body }),
    dockerfile: query.text("dockerfile") || "Dockerfile",
    tags: query.all("t").filter((tag) => tag !== ""),
    buildArgs: textMap(query, "buildargs"),
    labels: textMap(query, "labels") as Record<string, string>,
    noCache: query.bool("nocache"),
    pull: query.bool("pull"),
    cacheFrom: rejoined(textList(query, "cachefrom")),
    cacheTo: rejoined(textList(query, "cacheto")),
    extraHosts: query.all("extrahosts").filter((entry) => entry !== ""),
    resources: readResources(query),
    ...optional("target", query.text("target")),
    ...optional("platform", query.text("platform")),
    ...optional("networkMode", query.text("networkmode")),
    ...optional(
      "registryAuth",
      headerJson<Record<string, BuildRegistryAuth>>(headers["x-registry-config"], "X-Registry-Config"),
    ),
    ...optional("secrets", readSecrets(headers["x-berth-build-secrets"])),
  };
}

function optional<K extends string, V>(key: K, value: V | undefined | ""): { [P in K]?: V } {
  return value === undefined || value === "" ? {} : ({ [key]: value } as { [P in K]?: V });
}

function textMap(query: Query, name: string): Record<string, string | undefined> {
  const value = query.json<unknown>(name) ?? {};
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidArgument(`query parameter "${name}" is not a JSON object`);
  return Object.fromEntries(
    Object.entries(value).map(([key, text]) => {
      if (text !== null && typeof text !== "string")
        throw invalidArgument(`query parameter "${name}": the value of ${key} is not a text`);
      return [key, text ?? undefined];
    }),
  );
}

function textList(query: Query, name: string): string[] {
  const value = query.json<unknown>(name) ?? [];
  if (!Array.isArray(value) || value.some((entry) => typeof entry !== "string"))
    throw invalidArgument(`query parameter "${name}" is not a JSON array of texts`);
  return value as string[];
}

/** The classic client cuts `type=registry,ref=NAME` at its commas. An image's name has no equals sign, so the pieces are known. */
function rejoined(options: readonly string[]): string[] {
  const whole: string[] = [];
  for (const option of options) {
    const continues = option.includes("=") && !option.startsWith("type=") && whole.at(-1)?.includes("=");
    if (continues) whole.push(`${whole.pop()},${option}`);
    else whole.push(option);
  }
  return whole;
}

function readResources(query: Query): BuildResources {
  const shmSizeBytes = query.int("shmsize");
  if (shmSizeBytes !== undefined && shmSizeBytes < 0) throw invalidArgument("SHM size can not be less than 0");
  const ulimits = query.json<BuildUlimit[]>("ulimits") ?? [];
  return {
    ...optional("memoryBytes", query.int("memory") || undefined),
    ...optional("memorySwapBytes", query.int("memswap") || undefined),
    ...optional("cpuShares", query.int("cpushares") || undefined),
    ...optional("cpuPeriod", query.int("cpuperiod") || undefined),
    ...optional("cpuQuota", query.int("cpuquota") || undefined),
    ...optional("cpusetCpus", query.text("cpusetcpus")),
    ...optional("cpusetMems", query.text("cpusetmems")),
    ...optional("cgroupParent", query.text("cgroupparent")),
    ...optional("shmSizeBytes", shmSizeBytes || undefined),
    ulimits: ulimits.map(({ Name, Soft, Hard }) => ({ name: Name, soft: Soft, hard: Hard })),
  };
}

function headerJson<T>(header: string | string[] | undefined, name: string): T | undefined {
  if (typeof header !== "string" || header === "") return undefined;
  try {
    return JSON.parse(Buffer.from(header, "base64url").toString("utf8")) as T;
  } catch (error) {
    throw invalidArgument(`the header ${name} is not base64 of a JSON document`, { cause: error });
  }
}

function readSecrets(header: string | string[] | undefined): Record<string, Uint8Array> | undefined {
  const encoded = headerJson<Record<string, string>>(header, "X-Berth-Build-Secrets");
  return encoded && Object.fromEntries(Object.entries(encoded).map(([id, text]) => [id, Buffer.from(text, "base64")]));
}

function cancel({ query }: DockerRequest, running: Map<string, AbortController>) {
  const id = query.required("id");
  const canceler = running.get(id);
  if (!canceler) throw notFound(`no build with the id ${id} is running`);
  canceler.abort(new Error("canceled by POST /build/cancel"));
  return empty();
}

const PRUNE_FILTERS = [
  "until",
  "unused-for",
  "id",
  "parent",
  "type",
  "description",
  "inuse",
  "in-use",
  "shared",
  "private",
];

async function prune({ builder, clock }: BuildBackend, { query }: DockerRequest): Promise<BuildPruneResponse> {
  const filters = query.filters(PRUNE_FILTERS);
  const first = (name: string) => filters.get(name)?.[0];
  const flag = (...names: string[]) => {
    const name = names.find((candidate) => filters.has(candidate));
    return name === undefined ? undefined : !["false", "0"].includes(first(name) ?? "true");
  };
  const age = first("until") ?? first("unused-for");
  const keepBytes = query.int("reserved-space") ?? query.int("keep-storage") ?? query.int("max-used-space");
  const options: CachePruneOptions = {
    all: query.bool("all"),
    ...(age === undefined ? {} : { olderThanMs: ageMs(age, clock.nowMs()) }),
    ...(keepBytes ? { keepBytes } : {}),
    filters: {
      ...optional("id", filters.get("id")),
      ...optional("parent", filters.get("parent")),
      ...optional("type", filters.get("type")),
      ...optional("description", filters.get("description")),
      ...optional("inUse", flag("inuse", "in-use")),
      ...optional("shared", flag("shared")),
      ...optional("private", flag("private")),
    },
  };
  const { deleted, reclaimedBytes } = await builder.cache.prune(options);
  return { CachesDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: reclaimedBytes };
}

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A duration (`24h`, `1h30m`), or the time (RFC 3339, seconds since 1970) before which something was last used. */
function ageMs(text: string, nowMs: number): number {
  if (/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) {
    return [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)].reduce(
      (sum, [, amount, unit]) => sum + Number(amount) * UNITS_MS[unit!]!,
      0,
    );
  }
  const atMs = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (Number.isNaN(atMs))
    throw invalidArgument(`invalid filter 'until=${text}': a duration such as 24h, or a time, is expected`);
  return Math.max(0, nowMs - atMs);
}

/** A cache record as `GET /system/df` shows it. */
export function buildCacheRecord(record: CacheRecord): BuildCacheRecord {
  return {
    ID: record.id,
    Parents: record.parents.length > 0 ? record.parents : null,
    ...(record.parents[0] ? { Parent: record.parents[0] } : {}),
    Type: record.type,
    Description: record.description,
    InUse: record.inUse,
    Shared: record.shared,
    Size: record.sizeBytes,
    CreatedAt: rfc3339Nano(record.createdAtMs),
    LastUsedAt: rfc3339Nano(record.lastUsedAtMs),
    UsageCount: record.usageCount,
  };
}
