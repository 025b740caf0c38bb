/**
 * The published description of the Engine API as the test: every endpoint it has, we have (or the omission stands here with its reason), and
 * the shapes of what system answers are those it states. The description is not ours to ship, so it is read from beside the checkout.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, seededRandom, silentLogger } from "../base/index.ts";
import { MemoryEventBus } from "../engine/events/index.ts";
import type { Engine } from "../engine/index.ts";
import { createDockerApi } from "./api.ts";
import { createSystem } from "./system.ts";
import { EngineApi, readDescription, skipWithoutDescription as skip } from "../../test/support/engine-api.ts";
import { API_VERSION, MIN_API_VERSION } from "./version.ts";

/** Endpoints of the description that we don't have, each with its reason. */
const OMITTED: Readonly<Record<string, string>> = {};
/** Endpoints of ours that the description doesn't have. */
const OWN: Readonly<Record<string, string>> = {
  "POST /grpc": "BuildKit's; undocumented in Docker as well",
  "POST /build/cancel": "the classic CLI's Ctrl-C; undocumented in Docker as well",
  "POST /berth/images/bootstrap": "berth image bootstrap",
};

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
    componentVersions: async () => ({ monitor: "2.1.6", runtime: "1.8.1", init: "0.19.0" }),
    networks: { warnings: async () => ["WARNING: a firewall drops"] },
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
    volumes: {},
    builder: {},
  } as unknown as Engine;
}

/** `{name...}` and `{id}` alike: what a parameter is called is nobody's business. */
const shape = (method: string, route: string) => `${method.toUpperCase()} ${route.replace(/\{[^}]+\}/g, "{}")}`;

test("every published endpoint is there, and no other", { skip }, () => {
  const published = new Set(
    Object.entries(readDescription().paths).flatMap(([route, item]) =>
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
  assert.equal(API_VERSION, readDescription().info.version);
  assert.equal(MIN_API_VERSION, "1.24");
});

test("version and info have the published shapes", { skip }, async () => {
  const api = new EngineApi();
  const system = createSystem(emptyEngine(), context);
  assert.deepEqual(api.mismatches(await system.version(), api.response("GET", "/version", 200)!), []);
  assert.deepEqual(api.mismatches(await system.info(), api.response("GET", "/info", 200)!), []);
});
