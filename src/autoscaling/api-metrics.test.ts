import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { CertificateAuthority } from "../apiserver/certificates/authority.ts";
import { openCluster } from "../apiserver/index.ts";
import type { k8s } from "../api/index.ts";
import { silentLogger, systemClock, systemRandom } from "../base/index.ts";
import { defineResource, KubeClient, resources } from "../client/index.ts";
import { openMemoryStore } from "../storage/index.ts";
import { apiMetrics } from "./api-metrics.ts";

const nowMs = systemClock.nowMs();
const authority = CertificateAuthority.create("adapter-ca", nowMs);
const pair = authority.issue({
  subject: { commonName: "adapter" },
  usages: ["server"],
  names: ["adapter.metrics.svc"],
  notBeforeMs: nowMs,
  notAfterMs: nowMs + 3_600_000,
});
const custom = "/apis/custom.metrics.k8s.io/v1beta2";
const external = "/apis/external.metrics.k8s.io/v1beta1";
const pod = (name: string, value: string) => ({ describedObject: { kind: "Pod", name }, value });

/** What an adapter (prometheus-adapter, KEDA) answers at those addresses. */
const answers: Record<string, object> = {
  [`${custom}/namespaces/shop/pods/*/requests?labelSelector=app%3Dweb`]: { items: [pod("a", "1500m"), pod("b", "2")] },
  [`${custom}/namespaces/shop/ingresses/main/hits?metricLabelSelector=verb%3DGET`]: { items: [{ value: "10k" }] },
  [`${external}/namespaces/shop/queue?labelSelector=name%3Djobs`]: { items: [{ value: "3" }, { value: "500m" }] },
};

/** The adapter; it says which addresses it was asked for that it does not know. */
function startAdapter() {
  const strange: string[] = [];
  const server = createServer(pair, (request, response) => {
    const group = /^\/apis\/[^/]+\/[^/]+$/.test(request.url!);
    const [, groupVersion] = /^\/apis\/(.*)$/.exec(request.url!) ?? [];
    const list = group ? { kind: "APIResourceList", groupVersion, resources: [] } : answers[request.url!];
    if (list === undefined) strange.push(request.url!);
    response.statusCode = list === undefined ? 404 : 200;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(list ?? { kind: "Status", status: "Failure", code: 404 }));
  });
  return new Promise<{ port: number; strange: string[]; close: () => void }>((resolve) =>
    server.listen(0, "127.0.0.1", () =>
      resolve({ port: (server.address() as AddressInfo).port, strange, close: () => server.close() }),
    ),
  );
}

test("custom and external metrics come from an adapter behind the aggregated API", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-adapter-"));
  const adapter = await startAdapter();
  const context = { clock: systemClock, random: systemRandom, log: silentLogger };
  const cluster = await openCluster({ ...context, store: await openMemoryStore(), folder, port: 0 });
  t.after(async () => {
    await cluster.close();
    adapter.close();
    await rm(folder, { recursive: true, force: true });
  });
  const client = new KubeClient(cluster.handler, { user: { name: "admin", groups: ["system:masters"] } });
  await client.of(resources.namespaces).create({ metadata: { name: "metrics" } });
  await client.of(resources.services).create({
    metadata: { name: "adapter", namespace: "metrics" },
    spec: { type: "ExternalName", externalName: "127.0.0.1" },
  });
  const apiServices = defineResource<k8s.APIService>("apiregistration.k8s.io/v1", "apiservices", "APIService", false);
  for (const [group, version] of [
    ["custom.metrics.k8s.io", "v1beta2"],
    ["external.metrics.k8s.io", "v1beta1"],
  ] as const)
    await client.of(apiServices).create({
      metadata: { name: `${version}.${group}` },
      spec: {
        group,
        version,
        groupPriorityMinimum: 100,
        versionPriority: 10,
        caBundle: Buffer.from(authority.pair.cert).toString("base64"),
        service: { namespace: "metrics", name: "adapter", port: adapter.port },
      },
    });
  const metrics = apiMetrics(client);
  const { signal } = new AbortController();
  const queue = { name: "queue", selector: { matchLabels: { name: "jobs" } } };
  // The server learns of APIServices a moment later.
  for (let attempt = 0; attempt < 1000; attempt++) {
    if (
      await metrics.external!("shop", queue, signal).then(
        () => true,
        () => false,
      )
    )
      break;
    await systemClock.sleep(10);
  }
  console.log(
    JSON.stringify((await client.of(apiServices).list()).items.map((i) => [i.metadata.name, i.status])),
    adapter.strange,
  );
  assert.equal(await metrics.external!("shop", queue, signal), 3500);
  const web = { matchLabels: { app: "web" } };
  assert.deepEqual(await metrics.pods!("shop", { name: "requests" }, web, signal), [
    { pod: "a", milli: 1500 },
    { pod: "b", milli: 2000 },
  ]);
  const hits = { name: "hits", selector: { matchLabels: { verb: "GET" } } };
  const ingress = { apiVersion: "networking.k8s.io/v1", kind: "Ingress", name: "main" };
  assert.equal(await metrics.object!("shop", hits, ingress, signal), 10_000_000);
  await assert.rejects(metrics.object!("shop", { name: "nothing" }, ingress, signal));
  assert.deepEqual(
    adapter.strange.filter((url) => !url.includes("nothing") && !url.startsWith("/openapi")),
    [],
  );
});
