import type { ApiResponse, KubeObject, Status } from "../../api/index.ts";
import { WatchStream, type WatchView } from "./watch.ts";
import type { Column, Kind } from "./kind.ts";
import { encodeList, listObject, type ListResult } from "./list.ts";
import type { ListOptions } from "./list-options.ts";
import { ACCEPTED, negotiate, prefersProtobuf, type Representation } from "./negotiate.ts";
import type { Core, Presented } from "./operation.ts";
import type { Call } from "./pipeline.ts";
import { encodeProtobuf, encodeProtobufEvents, hasProtobuf } from "./protobuf/encode.ts";
import { PROTOBUF } from "./protobuf/facts.ts";
import { apiVersionOf } from "./registry.ts";
import { columnsOf, DEFAULT_COLUMNS, includeObject, makeTable, partialMetadata } from "./table.ts";
import { statusOf, notAcceptableError } from "./status.ts";

/** Bodies are made when somebody reads them: in-process callers never do. */
class LazyResponse implements ApiResponse {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly #encode: () => Uint8Array;
  readonly #object: () => unknown;
  #body: Uint8Array | undefined;

  constructor(status: number, contentType: string, object: () => unknown, encode?: () => Uint8Array) {
    this.status = status;
    this.headers = { "content-type": contentType };
    this.#object = object;
    this.#encode = encode ?? (() => Buffer.from(`${JSON.stringify(object())}\n`));
  }
  get object(): unknown {
    return this.#object();
  }
  get body(): Uint8Array {
    return (this.#body ??= this.#encode());
  }
}

export function jsonResponse(object: unknown, status = 200, headers?: Record<string, string>): ApiResponse {
  const response = new LazyResponse(status, "application/json", () => object);
  Object.assign(response.headers, headers);
  return response;
}

export function textResponse(text: string, status = 200): ApiResponse {
  return { status, headers: { "content-type": "text/plain; charset=utf-8" }, body: Buffer.from(text) };
}

export function errorResponse(error: unknown): ApiResponse {
  const status: Status & { code: number } = statusOf(error);
  const retry = status.details?.retryAfterSeconds;
  return jsonResponse(status, status.code, retry ? { "retry-after": String(retry) } : undefined);
}

function protobufResponse(object: () => unknown, status = 200): ApiResponse {
  return new LazyResponse(status, PROTOBUF, object, () => encodeProtobuf(object() as Record<string, unknown>));
}

/** Answers that are no kind's (errors, reviews, discovery) in the form that the client likes best; it takes JSON for what has no protobuf. */
export function asPreferred(response: ApiResponse, accept: string | undefined): ApiResponse {
  const isError = response.status >= 400;
  if (response.headers["content-type"] !== "application/json" || !prefersProtobuf(accept, isError)) return response;
  const { apiVersion, kind } = (response.object ?? {}) as Partial<KubeObject>;
  if (typeof kind !== "string" || !hasProtobuf(apiVersion ?? "", kind)) return response;
  const { object } = response;
  const encoded = protobufResponse(() => object, response.status);
  return Object.assign(encoded, { headers: { ...response.headers, ...encoded.headers } });
}

/** How the client wants this kind's objects. */
function wanted(call: Call, kind: Kind): Representation {
  return negotiate(call.request.headers["accept"], (as) => {
    if (as === "object") return hasProtobuf(apiVersionOf(kind), kind.kind);
    return as !== "Table";
  });
}

/** One object as the client wants it. */
export async function objectResponse(
  core: Core,
  call: Call,
  kind: Kind,
  shown: Presented,
  status = 200,
): Promise<ApiResponse> {
  const want = wanted(call, kind);
  if (want.as === "object" && want.encoding === "json")
    return new LazyResponse(
      status,
      want.contentType,
      () => shown.object,
      () => shown.json,
    );
  const object = transformed(core, call, kind, want, shown.object);
  if (want.encoding === "protobuf") return protobufResponse(() => object, status);
  return want.encoding === "yaml" ? yamlResponse(object, status) : jsonResponse(object, status);
}

function transformed(core: Core, call: Call, kind: Kind, want: Representation, object: KubeObject): unknown {
  switch (want.as) {
    case "Table":
      return tableOf(core, call, columnsOf(kind), want, [object], { resourceVersion: object.metadata.resourceVersion });
    case "object":
      return object;
    default:
      return partialMetadata(object, want.version);
  }
}

function tableOf(
  core: Core,
  call: Call,
  columns: readonly Column[],
  want: Representation,
  objects: readonly KubeObject[],
  metadata: object,
) {
  return makeTable(columns, objects, {
    metadata,
    version: want.version,
    include: includeObject(call.request.query),
    nowMs: core.clock.nowMs(),
    withHeader: true,
  });
}

export async function listResponse(core: Core, call: Call, kind: Kind, list: ListResult): Promise<ApiResponse> {
  const want = wanted(call, kind);
  const object = () => listObject(kind, list);
  if (want.as === "object" && want.encoding === "json")
    return new LazyResponse(200, want.contentType, object, () => encodeList(kind, list));
  if (want.as === "object" && want.encoding === "protobuf") return protobufResponse(object);
  if (want.as === "object") return yamlResponse(object());
  const objects = list.items.map((item) => item.object);
  if (want.as === "Table") return jsonResponse(tableOf(core, call, columnsOf(kind), want, objects, list.metadata));
  const items = objects.map((item) => partialMetadata(item, want.version));
  const apiVersion = `meta.k8s.io/${want.version}`;
  const partial = { kind: "PartialObjectMetadataList", apiVersion, metadata: list.metadata, items };
  return want.encoding === "protobuf" ? protobufResponse(() => partial) : jsonResponse(partial);
}

/** Something that no kind stores (a scale, a review, a list of component statuses), as the client wants it. Without columns it is no table. */
export async function computedResponse(
  core: Core,
  call: Call,
  object: KubeObject,
  columns: readonly Column[] | undefined,
  status = 200,
): Promise<ApiResponse> {
  const accept = call.request.headers["accept"];
  if (accept === undefined || !/;as=|yaml/.test(accept)) return jsonResponse(object, status);
  const clauses = columns
    ? accept
    : accept
        .split(",")
        .filter((clause) => !clause.includes("as=Table"))
        .join(",");
  if (clauses === "") throw notAcceptableError(ACCEPTED);
  const want = negotiate(clauses, () => false);
  if (want.as === "object")
    return want.encoding === "yaml" ? yamlResponse(object, status) : jsonResponse(object, status);
  if (want.as !== "Table") return jsonResponse(partialMetadata(object, want.version), status);
  const items = Array.isArray(object["items"]) ? (object["items"] as KubeObject[]) : [object];
  return jsonResponse(tableOf(core, call, columns ?? DEFAULT_COLUMNS, want, items, object.metadata), status);
}

async function yamlResponse(object: unknown, status = 200): Promise<ApiResponse> {
  const { dump } = await import("js-yaml");
  const text = dump(JSON.parse(JSON.stringify(object)), { noRefs: true, lineWidth: -1 });
  return new LazyResponse(
    status,
    "application/yaml",
    () => object,
    () => Buffer.from(text),
  );
}

export function watchResponse(core: Core, call: Call, kind: Kind, options: ListOptions): ApiResponse {
  const want = wanted(call, kind);
  const isProtobuf = want.encoding === "protobuf";
  const view = watchView(core, call, kind, want, options);
  const encode = isProtobuf ? encodeProtobufEvents : undefined;
  const events = new WatchStream(core, kind, options, { ...view, encode }, call.request.signal);
  const contentType = isProtobuf ? `${PROTOBUF};stream=watch` : want.contentType;
  return { status: 200, headers: { "content-type": contentType }, events };
}

function watchView(core: Core, call: Call, kind: Kind, want: Representation, { selectorKey }: ListOptions): WatchView {
  const include = want.as === "Table" ? includeObject(call.request.query) : "";
  const key = `${want.encoding} ${kind.version} ${want.as} ${want.version} ${include} ${selectorKey}`;
  if (want.as === "object") return { key };
  if (want.as !== "Table") return { key, show: (object) => partialMetadata(object, want.version) };
  const columns = columnsOf(kind);
  const show = (object: KubeObject, first: boolean) => {
    const { resourceVersion } = object.metadata;
    const options = {
      metadata: { resourceVersion },
      version: want.version,
      include: includeObject(call.request.query),
    };
    const isBookmark = object.metadata.uid === undefined && object.metadata.name === undefined;
    const table = makeTable(columns, isBookmark ? [] : [object], {
      ...options,
      nowMs: core.clock.nowMs(),
      withHeader: first,
    });
    if (isBookmark && object.metadata.annotations) table["metadata"] = object.metadata;
    return table;
  };
  return { key, show };
}
