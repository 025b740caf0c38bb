import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { FakeClock, seededRandom, silentLogger } from "../../base/index.ts";
import { FakeConntrack, FakeNft, FakeSockets, type NftElement } from "../../host/index.ts";
import { portName } from "./localhost-ports.ts";
import { planService, type Wanted } from "./plan.ts";
import { proxyRuleset, slotCount } from "./ruleset.ts";
import { ServiceProxy, type ServiceSource, type SliceSource } from "./index.ts";

const context = { nodeName: "n1", localhostPorts: new Set(["tcp/80"]) };

function service(spec: Partial<k8s.ServiceSpec>, status?: k8s.ServiceStatus): k8s.Service {
  const ports = [{ port: 80, protocol: "TCP" }];
  return {
    metadata: { name: "web", namespace: "default" },
    spec: { clusterIP: "10.96.0.10", ports, ...spec },
    status,
  } as k8s.Service;
}

function slice(addresses: readonly (string | Partial<k8s.Endpoint>)[], port = 8080): k8s.EndpointSlice {
  return {
    metadata: { name: "web-1", namespace: "default", labels: { "kubernetes.io/service-name": "web" } },
    addressType: "IPv4",
    ports: [{ port, protocol: "TCP", name: "" }],
    endpoints: addresses.map((one) =>
      typeof one === "string"
        ? { addresses: [one], conditions: { ready: true }, nodeName: "n1" }
        : (one as k8s.Endpoint),
    ),
  } as k8s.EndpointSlice;
}

/** Elements as text: addresses, ports and verdicts instead of bytes. */
function show(wanted: readonly Wanted[]): string[] {
  return wanted.map(({ set, element }) => {
    const verdict = element.verdict && "chain" in element.verdict ? ` → ${element.verdict.chain}` : "";
    return `${set} ${bytes(element.key)}${element.value ? ` → ${bytes(element.value)}` : ""}${verdict}`;
  });
}
const bytes = (value: Uint8Array) => Buffer.from(value).toString("hex");

const VIP = "0a60000a0600000000500000";

test("a Service becomes one verdict and one element for each endpoint", () => {
  assert.deepEqual(show(planService(service({}), [slice(["10.244.0.3", "10.244.0.2"])], context)), [
    "cluster-ips4 0a60000a",
    `services4 ${VIP} → service-2`,
    `endpoints4 ${VIP}00000000 → 0af400021f900000`,
    `endpoints4 ${VIP}01000000 → 0af400031f900000`,
    "hairpin4 0af400020af40002",
    "hairpin4 0af400030af40003",
  ]);
});

test("no endpoints: the address is in the set that refuses", () => {
  assert.deepEqual(show(planService(service({}), [], context)), ["cluster-ips4 0a60000a", `empty4 ${VIP}`]);
});

test("headless Services and ExternalName have nothing to program", () => {
  assert.deepEqual(planService(service({ clusterIP: "None" }), [slice(["10.0.0.1"])], context), []);
  assert.deepEqual(planService(service({ type: "ExternalName" }), [], context), []);
});

test("an address that the node serves itself is left alone", () => {
  assert.deepEqual(planService(service({}), [], { ...context, servedHere: new Set(["10.96.0.10"]) }), []);
});

test("endpoints that are not ready take no traffic, unless nothing else serves and they terminate", () => {
  const dying = { addresses: ["10.0.0.9"], conditions: { ready: false, serving: true, terminating: true } };
  const broken = { addresses: ["10.0.0.8"], conditions: { ready: false, serving: false } };
  const endpoints = (list: Parameters<typeof slice>[0]) =>
    show(planService(service({}), [slice(list)], context)).filter((line) => line.startsWith("endpoints4"));
  assert.deepEqual(endpoints(["10.0.0.7", dying, broken]), [`endpoints4 ${VIP}00000000 → 0a0000071f900000`]);
  assert.deepEqual(endpoints([dying, broken]), [`endpoints4 ${VIP}00000000 → 0a0000091f900000`]);
});

