import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import type { ApiRequest } from "../../api/index.ts";
import { silentLogger, systemClock, systemRandom } from "../../base/index.ts";
import { openMemoryStore } from "../../storage/index.ts";
import { CertificateAuthority } from "../certificates/authority.ts";
import { openCluster } from "../cluster.ts";

const nowMs = systemClock.nowMs();
const authority = CertificateAuthority.create("other-ca", nowMs);
const subject = { commonName: "flowers" };
const names = ["flowers.garden.svc"];
const pair = authority.issue({ subject, usages: ["server"], names, notBeforeMs: nowMs, notAfterMs: nowMs + 3_600_000 });

const discovery = {
  kind: "APIResourceList",
  groupVersion: "garden.example.com/v1",
  resources: [{ name: "flowers", singularName: "flower", namespaced: true, kind: "Flower", verbs: ["get", "list"] }],
};

const ref = (name: string) => ({ $ref: `#/definitions/${name}` });
const documents: Record<string, object> = {
  "/apis/garden.example.com/v1": discovery,
  "/openapi/v3": {
    paths: { "apis/garden.example.com/v1": { serverRelativeURL: "/openapi/v3/apis/garden.example.com/v1?hash=ABC" } },
  },
  "/openapi/v3/apis/garden.example.com/v1": { openapi: "3.0.0", components: { schemas: { Flower: {} } } },
  "/openapi/v2": {
    paths: {
      "/apis/garden.example.com/v1/flowers": { get: { responses: { 200: { schema: ref("Flower") } } } },
      "/apis/elsewhere/v1/others": { get: { responses: { 200: { schema: ref("Other") } } } },
    },
    definitions: {
      Flower: { properties: { petal: ref("Petal"), metadata: ref("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") } },
      Petal: { type: "string" },
      Other: { type: "string" },
      "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": { description: "theirs" },
    },
  },
};

