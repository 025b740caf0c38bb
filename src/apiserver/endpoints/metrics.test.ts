import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import type { ApiRequest, UserInfo } from "../../api/index.ts";
import { seededRandom, silentLogger, systemClock } from "../../base/index.ts";
import { openMemoryStore } from "../../storage/index.ts";
import { openCluster, type Cluster } from "../cluster.ts";

const admin: UserInfo = { name: "admin", groups: ["system:masters", "system:authenticated"] };
const nobody: UserInfo = { name: "nobody", groups: ["system:authenticated"] };
const monitor: UserInfo = { name: "prometheus", groups: ["system:monitoring", "system:authenticated"] };
let folder: string;
let cluster: Cluster;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "berth-metrics-"));
  const store = await openMemoryStore();
  cluster = await openCluster({ store, clock: systemClock, random: seededRandom(1), log: silentLogger, folder });
});

after(async () => {
  await cluster.close();
  await rm(folder, { recursive: true, force: true });
});

async function ask(target: string, more: Partial<ApiRequest> = {}) {
  const [at = "", query = ""] = target.split("?");
  const request = { method: "GET" as const, headers: {}, user: admin, ...more };
  return cluster.handler({ ...request, path: at, query: new URLSearchParams(query) });
}

async function scrape(page = "/metrics"): Promise<Map<string, number>> {
  const response = await ask(page);
  assert.equal(response.status, 200);
  assert.match(response.headers["content-type"]!, /^text\/plain; version=0.0.4/);
  const lines = Buffer.from(response.body!).toString().trimEnd().split("\n");
  const samples = lines.filter((line) => !line.startsWith("#"));
  return new Map(samples.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]));
}

const labels = (verb: string, scope: string) =>
  `verb="${verb}",dry_run="",group="",version="v1",resource="configmaps",subresource="",scope="${scope}",component="apiserver"`;
const maps = "/api/v1/namespaces/default/configmaps";
const configMap = (name: string) => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name } });

test("requests are counted by what they were about", async () => {
  await ask(maps, { method: "POST", object: configMap("counted") });
  await ask(maps, { method: "POST", object: configMap("counted") });
  await ask(`${maps}/counted`);
  await ask(`${maps}/counted`, {
    method: "PATCH",
    headers: { "content-type": "application/merge-patch+json" },
    object: { data: { a: "b" } },
  });
  const found = await scrape();
  assert.equal(found.get(`apiserver_request_total{${labels("POST", "resource")},code="201"}`), 1);
  assert.equal(found.get(`apiserver_request_total{${labels("POST", "resource")},code="409"}`), 1);
  assert.equal(found.get(`apiserver_request_duration_seconds_count{${labels("GET", "resource")}}`), 1);
  assert.equal(found.get(`apiserver_request_duration_seconds_bucket{${labels("PATCH", "resource")},le="+Inf"}`), 1);
  assert.equal(found.get('apiserver_storage_objects{resource="configmaps"}'), 1);
  assert.ok(found.get('etcd_request_duration_seconds_count{operation="update"}')! >= 1);
  // The scrape itself is what is being answered.
  assert.equal(found.get('apiserver_current_inflight_requests{request_kind="readOnly"}'), 1);
  assert.equal(found.get('apiserver_current_inflight_requests{request_kind="mutating"}'), 0);
});

test("a watch counts while it is open", async () => {
  const key = `apiserver_longrunning_requests{${labels("WATCH", "namespace").replace('dry_run="",', "")}}`;
  const stop = new AbortController();
  const { events } = await ask(`${maps}?watch=true`, { signal: stop.signal });
  const reader = events![Symbol.asyncIterator]();
  await reader.next();
  assert.equal((await scrape()).get(key), 1);
  stop.abort();
  await reader.next().catch(() => {});
  assert.equal((await scrape()).get(key), 0);
});

test("what is not served makes no series", async () => {
  await ask("/api/v1/namespaces/default/made-up");
  await ask(`${maps}/counted/made-up`);
  await ask("/made/up");
  assert.doesNotMatch([...(await scrape()).keys()].join("\n"), /made/);
});

test("health checks have figures of their own", async () => {
  await ask("/readyz");
  const found = await scrape("/metrics/slis");
  assert.equal(found.get('kubernetes_healthcheck{name="etcd",type="readyz"}'), 1);
  assert.equal(found.get('kubernetes_healthchecks_total{name="ping",status="success",type="readyz"}'), 1);
  assert.deepEqual(
    [...(await scrape()).keys()].filter((name) => name.startsWith("kubernetes_healthcheck")),
    [],
  );
});

test("only who may read the path reads it", async () => {
  assert.equal((await ask("/metrics", { user: nobody })).status, 403);
  assert.equal((await ask("/metrics", { user: monitor })).status, 200);
  assert.equal((await ask("/metrics/slis", { user: monitor })).status, 200);
  assert.equal((await ask("/debug/api_priority_and_fairness/dump_queues", { user: monitor })).status, 403);
});

test("priority levels are measured and dumped", async () => {
  const found = await scrape();
  assert.ok(found.get('apiserver_flowcontrol_nominal_limit_seats{priority_level="global-default"}')! > 0);
  assert.ok(found.has('apiserver_flowcontrol_rejected_requests_total{priority_level="catch-all"}'));
  const dump = await ask("/debug/api_priority_and_fairness/dump_priority_levels");
  const lines = Buffer.from(dump.body!).toString().split("\n");
  assert.match(lines[0]!, /^PriorityLevelName, ActiveQueues, IsIdle/);
  assert.ok(lines.some((line) => line.startsWith("workload-low, 0, true, 0, 0, ")));
});
