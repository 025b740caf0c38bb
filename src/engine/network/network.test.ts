import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, test } from "node:test";
import { FakeClock, hasCode, seededRandom, silentLogger, type InstanceContext } from "../../base/index.ts";
import { FakeNetlinkHost, FakeNetns, FakeNft, FakeSockets } from "../../host/index.ts";
import { endpointSysctls } from "./endpoint-sysctls.ts";
import { openNetworks, type NetworkService } from "./index.ts";
import type { NetworkSpec } from "./types.ts";

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })));

interface World {
  readonly ctx: InstanceContext;
  readonly netns: FakeNetns;
  readonly netlink: FakeNetlinkHost;
  readonly nft: FakeNft;
  readonly sockets: FakeSockets;
  readonly open: () => Promise<NetworkService>;
}

function world(instance = "test"): World {
  const folder = mkdtempSync(path.join(tmpdir(), "berth-network-"));
  folders.push(folder);
  const netns = new FakeNetns();
  const hosts = { netns, netlink: new FakeNetlinkHost(netns), nft: new FakeNft(), sockets: new FakeSockets() };
  const ctx: InstanceContext = {
    instance,
    dataDir: path.join(folder, "data"),
    runtimeDir: path.join(folder, "run"),
    clock: new FakeClock(),
    random: seededRandom(1),
    log: silentLogger,
  };
  const resolvConf = () => "nameserver 10.9.8.7\nsearch corp.example\n";
  return { ctx, ...hosts, open: () => openNetworks(ctx, { hosts: { ...hosts, resolvConf } }) };
}

async function container(networks: NetworkService, id: string, network = "bridge") {
  await networks.createSandbox({ id, name: id, hostname: id });
  return networks.connect(id, network);
}

test("a configuration network lends its addresses, options and labels, and has nothing itself", async () => {
  const { netlink, open } = world();
  const networks = await open();
  const links = () => [...netlink.space("").links.values()].map(({ name }) => name);
  const ipam = { config: [{ subnet: "10.77.0.0/24" }] };
  const options = { "com.docker.network.bridge.enable_icc": "false" };
  const before = links();
  const config = await networks.create({ name: "config", configOnly: true, ipam, options, labels: { a: "b" } });
  assert.deepEqual([config.driver, config.pools, config.linkName], ["null", [], ""]);
  assert.deepEqual(links(), before);
  const made = await networks.create({ name: "made", configFrom: "config" });
  assert.equal(made.pools[0]!.subnet, "10.77.0.0/24");
  assert.deepEqual(
    [made.driver, made.options, made.labels, made.configFrom],
    ["bridge", options, { a: "b" }, "config"],
  );
  const refused: [NetworkSpec, RegExp][] = [
    [{ name: "x", configFrom: "made" }, /configuration network "made" does not exist/],
    [{ name: "x", configFrom: "config", labels: { c: "d" } }, /user specified configurations are not supported/],
    [{ name: "x", configFrom: "config", options }, /network driver options are not supported/],
    [{ name: "x", configOnly: true, internal: true }, /can only contain network specific fields/],
    [{ name: "x", configOnly: true, configFrom: "config" }, /cannot depend on another configuration network/],
  ];
  for (const [spec, message] of refused) await assert.rejects(networks.create(spec), message);
  await assert.rejects(networks.remove("config"), /configuration network "config" is in use by made/);
  await networks.createSandbox({ id: "c1", name: "c1", hostname: "c1" });
  await assert.rejects(networks.connect("c1", "config"), /configuration-only network/);
  await networks.remove("made");
  await networks.remove("config");
});

test("a container on the default bridge gets the first address, a route and the host's resolver", async () => {
  const { open, netlink } = world();
  const networks = await open();
  const endpoint = await container(networks, "web");
  assert.equal(endpoint.ipv4Address, "172.17.0.2");
  assert.equal(endpoint.macAddress, "02:42:ac:11:00:02");
  const sandbox = networks.sandbox("web")!;
  assert.match(sandbox.hostsFile, /^172\.17\.0\.2\tweb$/m);
  assert.match(sandbox.resolvConf, /nameserver 10\.9\.8\.7\nsearch corp\.example\n/);
  const inside = netlink.space(sandbox.netnsPath);
  assert.deepEqual(
    inside.routes.filter((route) => route.destination === "0.0.0.0/0").map((route) => route.gateway),
    ["172.17.0.1"],
  );
});

