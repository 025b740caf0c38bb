import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { test } from "node:test";
import { decode, encode } from "dns-packet";
import type { k8s } from "../../api/index.ts";
import { seededRandom, silentLogger, systemClock } from "../../base/index.ts";
import { ClusterDns, type DnsSource } from "./index.ts";

type Handler = { updated?(object: unknown, old: unknown): void };

/** Objects as an informer would hold them. */
class Source<T extends { metadata?: k8s.ObjectMeta }> {
  readonly objects = new Map<string, T>();
  readonly #indexes = new Map<string, (object: T) => string[]>();
  readonly #handlers: Handler[] = [];
  put(object: T): void {
    this.objects.set(`${object.metadata!.namespace}/${object.metadata!.name}`, object);
    for (const handler of this.#handlers) handler.updated?.(object, object);
  }
  get(key: string) {
    return this.objects.get(key);
  }
  byIndex(name: string, value: string) {
    return [...this.objects.values()].filter((object) => this.#indexes.get(name)!(object).includes(value));
  }
  inNamespace(namespace: string) {
    return [...this.objects.values()].filter((object) => object.metadata!.namespace === namespace);
  }
  addIndex(name: string, valuesOf: (object: T) => string[]) {
    this.#indexes.set(name, valuesOf);
  }
  onChange(handler: Handler) {
    this.#handlers.push(handler);
  }
}

function service(name: string, spec: Record<string, unknown>): k8s.Service {
  return { metadata: { name, namespace: "default" }, spec } as k8s.Service;
}

function slice(name: string, endpoints: unknown[], ports: unknown[] = []): k8s.EndpointSlice {
  const labels = { "kubernetes.io/service-name": name };
  return {
    metadata: { name: `${name}-x`, namespace: "default", labels },
    addressType: "IPv4",
    endpoints,
    ports,
  } as k8s.EndpointSlice;
}

function cluster(upstream: () => string[] = () => [], stubDomains: Record<string, string[]> = {}) {
  const services = new Source<k8s.Service>();
  const slices = new Source<k8s.EndpointSlice>();
  const ctx = {
    instance: "t",
    dataDir: "",
    runtimeDir: "",
    clock: systemClock,
    random: seededRandom(1),
    log: silentLogger,
  };
  const dns = new ClusterDns(ctx, {
    domain: "cluster.local",
    services: services as unknown as DnsSource<k8s.Service>,
    slices: slices as unknown as DnsSource<k8s.EndpointSlice>,
    upstream,
    stubDomains,
  });
  const http = { name: "http", port: 80, protocol: "TCP" };
  services.put(service("web", { clusterIP: "10.96.0.10", clusterIPs: ["10.96.0.10", "fd00:96::a"], ports: [http] }));
  services.put(service("db", { clusterIP: "None", ports: [http] }));
  services.put(service("away", { type: "ExternalName", externalName: "example.com" }));
  services.put(service("near", { type: "ExternalName", externalName: "web.default.svc.cluster.local" }));
  const endpoints = [
    { addresses: ["10.244.0.5"], hostname: "db-0", conditions: { ready: true } },
    { addresses: ["10.244.0.6"], conditions: {} },
    { addresses: ["10.244.0.7"], conditions: { ready: false } },
  ];
  slices.put(slice("db", endpoints, [{ name: "http", port: 5432, protocol: "TCP" }]));
  return { dns, services, slices };
}

async function ask(dns: ClusterDns, name: string, type: string) {
  const query = encode({ type: "query", id: 99, flags: 0x100, questions: [{ type: type as "A", name }] });
  const answer = decode(await dns.answer(query, "udp")) as ReturnType<typeof decode> & { rcode: string };
  const show = (one: { type: string; data?: unknown }) => {
    const data = one.data as { target?: string; port?: number };
    return typeof one.data === "string"
      ? one.data
      : Buffer.isBuffer((one.data as unknown[])?.[0])
        ? String(one.data)
        : `${data.target}:${data.port}`;
  };
  return {
    id: answer.id,
    rcode: answer.rcode,
    aa: answer.flag_aa,
    data: (answer.answers ?? []).map((one) => show(one as never)),
    answer,
  };
}

test("the specification's names", async () => {
  const { dns } = cluster();
  const cases: [name: string, type: string, data: string[], rcode?: string][] = [
    ["dns-version.cluster.local", "TXT", ["1.1.0"]],
    ["web.default.svc.cluster.local", "A", ["10.96.0.10"]],
    ["WEB.Default.svc.cluster.local", "A", ["10.96.0.10"]],
    ["web.default.svc.cluster.local", "AAAA", ["fd00:96::a"]],
    ["web.default.svc.cluster.local", "MX", []],
    ["_http._tcp.web.default.svc.cluster.local", "SRV", ["web.default.svc.cluster.local:80"]],
    ["_http._udp.web.default.svc.cluster.local", "SRV", [], "NXDOMAIN"],
    ["db.default.svc.cluster.local", "A", ["10.244.0.5", "10.244.0.6"]],
    ["db-0.db.default.svc.cluster.local", "A", ["10.244.0.5"]],
    ["10-244-0-6.db.default.svc.cluster.local", "A", ["10.244.0.6"]],
    ["10-244-0-7.db.default.svc.cluster.local", "A", [], "NXDOMAIN"],
    ["10-244-0-5.default.pod.cluster.local", "A", ["10.244.0.5"]],
    ["nonsense.default.pod.cluster.local", "A", [], "NXDOMAIN"],
    ["nope.default.svc.cluster.local", "A", [], "NXDOMAIN"],
    ["default.svc.cluster.local", "A", []],
    ["nowhere.svc.cluster.local", "A", [], "NXDOMAIN"],
    ["svc.cluster.local", "A", []],
    ["other.cluster.local", "A", [], "NXDOMAIN"],
    ["5.0.244.10.in-addr.arpa", "PTR", ["db-0.db.default.svc.cluster.local"]],
    ["6.0.244.10.in-addr.arpa", "PTR", ["10-244-0-6.db.default.svc.cluster.local"]],
    ["10.0.96.10.in-addr.arpa", "PTR", ["web.default.svc.cluster.local"]],
  ];
  for (const [name, type, data, rcode = "NOERROR"] of cases) {
    const answer = await ask(dns, name, type);
    assert.deepEqual([answer.data.sort(), answer.rcode, answer.id], [data, rcode, 99], `${type} ${name}`);
    assert.equal(answer.aa, true);
    if (data.length === 0) assert.equal(answer.answer.authorities?.[0]?.type, "SOA");
  }
});

test("SRV of a headless Service names its endpoints and brings their addresses along", async () => {
  const { answer, data } = await ask(cluster().dns, "_http._tcp.db.default.svc.cluster.local", "SRV");
  assert.deepEqual(data.sort(), [
    "10-244-0-6.db.default.svc.cluster.local:5432",
    "db-0.db.default.svc.cluster.local:5432",
  ]);
  const extra = answer.additionals!.map((one) => `${one.name} ${(one as { data: string }).data}`);
  assert.deepEqual(extra.sort(), [
    "10-244-0-6.db.default.svc.cluster.local 10.244.0.6",
    "db-0.db.default.svc.cluster.local 10.244.0.5",
  ]);
});

test("an answer is remembered, and forgotten when a Service changes", async () => {
  const { dns, services } = cluster();
  const name = "web.default.svc.cluster.local";
  assert.deepEqual((await ask(dns, name, "A")).data, ["10.96.0.10"]);
  services.objects.set("default/web", service("web", { clusterIP: "10.96.0.99" }));
  assert.deepEqual((await ask(dns, name, "A")).data, ["10.96.0.10"], "remembered");
  services.put(service("web", { clusterIP: "10.96.0.99" }));
  assert.deepEqual((await ask(dns, name, "A")).data, ["10.96.0.99"]);
});

test("ExternalName is an alias; one inside the cluster is followed", async () => {
  const { dns } = cluster();
  assert.deepEqual((await ask(dns, "near.default.svc.cluster.local", "A")).data, [
    "web.default.svc.cluster.local",
    "10.96.0.10",
  ]);
  assert.deepEqual(
    (await ask(dns, "away.default.svc.cluster.local", "A")).data,
    ["example.com"],
    "no upstream: the alias alone",
  );
});

test("everything else goes upstream and is remembered for its time to live", async () => {
  const upstream = createSocket("udp4");
  let asked = 0;
  upstream.on("message", (message, from) => {
    asked++;
    const query = decode(message);
    const answers = [{ type: "A" as const, name: query.questions![0]!.name, ttl: 60, data: "192.0.2.9" }];
    upstream.send(
      encode({ type: "response", id: query.id, flags: 0x180, questions: query.questions, answers }),
      from.port,
      from.address,
    );
  });
  await new Promise<void>((resolve) => upstream.bind(0, "127.0.0.1", resolve));
  try {
    const server = `127.0.0.1:${upstream.address().port}`;
    const { dns } = cluster(() => [server]);
    assert.deepEqual((await ask(dns, "example.com", "A")).data, ["192.0.2.9"]);
    assert.deepEqual((await ask(dns, "example.com", "A")).data, ["192.0.2.9"]);
    assert.equal(asked, 1);
    const stubbed = cluster(() => [], { "corp.example": [server] }).dns;
    assert.deepEqual((await ask(stubbed, "wiki.corp.example", "A")).data, ["192.0.2.9"], "a stub domain's server");
    await assert.rejects(ask(stubbed, "notcorp.example", "A"), /no upstream/);
  } finally {
    upstream.close();
  }
});

test("no upstream that answers is SERVFAIL over the wire, garbage is an answer too", async () => {
  const { dns } = cluster();
  await assert.rejects(
    async () => dns.answer(encode({ type: "query", id: 1, questions: [{ type: "A", name: "example.com" }] }), "udp"),
    /no upstream/,
  );
  for (const length of [12, 17, 40]) assert.ok(Buffer.isBuffer(dns.answer(Buffer.alloc(length, 1), "udp")));
});