test("LoadBalancer: its own address, localhost and the node port; affinity remembers the client's endpoint", () => {
  const spec = {
    type: "LoadBalancer",
    sessionAffinity: "ClientIP",
    ports: [{ port: 80, protocol: "TCP", nodePort: 30080 }],
  };
  const wanted = show(
    planService(service(spec, { loadBalancer: { ingress: [{ ip: "192.0.2.50" }] } }), [slice(["10.0.0.1"])], context),
  );
  for (const line of [
    `services4 ${VIP} → service-sticky-1`,
    "services4 c00002320600000000500000 → service-sticky-1",
    "services4 7f0000010600000000500000 → service-sticky-1",
    "ports4 0600000075800000 → port-sticky-1",
    `remember4 ${VIP} → remember-10800`,
    `slots4 ${VIP}00000000 → 0a2991f0`,
    `identified4 ${VIP}0a2991f0 → 0a0000011f900000`,
    "port-identified4 06000000758000000a2991f0 → 0a0000011f900000",
  ]) {
    assert.ok(wanted.includes(line), `${line} in\n${wanted.join("\n")}`);
  }
});

test("traffic policies Local keep to endpoints of this node", () => {
  const far = { addresses: ["10.0.1.1"], conditions: { ready: true }, nodeName: "n2" };
  const spec = {
    type: "NodePort",
    externalTrafficPolicy: "Local",
    ports: [{ port: 80, protocol: "TCP", nodePort: 30080 }],
  };
  const lines = show(planService(service(spec), [slice(["10.0.0.1", far])], context));
  assert.ok(lines.includes(`services4 ${VIP} → service-2`));
  assert.ok(lines.includes("ports4 0600000075800000 → port-1"));
  const inside = show(planService(service({ internalTrafficPolicy: "Local" }), [slice([far])], context));
  assert.ok(inside.includes(`empty4 ${VIP}`));
});

test("externalTrafficPolicy Local without an endpoint here: the cluster is served, others get no answer", () => {
  const far = { addresses: ["10.0.1.1"], conditions: { ready: true }, nodeName: "n2" };
  const ports = [{ port: 80, protocol: "TCP", nodePort: 30080 }];
  const spec = { type: "NodePort", externalTrafficPolicy: "Local", externalIPs: ["192.0.2.9"], ports };
  const lines = show(planService(service(spec), [slice([far])], context));
  assert.ok(lines.includes("local-only-ports4 0600000075800000"));
  assert.ok(lines.includes("local-only4 c00002090600000000500000"));
  assert.ok(lines.includes("ports4 0600000075800000 → port-1"));
  const without = show(planService(service(spec), [], context));
  assert.ok(
    without.includes("empty-ports4 0600000075800000") && !without.some((line) => line.startsWith("local-only")),
  );
});

test("hints: endpoints for this node, else for its zone, else all", () => {
  const endpoint = (name: string, nodeName: string, zone: string, byNode = true): Partial<k8s.Endpoint> => ({
    addresses: [name],
    conditions: { ready: true },
    nodeName,
    hints: { forZones: [{ name: zone }], ...(byNode && { forNodes: [{ name: nodeName }] }) },
  });
  const slots = (zone: string | undefined, endpoints: (string | Partial<k8s.Endpoint>)[]) =>
    planService(service({}), [slice(endpoints)], { ...context, zone }).filter(({ set }) => set === "endpoints4").length;
  const three = (byNode: boolean) => [
    endpoint("10.0.0.1", "n1", "a", byNode),
    endpoint("10.0.0.2", "n2", "a", byNode),
    endpoint("10.0.0.3", "n3", "b", byNode),
  ];
  assert.deepEqual(
    [slots("a", three(true)), slots("a", three(false)), slots("c", three(false)), slots(undefined, three(false))],
    [1, 2, 3, 3],
  );
  assert.equal(slots("a", three(false).slice(2)), 1, "none is meant for here");
  assert.equal(slots("a", [...three(false), "10.0.0.4"]), 4, "one without a hint: hints are being made");
});

test("many endpoints share a power of two of slots nearly evenly", () => {
  assert.deepEqual([1, 32, 33, 100, 5000].map(slotCount), [1, 32, 256, 512, 4096]);
  const many = Array.from({ length: 100 }, (_, index) => `10.0.1.${index + 1}`);
  const shares = Map.groupBy(
    planService(service({}), [slice(many)], context).filter(({ set }) => set === "endpoints4"),
    ({ element }: { element: NftElement }) => bytes(element.value!),
  );
  const sizes = [...shares.values()].map((list) => list.length);
  assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1);
});

test("every chain that a plan may name is in the ruleset", () => {
  const text = proxyRuleset("t");
  for (const count of [1, 2, 31, 32, 33, 64, 65, 1000, 9999])
    assert.ok(text.includes(`chain service-${slotCount(count)} {`));
});

