import { createHash } from "node:crypto";
import type { ApiRequest, ApiResponse } from "../../api/index.ts";
import type { Kind } from "../machinery/kind.ts";
import type { Registry } from "../machinery/registry.ts";
import { jsonResponse } from "../machinery/respond.ts";
import { unknownPathError } from "../machinery/status.ts";
import { DEFAULT_VERSION } from "../machinery/version.ts";
import { encodeGnostic, GNOSTIC_TYPE } from "./gnostic.ts";
import { foreignTwo, merge, type DocumentTwo } from "./foreign.ts";
import { endpointPath, pathsOf } from "./paths.ts";
import { addKind, type Definitions, type Dialect } from "./schemas.ts";

/** /openapi/v2 and /openapi/v3, made from the kinds when asked for and kept until the kinds change. */
const V2: Dialect = { refPrefix: "#/definitions/", version: 2 };
const V3: Dialect = { refPrefix: "#/components/schemas/", version: 3 };
const PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

interface Documents {
  readonly generation: number;
  readonly bodies: Map<string, Buffer>;
}

const kept = new WeakMap<Registry, Documents>();

function documents(registry: Registry): Documents {
  const known = kept.get(registry);
  if (known?.generation === registry.generation) return known;
  const fresh: Documents = { generation: registry.generation, bodies: new Map() };
  kept.set(registry, fresh);
  return fresh;
}

/** Undefined when the path is something else. */
export async function openApi(
  registry: Registry,
  request: ApiRequest,
  gitVersion = DEFAULT_VERSION,
): Promise<ApiResponse | undefined> {
  const { path } = request;
  if (path === "/openapi/v2") return versionTwo(registry, request, gitVersion);
  if (path === "/openapi/v3") return index(registry, gitVersion);
  if (path.startsWith("/openapi/v3/")) return versionThree(registry, path.slice("/openapi/v3/".length), gitVersion);
  return undefined;
}

function keptBytes(registry: Registry, key: string, make: () => Buffer): Buffer {
  const { bodies } = documents(registry);
  const body = bodies.get(key) ?? make();
  bodies.set(key, body);
  return body;
}

const cached = (registry: Registry, key: string, make: () => unknown): Buffer =>
  keptBytes(registry, key, () => Buffer.from(JSON.stringify(make())));

const infoOf = (version: string) => ({ title: "Kubernetes", version });

async function versionTwo(registry: Registry, { headers }: ApiRequest, version: string): Promise<ApiResponse> {
  const wantsProtobuf = (headers["accept"] ?? "").includes(PROTOBUF);
  const key = wantsProtobuf ? "v2 protobuf" : "v2";
  const isKept = documents(registry).bodies.has(key);
  const { found, isWhole } = isKept ? { found: [], isWhole: true } : await foreignTwo(registry);
  const make = () => merge(documentTwo(registry, version), found);
  const body = wantsProtobuf ? keptBytes(registry, key, () => encodeGnostic(make())) : cached(registry, key, make);
  if (!isWhole) documents(registry).bodies.delete(key);
  const contentType = wantsProtobuf ? GNOSTIC_TYPE : "application/json";
  return { status: 200, headers: { "content-type": contentType, etag: etagOf(body) }, body };
}

function documentTwo(registry: Registry, version: string): DocumentTwo {
  const definitions: Definitions = new Map();
  const paths: Record<string, unknown> = {};
  for (const kind of registry.all()) {
    addKind(definitions, kind, V2);
    Object.assign(paths, pathsOf(kind, V2));
  }
  return { swagger: "2.0", info: infoOf(version), paths, definitions: Object.fromEntries(definitions) };
}

const pathOf = ({ group, version }: { group: string; version: string }) =>
  group === "" ? `api/${version}` : `apis/${group}/${version}`;

function index(registry: Registry, version: string): ApiResponse {
  const paths: Record<string, { serverRelativeURL: string }> = {};
  const add = (path: string, hash: string) => {
    paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` };
  };
  for (const path of new Set(registry.all().map(pathOf)))
    add(path, etagOf(Buffer.from(`${version} ${registry.generation} ${path}`)).replaceAll('"', ""));
  for (const [groupVersion, { hash, versionThree: theirs }] of registry.foreign)
    if (theirs) add(`apis/${groupVersion}`, hash);
  return jsonResponse({ paths });
}

async function versionThree(registry: Registry, path: string, version: string): Promise<ApiResponse> {
  const theirs = registry.foreign.get(path.replace(/^apis\//, ""))?.versionThree;
  if (theirs) return theirs();
  const kinds = registry.all().filter((kind) => pathOf(kind) === path);
  if (kinds.length === 0) throw unknownPathError();
  const body = cached(registry, path, () => document(registry, kinds, path, version));
  return { status: 200, headers: { "content-type": "application/json", etag: etagOf(body) }, body };
}

function document(registry: Registry, kinds: readonly Kind[], path: string, version: string): unknown {
  const definitions: Definitions = new Map();
  const paths: Record<string, unknown> = {};
  for (const kind of kinds) {
    addKind(definitions, kind, V3);
    Object.assign(paths, pathsOf(kind, V3));
  }
  for (const endpoint of registry.endpoints()) {
    if (pathOf(endpoint) !== path) continue;
    const [at, operations] = endpointPath(endpoint);
    paths[at] = operations;
  }
  return { openapi: "3.0.0", info: infoOf(version), paths, components: { schemas: Object.fromEntries(definitions) } };
}

const etagOf = (body: Uint8Array) => `"${createHash("sha256").update(body).digest("hex").slice(0, 32).toUpperCase()}"`;