/** An API server of somebody else, which says who it was told is asking. */
function startOther() {
  const server = createServer({ ...pair, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    const seen = {
      user: request.headers["x-remote-user"],
      groups: request.headers["x-remote-group"],
      authorization: request.headers.authorization,
      proxy: (request.socket as TLSSocket).getPeerCertificate().subject?.CN,
      url: request.url,
    };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(documents[request.url!] ?? { kind: "FlowerList", seen }));
  });
  server.on("upgrade", (request, socket) => {
    const { "x-remote-user": user, "sec-websocket-protocol": protocol } = request.headers;
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n\r\n${[request.url, user, protocol].join(" ")}\n`);
    socket.pipe(socket);
  });
  return new Promise<{ port: number; close: () => void }>((resolve) =>
    server.listen(0, "127.0.0.1", () =>
      resolve({ port: (server.address() as AddressInfo).port, close: () => server.close() }),
    ),
  );
}

test("an APIService's group is discovered, authorized, forwarded as who asked, and 503 once it is gone", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-aggregation-"));
  const context = { clock: systemClock, random: systemRandom, log: silentLogger };
  const other = await startOther();
  const cluster = await openCluster({ ...context, store: await openMemoryStore(), folder, port: 0 });
  t.after(async () => {
    await cluster.close();
    other.close();
    await rm(folder, { recursive: true, force: true });
  });
  const ask = async (method: ApiRequest["method"], url: string, object?: object, user = "admin") => {
    const { pathname, searchParams } = new URL(url, "https://server");
    const groups = user === "admin" ? ["system:masters", "system:authenticated"] : ["system:authenticated"];
    const request = { method, path: pathname, query: searchParams, headers: {}, object, user: { name: user, groups } };
    const response = await cluster.handler(request).catch((error: { details: { status: { code: number } } }) => ({
      status: error.details.status.code,
      body: undefined,
      object: undefined,
    }));
    const body = response.body === undefined ? undefined : JSON.parse(Buffer.from(response.body).toString());
    return { status: response.status, object: response.object ?? body };
  };
  await ask("POST", "/api/v1/namespaces", { metadata: { name: "garden" } });
  const spec = { type: "ExternalName", externalName: "127.0.0.1" };
  await ask("POST", "/api/v1/namespaces/garden/services", { metadata: { name: "flowers" }, spec });
  const name = "v1.garden.example.com";
  const service = (port: number) => ({
    metadata: { name },
    spec: {
      group: "garden.example.com",
      version: "v1",
      groupPriorityMinimum: 100,
      versionPriority: 10,
      caBundle: Buffer.from(authority.pair.cert).toString("base64"),
      service: { namespace: "garden", name: "flowers", port },
    },
  });
  const services = "/apis/apiregistration.k8s.io/v1/apiservices";
  await ask("POST", services, service(other.port));
  const until = async (status: string) => {
    for (;;) {
      const { object } = await ask("GET", `${services}/${name}`);
      const [condition] = object.status?.conditions ?? [];
      if (condition?.status === status) return condition;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  assert.equal((await until("True")).reason, "Passed");
  assert.equal((await ask("GET", "/apis/garden.example.com/v1")).object.resources[0].name, "flowers");
  const flowers = "/apis/garden.example.com/v1/namespaces/garden/flowers";
  const { object } = await ask("GET", `${flowers}?limit=5`);
  assert.deepEqual(object.seen, {
    user: "admin",
    groups: "system:masters, system:authenticated",
    proxy: "front-proxy-client",
    url: `${flowers}?limit=5`,
  });
  assert.equal((await ask("GET", flowers, undefined, "jane")).status, 403);
  assert.equal((await ask("DELETE", `${flowers}/x`)).status, 405);
  const trust = await ask("GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication");
  assert.equal(trust.object.data["requestheader-allowed-names"], '["front-proxy-client"]');

  const { object: index } = await ask("GET", "/openapi/v3");
  const { serverRelativeURL } = index.paths["apis/garden.example.com/v1"];
  assert.equal(serverRelativeURL, "/openapi/v3/apis/garden.example.com/v1?hash=ABC");
  assert.deepEqual((await ask("GET", serverRelativeURL)).object.components.schemas, { Flower: {} });
  const { object: two } = await ask("GET", "/openapi/v2");
  assert.ok(two.paths["/apis/garden.example.com/v1/flowers"] && two.paths["/api/v1/namespaces/{namespace}/pods"]);
  assert.deepEqual(two.definitions.Petal, { type: "string" });
  assert.equal(two.definitions.Other, undefined);
  assert.ok(two.definitions["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].properties.name);

  const upgraded = await cluster.handler({
    method: "GET",
    path: `${flowers}/rose`,
    query: new URLSearchParams("stdin=true"),
    headers: {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-protocol": "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0",
    },
    user: { name: "admin", groups: ["system:masters"] },
  });
  assert.equal(upgraded.status, 101);
  const [near, far] = duplexPair();
  upgraded.takeover!(far, Buffer.from("early "));
  let received = "";
  near.on("data", (chunk: Buffer) => (received += chunk.toString()));
  near.write("late");
  const expected = `HTTP/1.1 101 Switching Protocols\r\n\r\n${flowers}/rose?stdin=true admin v5.channel.k8s.io\nearly late`;
  while (received.length < expected.length) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(received, expected);
  near.destroy();

  await ask("DELETE", `${services}/${name}`);
  await ask("POST", services, service(1));
  assert.equal((await until("False")).reason, "FailedDiscoveryCheck");
  assert.equal((await ask("GET", flowers)).status, 503);
  await ask("DELETE", `${services}/${name}`);
  while ((await ask("GET", flowers)).status !== 404) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await ask("GET", "/openapi/v2")).object.definitions.Petal, undefined);

  const reasonOf = async (of: string, port: number) => {
    const { spec: wanted } = service(port);
    const other = { ...wanted, service: { ...wanted.service, name: of } };
    await ask("POST", services, { ...service(port), spec: other });
    const condition = await until("False");
    await ask("DELETE", `${services}/${name}`);
    return `${condition.reason}: ${condition.message}`;
  };
  assert.equal(await reasonOf("weeds", 443), 'ServiceNotFound: service/weeds in "garden" is not present');
  const inCluster = { ports: [{ name: "https", port: 443 }] };
  await ask("POST", "/api/v1/namespaces/garden/services", { metadata: { name: "herbs" }, spec: inCluster });
  assert.equal(await reasonOf("herbs", 1), 'ServicePortError: service/herbs in "garden" is not listening on port 1');
  assert.equal(
    await reasonOf("herbs", 443),
    'EndpointsNotFound: cannot find endpointslices for service/herbs in "garden"',
  );
  const labels = { "kubernetes.io/service-name": "herbs" };
  const slice = {
    metadata: { name: "herbs-1", labels },
    addressType: "IPv4",
    endpoints: [],
    ports: [{ name: "https" }],
  };
  await ask("POST", "/apis/discovery.k8s.io/v1/namespaces/garden/endpointslices", slice);
  assert.match(await reasonOf("herbs", 443), /^MissingEndpoints: .* no addresses with port name "https"$/);
});
