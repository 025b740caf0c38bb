/**
 * The published description of the Engine API as the test: every endpoint it has, we have (or the omission stands here with its reason), and
 * the shapes of what system answers are those it states. The description is not ours to ship, so it is read from beside the checkout.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { load } from "js-yaml";
import { FakeClock, seededRandom, silentLogger } from "../base/index.ts";
import { MemoryEventBus } from "../engine/events/index.ts";
import type { Engine } from "../engine/index.ts";
import { createDockerApi } from "./api.ts";
import { createSystem } from "./system.ts";
import { API_VERSION, MIN_API_VERSION } from "./version.ts";

const FILE =
  process.env["BERTH_ENGINE_API_SPEC"] ??
  path.resolve(import.meta.dirname, "../../../shared/docker/engine-api-v1.50.yaml");
const skip = existsSync(FILE) ? false : `${FILE} is not here; name it in BERTH_ENGINE_API_SPEC`;

/** Endpoints of the description that we don't have, each with its reason. */
const OMITTED: Readonly<Record<string, string>> = {};
/** Endpoints of ours that the description doesn't have. */
const OWN: Readonly<Record<string, string>> = {
  "POST /grpc": "BuildKit's; undocumented in Docker as well",
  "POST /build/cancel": "the classic CLI's Ctrl-C; undocumented in Docker as well",
  "POST /berth/images/bootstrap": "berth image bootstrap",
};

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly allOf?: readonly Schema[];
  readonly additionalProperties?: Schema | boolean;
  readonly enum?: readonly unknown[];
  readonly "x-nullable"?: boolean;
}
interface Description {
  readonly info: { readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly definitions: Readonly<Record<string, Schema>>;
}

/** js-yaml wants the brackets that close an example deeper than its key; the description has them level with it. */
const description = (): Description =>
  load(readFileSync(FILE, "utf8").replace(/^( *)([}\]],?)$/gm, "$1  $2")) as Description;

const context = {
  instance: "spec",
  dataDir: "/var/lib/berth/spec",
  runtimeDir: "/run/berth/spec",
  clock: new FakeClock(),
  random: seededRandom(1),
  log: silentLogger,
  version: "0.0.1",
};

/** As much of an engine as the tables of routes and the system documents touch when they are made. */
function emptyEngine(): Engine {
  const options = {
    registryMirrors: [],
    insecureRegistries: ["registry.test:5000"],
    dns: [],
    addressPools: [],
    defaultRuntime: "crun",
    runtimes: {},
  };
  return {
    events: new MemoryEventBus(context.clock),
    options,
    counts: async () => ({ containers: 3, running: 1, paused: 1, stopped: 1, images: 2 }),
    host: {
      backingFilesystem: "extfs",
      cgroupVersion: "2",
      runtimes: { crun: { path: "crun" } },
      defaultRuntime: "crun",
      addressPools: [{ Base: "10.0.0.0/8", Size: 24 }],
    },
    // Route tables only keep these; none is called.
    containers: {},
    images: {},
    networks: {},
    volumes: {},
    builder: {},
  } as unknown as Engine;
}

/** `{name...}` and `{id}` alike: what a parameter is called is nobody's business. */
const shape = (method: string, route: string) => `${method.toUpperCase()} ${route.replace(/\{[^}]+\}/g, "{}")}`;

test("every published endpoint is there, and no other", { skip }, () => {
  const published = new Set(
    Object.entries(description().paths).flatMap(([route, item]) =>
      Object.keys(item)
        .filter((method) => ["get", "head", "post", "put", "delete"].includes(method))
        .map((method) => shape(method, route)),
    ),
  );
  const ours = new Set(createDockerApi(emptyEngine(), context).map(({ method, path: route }) => shape(method, route)));
  const missing = [...published].filter((endpoint) => !ours.has(endpoint) && !(endpoint in OMITTED));
  const unknown = [...ours].filter((endpoint) => !published.has(endpoint) && !(endpoint in OWN));
  assert.deepEqual({ missing, unknown }, { missing: [], unknown: [] });
  assert.deepEqual(
    Object.keys(OMITTED).filter((endpoint) => ours.has(endpoint)),
    [],
    "an omission that no longer is one",
  );
});

test("the version is the description's", { skip }, () => {
  assert.equal(API_VERSION, description().info.version);
  assert.equal(MIN_API_VERSION, "1.24");
});

test("version and info have the published shapes", { skip }, async () => {
  const { definitions } = description();
  const system = createSystem(emptyEngine(), context);
  assert.deepEqual(mismatches(await system.version(), definitions["SystemVersion"]!, definitions), []);
  assert.deepEqual(mismatches(await system.info(), definitions["SystemInfo"]!, definitions), []);
});

/** What in a value is not as the schema says: unknown fields and wrong types, by path. */
function mismatches(value: unknown, schema: Schema, definitions: Description["definitions"], at = "$"): string[] {
  if (schema.$ref) return mismatches(value, definitions[schema.$ref.split("/").at(-1)!]!, definitions, at);
  if (value === null || value === undefined) return [];
  if (schema.allOf) {
    const properties = Object.assign({}, ...schema.allOf.map((part) => resolve(part, definitions).properties ?? {}));
    return mismatches(value, { type: "object", properties }, definitions, at);
  }
  if (schema.enum && !schema.enum.includes(value))
    return [`${at}: ${JSON.stringify(value)} is none of ${schema.enum.join(", ")}`];
  switch (schema.type) {
    case "array":
      if (!Array.isArray(value)) return [`${at}: no array`];
      return value.flatMap((item, index) => mismatches(item, schema.items ?? {}, definitions, `${at}[${index}]`));
    case "object":
      return objectMismatches(value, schema, definitions, at);
    case "integer":
      return Number.isInteger(value) ? [] : [`${at}: no whole number`];
    case "string":
    case "number":
    case "boolean":
      return typeof value === schema.type ? [] : [`${at}: no ${schema.type}`];
    default:
      return [];
  }
}

function objectMismatches(
  value: unknown,
  schema: Schema,
  definitions: Description["definitions"],
  at: string,
): string[] {
  if (typeof value !== "object" || Array.isArray(value)) return [`${at}: no object`];
  return Object.entries(value as object).flatMap(([name, item]) => {
    const property = schema.properties?.[name];
    if (property) return mismatches(item, property, definitions, `${at}.${name}`);
    if (typeof schema.additionalProperties === "object") {
      return mismatches(item, schema.additionalProperties, definitions, `${at}.${name}`);
    }
    return schema.properties && !schema.additionalProperties ? [`${at}.${name}: unknown field`] : [];
  });
}

function resolve(schema: Schema, definitions: Description["definitions"]): Schema {
  return schema.$ref ? definitions[schema.$ref.split("/").at(-1)!]! : schema;
}