test("a user-defined network has the embedded resolver, the default bridge has not", async () => {
  const networks = await world().open();
  await networks.create({ name: "app" });
  await container(networks, "web", "app");
  assert.match(
    networks.sandbox("web")!.resolvConf,
    /nameserver 127\.0\.0\.11\nsearch corp\.example\noptions ndots:0\n/,
  );
});

test("pools avoid the host's routes and the networks of other instances", async () => {
  const one = world("one");
  await one.open();
  const other = { ...world("other").ctx };
  const networks = await openNetworks(other, { hosts: one });
  assert.equal(networks.get("bridge").pools[0]!.subnet, "172.18.0.0/16");
  assert.notEqual(networks.get("bridge").linkName, "");
});

test("a released address is given out again, lowest first", async () => {
  const networks = await world().open();
  for (const id of ["a", "b", "c"]) await container(networks, id);
  await networks.destroySandbox("a");
  await networks.destroySandbox("b");
  assert.equal((await container(networks, "d")).ipv4Address, "172.17.0.2");
  assert.equal((await container(networks, "e")).ipv4Address, "172.17.0.3");
  assert.equal((await container(networks, "f")).ipv4Address, "172.17.0.5");
});

test("a fixed address is held, and refused where Docker refuses it", async () => {
  const networks = await world().open();
  await networks.create({ name: "app", ipam: { config: [{ subnet: "10.5.0.0/24", gateway: "10.5.0.254" }] } });
  await networks.createSandbox({ id: "a", name: "a", hostname: "a" });
  await networks.createSandbox({ id: "b", name: "b", hostname: "b" });
  const endpoint = await networks.connect("a", "app", { ipv4Address: "10.5.0.9" });
  assert.deepEqual([endpoint.ipv4Address, endpoint.ipv4Gateway], ["10.5.0.9", "10.5.0.254"]);
  await assert.rejects(networks.connect("b", "app", { ipv4Address: "10.5.0.9" }), /Address already in use/);
  await assert.rejects(networks.connect("b", "app", { ipv4Address: "10.6.0.9" }), /no configured subnet/);
  await assert.rejects(networks.connect("b", "bridge", { ipv4Address: "172.17.0.9" }), /user defined networks only/);
});

test("published ports become map elements, and a port in use leaves nothing behind", async () => {
  const { open, nft, sockets } = world();
  const networks = await open();
  await container(networks, "a");
  await container(networks, "b");
  const table = nft.tables("inet")[0]!;
  const port = { containerPort: 80, protocol: "tcp", hostPortFirst: 8080 } as const;
  assert.deepEqual(await networks.publish("a", [port]), [
    { containerPort: 80, protocol: "tcp", hostAddress: "0.0.0.0", hostPort: 8080 },
  ]);
  assert.deepEqual(nft.elements("inet", table, "ports4"), ["060000001f900000"]);
  const free = { containerPort: 81, protocol: "tcp", hostPortFirst: 8081 } as const;
  await assert.rejects(networks.publish("b", [free, port]), (error: Error) => {
    assert.match(error.message, /Bind for 0\.0\.0\.0:8080 failed: port is already allocated/);
    return hasCode(error, "conflict");
  });
  assert.deepEqual(networks.sandbox("b")!.publishedPorts, []);
  assert.equal(sockets.bound.size, 1);
  await networks.destroySandbox("a");
  assert.deepEqual(nft.elements("inet", table, "ports4"), []);
  assert.equal(sockets.bound.size, 0);
});

test("a port range takes the first free one; one address of the host is a map of its own", async () => {
  const { open, nft } = world();
  const networks = await open();
  await container(networks, "a");
  await container(networks, "b");
  const range = { containerPort: 80, protocol: "tcp", hostPortFirst: 9000, hostPortLast: 9001 } as const;
  assert.equal((await networks.publish("a", [range]))[0]!.hostPort, 9000);
  const [published] = await networks.publish("b", [{ ...range, hostAddress: "127.0.0.1" }]);
  assert.equal(published!.hostPort, 9001);
  assert.deepEqual(nft.elements("inet", nft.tables("inet")[0]!, "ports4at"), ["7f0000010600000023290000"]);
});

