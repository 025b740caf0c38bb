import { invalidArgument } from "../../base/index.ts";
import type { EventBus } from "../../engine/index.ts";
import { bytes, json, jsonLines, type DockerRequest, type Route } from "../route.ts";
import { API_VERSION } from "../version.ts";

/** What the system group needs; the composition provides it. Shapes are the published SystemInfo, SystemVersion and so on. */
export interface SystemBackend {
  version(): Promise<object> | object;
  info(): Promise<object>;
  /** Checks credentials with the registry. Throws unauthenticated. */
  login(credentials: LoginRequest): Promise<{ status: string; identityToken?: string }>;
  readonly usage: UsageSource;
  readonly events: Pick<EventBus, "subscribe">;
}

export interface LoginRequest {
  readonly username?: string;
  readonly password?: string;
  readonly serveraddress?: string;
  readonly identitytoken?: string;
}

/** What takes up disk, each in the shape of its own list endpoint. */
export interface UsageSource {
  layersSizeBytes(): Promise<number>;
  images(): Promise<unknown[]>;
  containers(): Promise<unknown[]>;
  volumes(): Promise<unknown[]>;
  buildCache(): Promise<ReadonlyArray<{ Size: number }>>;
}

export function systemRoutes(system: SystemBackend): Route[] {
  return [
    { method: "GET", path: "/_ping", handle: () => ping("OK") },
    { method: "HEAD", path: "/_ping", handle: () => ping("") },
    { method: "GET", path: "/version", handle: async () => json(await system.version()) },
    { method: "GET", path: "/info", handle: async () => json(await system.info()) },
    {
      method: "POST",
      path: "/auth",
      handle: async (request) => json(loginAnswer(await system.login(await request.json()))),
    },
    { method: "GET", path: "/system/df", handle: async (request) => json(await diskUsage(request, system.usage)) },
    {
      method: "GET",
      path: "/events",
      handle: (request) => jsonLines(system.events.subscribe(eventQuery(request)), { headAtOnce: true }),
    },
  ];
}

function ping(body: string) {
  const answer = bytes(body, "text/plain; charset=utf-8");
  return {
    ...answer,
    headers: {
      ...answer.headers,
      "api-version": API_VERSION,
      // The classic builder: BuildKit's protocol is not spoken yet.
      "builder-version": "1",
      "cache-control": "no-cache, no-store, must-revalidate",
      pragma: "no-cache",
      swarm: "inactive",
    },
  };
}

function loginAnswer(result: { status: string; identityToken?: string }) {
  return { Status: result.status, IdentityToken: result.identityToken ?? "" };
}

const USAGE_TYPES = ["container", "image", "volume", "build-cache"];

async function diskUsage({ query, apiMinor }: DockerRequest, usage: UsageSource): Promise<object> {
  const asked = query.all("type");
  const unknown = asked.find((type) => !USAGE_TYPES.includes(type));
  if (unknown !== undefined) throw invalidArgument(`unknown object type: ${unknown}`);
  const wants = (type: string) => asked.length === 0 || asked.includes(type);
  const [layersSize, images, containers, volumes, buildCache] = await Promise.all([
    wants("image") ? usage.layersSizeBytes() : undefined,
    wants("image") ? usage.images() : null,
    wants("container") ? usage.containers() : null,
    wants("volume") ? usage.volumes() : null,
    wants("build-cache") ? usage.buildCache() : null,
  ]);
  return {
    LayersSize: layersSize,
    Images: images,
    Containers: containers,
    Volumes: volumes,
    BuildCache: buildCache,
    // Dropped from the API in v1.42, where a client sums the records up itself.
    ...(apiMinor < 42 && { BuilderSize: (buildCache ?? []).reduce((sum, record) => sum + record.Size, 0) }),
  };
}

const EVENT_FILTERS = [
  "config",
  "container",
  "daemon",
  "event",
  "image",
  "label",
  "network",
  "node",
  "plugin",
  "scope",
  "secret",
  "service",
  "type",
  "volume",
];

function eventQuery({ query, signal }: DockerRequest) {
  const sinceMs = timestamp(query.text("since"), "since");
  const untilMs = timestamp(query.text("until"), "until");
  if (sinceMs !== undefined && untilMs !== undefined && sinceMs > untilMs) {
    const [since, until] = [query.text("since"), query.text("until")];
    throw invalidArgument(`\`since\` time (${since}) cannot be after \`until\` time (${until})`);
  }
  const filters = Object.fromEntries(query.filters(EVENT_FILTERS));
  return { sinceMs, untilMs, filters, signal };
}

/** Seconds since the epoch, with a fraction of up to nine digits as clients send it, in milliseconds. */
function timestamp(text: string | undefined, name: string): number | undefined {
  if (text === undefined || text === "") return undefined;
  if (!/^\d{1,12}(\.\d{1,9})?$/.test(text))
    throw invalidArgument(`invalid value "${text}" for "${name}": a Unix timestamp is expected`);
  return Number(text) * 1000;
}