/** Services and slices as informers would hold them. */
class Source {
  readonly services = new Map<string, k8s.Service>();
  readonly slices = new Map<string, k8s.EndpointSlice[]>();
  readonly handlers: { updated?(object: unknown, old: unknown): void }[] = [];
  of = {
    get: (key: string) => this.services.get(key),
    list: () => [...this.services.values()],
    onChange: this.#listen(),
  } as unknown as ServiceSource;
  slicesOf = {
    byIndex: (_: string, key: string) => this.slices.get(key) ?? [],
    onChange: this.#listen(),
  } as unknown as SliceSource;
  #listen() {
    return (handler: { added?(object: unknown): void; updated?(object: unknown, old: unknown): void }) => {
      this.handlers.push(handler);
      for (const one of this.services.values()) handler.added?.(one);
    };
  }
  put(name: string, one: k8s.Service | undefined, slices: k8s.EndpointSlice[]) {
    const object = { ...(one ?? service({})), metadata: { name, namespace: "default" } };
    if (one) this.services.set(`default/${name}`, object);
    else this.services.delete(`default/${name}`);
    this.slices.set(`default/${name}`, slices);
    this.handlers[0]?.updated?.(object, object);
  }
}

async function running() {
  const source = new Source();
  const nft = new FakeNft();
  const conntrack = new FakeConntrack();
  const told: [string, string[]][] = [];
  const ctx = {
    instance: "t",
    dataDir: "",
    runtimeDir: "",
    clock: new FakeClock(),
    random: seededRandom(1),
    log: silentLogger,
  };
  const proxy = new ServiceProxy(ctx, {
    nodeName: "n1",
    loadBalancerOnLocalhost: true,
    onLocalhostClash: (service, clashes) => told.push([service, clashes.map(portName)]),
    services: source.of,
    slices: source.slicesOf,
    sockets: new FakeSockets(),
    conntrack,
    nft,
  });
  await proxy.start();
  const [table] = nft.tables("inet");
  return {
    source,
    nft,
    proxy,
    told,
    conntrack,
    elements: (set: string) => nft.elements("inet", table!, set),
    table: table!,
  };
}

test("a change of one endpoint changes only its element", async () => {
  const { source, nft, proxy, elements } = await running();
  source.put("web", service({}), [slice(["10.0.0.1", "10.0.0.2"])]);
  await proxy.sync();
  assert.equal(elements("endpoints4").length, 2);
  const changes: unknown[] = [];
  const real = nft.change.bind(nft);
  nft.change = (family, table, list) => {
    changes.push(
      ...list.flatMap((one) =>
        one.elements.map((element) => `${one.op} ${one.set} ${bytes(element.value ?? element.key)}`),
      ),
    );
    real(family, table, list);
  };
  source.put("web", service({}), [slice(["10.0.0.1", "10.0.0.3"])]);
  await proxy.sync();
  assert.deepEqual(changes, [
    "delete endpoints4 0a0000021f900000",
    "delete hairpin4 0a0000020a000002",
    "add endpoints4 0a0000031f900000",
    "add hairpin4 0a0000030a000003",
  ]);
  source.put("web", undefined, []);
  await proxy.sync();
  for (const set of ["endpoints4", "services4", "hairpin4", "cluster-ips4", "empty4"])
    assert.deepEqual(elements(set), [], set);
});

test("of two Services with one node port the first keeps it, and the second gets it when the first goes", async () => {
  const { source, proxy, nft, table } = await running();
  const spec = { type: "NodePort", ports: [{ port: 80, protocol: "TCP", nodePort: 30080 }] };
  source.put("first", service(spec), [slice(["10.0.0.1"])]);
  source.put("second", service({ ...spec, clusterIP: "10.96.0.11" }), [slice(["10.0.0.2"])]);
  await proxy.sync();
  const target = () => [...nft.sets.get(`inet/${table}/port-endpoints4`)!.values()].map((one) => bytes(one.value!));
  assert.deepEqual(target(), ["0a0000011f900000"]);
  source.put("first", undefined, []);
  await proxy.sync();
  assert.deepEqual(target(), ["0a0000021f900000"]);
});

test("a table that somebody has flushed is filled again", async () => {
  const { source, nft, proxy, elements, table } = await running();
  source.put("web", service({}), [slice(["10.0.0.1"])]);
  await proxy.sync();
  nft.deleteTable("inet", table);
  source.put("other", service({ clusterIP: "10.96.0.12" }), [slice(["10.0.0.5"])]);
  await proxy.sync();
  assert.equal(elements("services4").length, 2);
});