test("published ports follow the container to another network", async () => {
  const { open, nft } = world();
  const networks = await open();
  await networks.create({ name: "app" });
  await container(networks, "a", "app");
  await networks.publish("a", [{ containerPort: 80, protocol: "tcp", hostPortFirst: 8080 }]);
  const valueOf = () =>
    [...nft.sets.get(`inet/${nft.tables("inet")[0]}/ports4`)!.values()].map((one) =>
      Buffer.from(one.value!).toString("hex"),
    );
  assert.deepEqual(valueOf(), ["ac12000200500000"]);
  await networks.connect("a", "bridge", { gwPriority: 1 });
  assert.deepEqual(valueOf(), ["ac11000200500000"]);
  await networks.disconnect("a", "bridge");
  assert.deepEqual(valueOf(), ["ac12000200500000"]);
});

test("after a restart sandboxes, ports and addresses are found again; those without an owner are removed", async () => {
  const { open, nft, sockets, netlink, netns } = world();
  const before = await open();
  await container(before, "stays");
  await container(before, "goes");
  await before.publish("stays", [{ containerPort: 80, protocol: "tcp", hostPortFirst: 8080 }]);
  await before.close();
  const after = await open();
  await after.recover(new Set(["stays"]));
  assert.deepEqual(
    [...netns.pins.keys()].map((pin) => path.basename(pin)),
    ["stays"],
  );
  assert.deepEqual(nft.elements("inet", nft.tables("inet")[0]!, "ports4"), ["060000001f900000"]);
  assert.equal(sockets.bound.size, 1);
  assert.equal((await container(after, "next")).ipv4Address, "172.17.0.3");
  await after.destroyAll();
  assert.deepEqual([...netns.pins.keys()], []);
  assert.deepEqual(nft.tables("inet"), []);
  assert.deepEqual(netlink.space("").links.size, 1);
});

