import { FakeClock, seededRandom, silentLogger } from "../../../base/index.ts";
import type { ApiRequest, ApiResponse, KubeObject, Schema, Status } from "../../../api/index.ts";
import { openMemoryStore, type Store } from "../../../storage/index.ts";
import type { Kind, Strategy } from "../kind.ts";
import type { ApiServer, ApiServerOptions } from "../options.ts";
import { createApiServer } from "../server.ts";

/** Two kinds made by hand, so that the machinery is tested without the real ones. */
const text: Schema = { type: "string" };
const texts: Schema = { type: "object", additionalProperties: text };
const metadata: Schema = {
  type: "object",
  name: "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
  properties: {
    name: text,
    namespace: text,
    generateName: text,
    uid: text,
    resourceVersion: text,
    generation: { type: "integer", format: "int64" },
    creationTimestamp: { type: "string", format: "date-time" },
    deletionTimestamp: { type: "string", format: "date-time" },
    deletionGracePeriodSeconds: { type: "integer", format: "int64" },
    labels: texts,
    annotations: texts,
    finalizers: { type: "array", items: text, listType: "set", patchStrategy: ["merge"] },
    managedFields: { type: "array", items: { type: "object" }, listType: "atomic" },
  },
};
const configMapSchema: Schema = {
  type: "object",
  name: "io.k8s.api.core.v1.ConfigMap",
  properties: { metadata, data: texts, immutable: { type: "boolean" } },
};
const part: Schema = {
  type: "object",
  name: "io.k8s.api.example.v1.Part",
  required: ["name"],
  properties: { name: text, image: text, size: { type: "integer", format: "int32" } },
};
const widgetSchema: Schema = {
  type: "object",
  name: "io.k8s.api.example.v1.Widget",
  properties: {
    metadata,
    spec: {
      type: "object",
      name: "io.k8s.api.example.v1.WidgetSpec",
      properties: {
        replicas: { type: "integer", format: "int32" },
        color: text,
        tags: { type: "array", items: text, listType: "set", patchStrategy: ["merge"] },
        parts: {
          type: "array",
          items: part,
          listType: "map",
          listMapKeys: ["name"],
          patchStrategy: ["merge"],
          patchMergeKey: "name",
        },
        args: { type: "array", items: text, listType: "atomic" },
      },
    },
    status: {
      type: "object",
      name: "io.k8s.api.example.v1.WidgetStatus",
      properties: { replicas: { type: "integer", format: "int32" }, phase: text },
    },
  },
};

const verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const base = { version: "v1", shortNames: [], categories: [], namespaced: true, verbs, storageVersion: "v1" };

export const configMaps: Kind = {
  ...base,
  group: "",
  kind: "ConfigMap",
  listKind: "ConfigMapList",
  plural: "configmaps",
  singular: "configmap",
  schema: configMapSchema,
  strategy: {},
};

const widgetStrategy: Strategy = {
  hasStatus: true,
  hasGeneration: true,
  scale: { specReplicas: "spec.replicas", statusReplicas: "status.replicas" },
  prepareForCreate: (object) => void delete object["status"],
  selectableFields: { "spec.color": (object) => (object["spec"] as { color?: string } | undefined)?.color ?? "" },
  validate: ({ spec }) => {
    const { replicas = 0 } = (spec ?? {}) as { replicas?: number };
    if (replicas >= 0) return [];
    const detail = `Invalid value: ${replicas}: must be greater than or equal to 0`;
    return [{ type: "FieldValueInvalid", field: "spec.replicas", detail }];
  },
};

export const widgets: Kind = {
  ...base,
  group: "example.io",
  kind: "Widget",
  listKind: "WidgetList",
  plural: "widgets",
  singular: "widget",
  schema: widgetSchema,
  strategy: widgetStrategy,
};

export interface Fixture extends AsyncDisposable {
  readonly server: ApiServer;
  readonly store: Store;
  readonly clock: FakeClock;
  send(method: ApiRequest["method"], url: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** A successful answer's object. */
  ok(method: ApiRequest["method"], url: string, body?: unknown, headers?: Record<string, string>): Promise<KubeObject>;
  /** A refusal's Status. */
  refused(method: ApiRequest["method"], url: string, body?: unknown, headers?: Record<string, string>): Promise<Status>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly response: ApiResponse;
  /** The body, parsed. */
  readonly object: KubeObject & Status;
}

export async function startFixture(options: Partial<ApiServerOptions> = {}): Promise<Fixture> {
  const clock = new FakeClock();
  const store = options.store ?? (await openMemoryStore({ clock }));
  const server = await createApiServer({
    kinds: [configMaps, widgets],
    clock,
    random: seededRandom(1),
    log: silentLogger,
    ...options,
    store,
  });
  const send: Fixture["send"] = async (method, url, body, headers = {}) => {
    const { pathname, searchParams } = new URL(url, "http://x");
    const bytes = body === undefined ? undefined : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
    const response = await server.handler({ method, path: pathname, query: searchParams, headers, body: bytes });
    const isJson = response.body && (response.headers["content-type"] ?? "").startsWith("application/json");
    const object = isJson ? JSON.parse(Buffer.from(response.body!).toString()) : undefined;
    return { status: response.status, headers: response.headers, response, object };
  };
  return {
    server,
    store,
    clock,
    send,
    ok: async (...request) => {
      const { status, object } = await send(...request);
      if (status >= 300) throw new Error(`${request[0]} ${request[1]} answered ${JSON.stringify(object)}`);
      return object;
    },
    refused: async (...request) => {
      const { status, object } = await send(...request);
      if (status < 300) throw new Error(`${request[0]} ${request[1]} answered ${status}`);
      return object;
    },
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await store.close();
    },
  };
}