test("two load balancers on one port: the second is told that localhost is the first's, and gets it when that one goes", async () => {
  const { source, proxy, told, elements } = await running();
  const balanced = (clusterIP: string, ip: string) => ({
    ...service({ clusterIP, type: "LoadBalancer" }),
    status: { loadBalancer: { ingress: [{ ip }] } },
  });
  source.put("a", balanced("10.96.0.1", "192.0.2.1"), [slice(["10.0.0.1"])]);
  source.put("b", balanced("10.96.0.2", "192.0.2.2"), [slice(["10.0.0.2"])]);
  await proxy.sync();
  assert.deepEqual(told, [["default/b", ["tcp/80"]]]);
  assert.equal(elements("services4").length, 5, "both addresses of each, and localhost once");
  source.put("a", undefined, []);
  await proxy.sync();
  assert.deepEqual(told.slice(1), [["default/b", []]]);
  assert.equal(elements("services4").length, 3);
  await proxy.close();
});

test("UDP flows to an endpoint that has gone are cut, others stay", async () => {
  const { source, proxy, conntrack } = await running();
  const udp = (addresses: string[]) => ({ ...slice(addresses), ports: [{ port: 53, protocol: "UDP", name: "" }] });
  const spec = { ports: [{ port: 53, protocol: "UDP" }] };
  source.put("dns", service(spec), [udp(["10.0.0.1", "10.0.0.2"])]);
  await proxy.sync();
  const flow = { protocol: 17, source: "10.0.0.9", destination: "10.96.0.10", destinationPort: 53, answeredByPort: 53 };
  conntrack.flows = ["10.0.0.1", "10.0.0.2"].map((answeredBy) => ({ ...flow, answeredBy }));
  source.put("dns", service(spec), [udp(["10.0.0.2", "10.0.0.3"])]);
  await proxy.sync();
  assert.deepEqual(
    conntrack.flows.map((one) => one.answeredBy),
    ["10.0.0.2"],
  );
});

test("UDP flows to a node's port that began before the Service are cut, so that its endpoints get them", async () => {
  const { source, proxy, conntrack } = await running();
  const flow = { protocol: 17, source: "192.0.2.1", destination: "192.0.2.9", answeredBy: "192.0.2.9" };
  const to = (port: number) => ({ ...flow, destinationPort: port, answeredByPort: port });
  conntrack.flows = [to(30_053), to(30_054)];
  const ports = [{ port: 53, protocol: "UDP", nodePort: 30_053 }];
  const answering = { ...slice(["10.0.0.1"]), ports: [{ port: 53, protocol: "UDP", name: "" }] };
  source.put("dns", service({ type: "NodePort", ports }), [answering]);
  await proxy.sync();
  assert.deepEqual(conntrack.flows, [to(30_054)]);
});

test("a node whose own endpoints all terminate serves by them under policy Local, though others are ready elsewhere", () => {
  const dying = { conditions: { ready: false, serving: true, terminating: true }, nodeName: "n1" };
  const there = { addresses: ["10.0.1.1"], conditions: { ready: true }, nodeName: "n2" };
  const slices = [slice([{ addresses: ["10.0.0.9"], ...dying }, there])];
  const endpoints = (spec: Partial<k8s.ServiceSpec>) =>
    show(planService(service(spec), slices, context)).filter((line) => line.includes("endpoints4"));
  assert.match(endpoints({ internalTrafficPolicy: "Local" }).join(), /^endpoints4 \w+00000000 → 0a0000091f900000$/);
  assert.match(endpoints({}).join(), /^endpoints4 \w+00000000 → 0a0001011f900000$/);
});

test("Services that are another proxy's, or nobody's, are left alone", () => {
  for (const label of ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"]) {
    const labelled = { ...service({}), metadata: { name: "web", labels: { [label]: "" } } };
    assert.deepEqual(planService(labelled, [slice(["10.0.0.1"])], context), []);
  }
});

test("source ranges of a load balancer are intervals beside its address", () => {
  const spec = { type: "LoadBalancer", loadBalancerSourceRanges: ["10.1.0.0/20", "192.0.2.7/32"] };
  const wanted = planService(service(spec, { loadBalancer: { ingress: [{ ip: "192.0.2.50" }] } }), [], context);
  const at = "c00002320600000000500000";
  assert.deepEqual(
    wanted
      .filter(({ set }) => set === "sources4" || set === "restricted4")
      .map(({ element }) => [bytes(element.key), bytes(element.keyEnd ?? Buffer.alloc(0))]),
    [
      [at, ""],
      [`${at}0a010000`, `${at}0a010fff`],
      [`${at}c0000207`, `${at}c0000207`],
    ],
  );
});