test("a network in use, a predefined one and an unknown one are not removed", async () => {
  const networks = await world().open();
  await networks.create({ name: "app" });
  await container(networks, "web", "app");
  await assert.rejects(networks.remove("app"), /has active endpoints \(name:"web"/);
  await assert.rejects(networks.remove("bridge"), /pre-defined network and cannot be removed/);
  await assert.rejects(networks.remove("nope"), (error) => hasCode(error, "notFound"));
  await networks.disconnect("web", "app");
  await networks.remove("app");
  assert.deepEqual(
    networks
      .list()
      .map((network) => network.name)
      .sort(),
    ["bridge", "host", "none"],
  );
});

test("the default bridge follows the daemon's configuration, but not while a container is on it", async () => {
  const { ctx, netns, netlink, nft, sockets } = world();
  const open = (bridge = {}) =>
    openNetworks(ctx, { bridge, hosts: { netns, netlink, nft, sockets, resolvConf: () => "" } });
  const options = (networks: NetworkService) => {
    const all = networks.get("bridge").options;
    const prefix = "com.docker.network.bridge";
    return ["enable_icc", "enable_ip_masquerade", "host_binding_ipv4"].map((name) => all[`${prefix}.${name}`]);
  };
  assert.deepEqual(options(await open()), ["true", "true", "0.0.0.0"]);
  const closed = { icc: false, masquerade: false, hostBinding: "127.0.0.1" };
  assert.deepEqual(options(await open(closed)), ["false", "false", "127.0.0.1"]);
  const { id } = (await open(closed)).get("bridge");
  assert.equal((await open(closed)).get("bridge").id, id);
  const again = await open();
  assert.deepEqual(options(again), ["true", "true", "0.0.0.0"]);
  await container(again, "web");
  assert.deepEqual(options(await open({ icc: false })), ["true", "true", "0.0.0.0"]);
});

test("bad networks are refused before anything is made", async () => {
  const { open, netlink } = world();
  const networks = await open();
  const links = netlink.space("").links.size;
  const subnet = (text: string, more = {}) => ({ name: "x", ipam: { config: [{ subnet: text, ...more }] } });
  await networks.create({ name: "taken" });
  const cases: [Parameters<NetworkService["create"]>[0], RegExp][] = [
    [{ name: "" }, /cannot be empty/],
    [{ name: "-x" }, /invalid network name/],
    [{ name: "taken" }, /already exists/],
    [{ name: "x", driver: "host" }, /only one instance of "host"/],
    [{ name: "x", driver: "overlay" }, /not implemented/],
    [{ name: "x", driver: "weave" }, /could not find a network driver/],
    [{ name: "x", options: { nonsense: "1" } }, /unknown option nonsense/],
    [subnet("10.0.0.0/33"), /invalid CIDR/],
    [subnet("10.0.0.0"), /invalid CIDR/],
    [subnet("10.0.0.0/24", { gateway: "10.1.0.1" }), /no matching subnet for gateway/],
    [subnet("10.0.0.0/24", { ipRange: "10.0.1.0/25" }), /is not within/],
    [subnet("172.17.5.0/24"), /Pool overlaps/],
    [subnet("fd00::/64"), /IPv6 subnet needs an IPv6 network/],
  ];
  for (const [spec, message] of cases) await assert.rejects(networks.create(spec), message);
  assert.equal(netlink.space("").links.size, links + 1);
});

test("an internal network gives no route and opens nothing", async () => {
  const { open, nft } = world();
  const networks = await open();
  const network = await networks.create({ name: "back", internal: true });
  const endpoint = await container(networks, "db", "back");
  assert.equal(endpoint.ipv4Gateway, "");
  const table = nft.tables("inet")[0]!;
  assert.equal(nft.elements("inet", table, "bridges").length, 2);
  assert.equal(nft.elements("inet", table, "routed").length, 1);
  await networks.disconnect("db", network.id);
  await networks.remove(network.id.slice(0, 12));
  assert.equal(nft.elements("inet", table, "bridges").length, 1);
});

test("IPv6 networks get a unique local pool and addresses of both families", async () => {
  const networks = await world().open();
  await networks.create({ name: "six", enableIPv6: true });
  const endpoint = await container(networks, "web", "six");
  assert.match(endpoint.ipv6Address, /^fd[0-9a-f:]+::2$/);
  assert.equal(endpoint.ipv6PrefixLength, 64);
  assert.equal(endpoint.ipv4PrefixLength, 16);
});

test("ports that name no address are published where the network says; options that cannot be are refused", async () => {
  const { open } = world();
  const networks = await open();
  const binding = "com.docker.network.bridge.host_binding_ipv4";
  await networks.create({ name: "local", options: { [binding]: "127.0.0.1" } });
  await container(networks, "c", "local");
  const [port] = await networks.publish("c", [{ containerPort: 80, protocol: "tcp" }]);
  assert.equal(port!.hostAddress, "127.0.0.1");
  const invalid = (error: unknown) => hasCode(error, "invalidArgument");
  const mode = "com.docker.network.bridge.gateway_mode_ipv4";
  const name = "com.docker.network.bridge.name";
  for (const [option, value] of [
    [binding, "x"],
    [mode, "x"],
    [mode, "isolated"],
    [name, "much-too-long-a-name"],
  ] as const)
    await assert.rejects(networks.create({ name: "bad", options: { [option]: value } }), invalid, value);
  await assert.rejects(networks.create({ name: "bad", driver: "ipvlan", options: { ipvlan_mode: "l4" } }), invalid);
});

test("ipvlan: a link on the parent, born in the sandbox, with the parent's hardware address", async () => {
  const { open, netlink } = world();
  const networks = await open();
  netlink.space("").links.set(77, { ...netlink.space("").links.values().next().value!, index: 77, name: "lan0" });
  await networks.create({ name: "ipv", driver: "ipvlan", options: { parent: "lan0", ipvlan_mode: "l3" } });
  await container(networks, "c", "ipv");
  const [link] = [...netlink.space(networks.sandbox("c")!.netnsPath).links.values()].filter(
    ({ name }) => name === "eth0",
  );
  assert.equal(link!.kind, "ipvlan");
});

test("sysctls of an endpoint concern its own interface only", () => {
  const of = (settings: string) =>
    endpointSysctls({
      interfaceName: "eth1",
      spec: { driverOpts: { "com.docker.network.endpoint.sysctls": settings } },
    });
  assert.deepEqual(of("net.ipv6.conf.IFNAME.accept_ra=2,net.ipv4.conf.IFNAME.log_martians=1"), [
    ["net/ipv6/conf/eth1/accept_ra", "2"],
    ["net/ipv4/conf/eth1/log_martians", "1"],
  ]);
  for (const bad of ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.x=1", "kernel.x=1", "net.ipv4.conf.IFNAME.x"])
    assert.throws(
      () => of(bad),
      (error) => hasCode(error, "invalidArgument"),
      bad,
    );
});
