/** Networks on the real kernel: what reaches what, published ports, names, recovery, and nothing left behind. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import {
  hasCode,
  kernelName,
  silentLogger,
  systemClock,
  systemRandom,
  type InstanceContext,
} from "../../src/base/index.ts";
import { openNetworks, type NetworkService, type PortBinding } from "../../src/engine/network/index.ts";
import { LinuxNetlinkHost, LinuxNetns, LinuxNft } from "../../src/host/index.ts";
import { askUdpIn, digIn, fetchIn, killAll, serveIn } from "../support/netns.ts";

const root = mkdtempSync("/tmp/berth-networks-");
const OUTSIDE = path.join(root, "outside");
/** TEST-NET-2 (RFC 5737): the stretch of network between this machine and the outside that the tests make. */
const HOST_ADDRESS = "198.51.100.1";
const OUTSIDE_ADDRESS = "198.51.100.2";
const OUTSIDE_HOST6 = "fd00:6::1";
const OUTSIDE_LINK = `bt${process.pid}`;
const netns = new LinuxNetns();
const netlinkHost = new LinuxNetlinkHost();

function context(name: string): InstanceContext {
  const [dataDir, runtimeDir] = [path.join(root, name, "data"), path.join(root, name, "run")];
  const instance = `${name}-${process.pid}`;
  return { instance, dataDir, runtimeDir, clock: systemClock, random: systemRandom, log: silentLogger };
}

const ctx = context("net");
let networks: NetworkService;
const opened: NetworkService[] = [];

before(async () => {
  networks = await openNetworks(ctx);
  opened.push(networks);
  using netlink = netlinkHost.open();
  netns.create(OUTSIDE);
  const fd = netns.open(OUTSIDE);
  const link = netlink.addLink({
    name: OUTSIDE_LINK,
    up: true,
    kind: { type: "veth", peer: { name: "up", netnsFd: fd } },
  });
  netns.close(fd);
  netlink.addAddress(link, `${HOST_ADDRESS}/24`);
  netlink.addAddress(link, `${OUTSIDE_HOST6}/64`);
  netns.enter(OUTSIDE, () => {
    using inside = netlinkHost.open();
    const up = inside.link("up")!;
    inside.addAddress(up.index, `${OUTSIDE_ADDRESS}/24`);
    inside.addAddress(up.index, "fd00:6::2/64");
    inside.changeLink(up.index, { up: true });
    inside.replaceRoute({ destination: "0.0.0.0/0", gateway: HOST_ADDRESS, link: up.index });
  });
  await serveIn(OUTSIDE, 7000, "outside");
});

after(async () => {
  killAll();
  for (const one of opened) await one.destroyAll();
  using netlink = netlinkHost.open();
  const link = netlink.link(OUTSIDE_LINK);
  if (link) netlink.deleteLink(link.index);
  netns.remove(OUTSIDE);
  rmSync(root, { recursive: true, force: true });
});

let serial = 0;
async function container(
  network: string,
  options: { ports?: PortBinding[]; aliases?: string[]; host?: string; of?: NetworkService } = {},
) {
  const service = options.of ?? networks;
  const id = `c${serial++}`;
  await service.createSandbox({ id, name: id, hostname: id });
  const endpoint = await service.connect(id, network, { aliases: options.aliases ?? [] });
  await service.settled(id);
  const ports = await service.publish(id, options.ports ?? []);
  const { netnsPath } = service.sandbox(id)!;
  await serveIn(netnsPath, 5000, id, options.host);
  return {
    id,
    netnsPath,
    address: endpoint.ipv4Address,
    address6: endpoint.ipv6Address,
    port: ports[0]?.hostPort ?? 0,
  };
}

const tcp = (more: Partial<PortBinding> = {}): PortBinding => ({ containerPort: 5000, protocol: "tcp", ...more });

test("a container reaches the outside under the host's address", async () => {
  const one = await container("bridge");
  assert.equal(await fetchIn(one.netnsPath, `${OUTSIDE_ADDRESS}:7000`), `outside ${HOST_ADDRESS}`);
});

test("a published port answers on localhost, on both families, on the host's addresses, from outside and from itself", async () => {
  const one = await container("bridge", { ports: [tcp()] });
  for (const host of ["127.0.0.1", "localhost", "[::1]", HOST_ADDRESS]) {
    assert.match(await fetchIn("", `${host}:${one.port}`), new RegExp(`^${one.id} `), host);
  }
  assert.equal(
    await fetchIn(OUTSIDE, `${HOST_ADDRESS}:${one.port}`),
    `${one.id} ${OUTSIDE_ADDRESS}`,
    "the client's address is kept",
  );
  assert.match(await fetchIn(one.netnsPath, `${HOST_ADDRESS}:${one.port}`), new RegExp(`^${one.id} `), "hairpin");
  await networks.create({ name: "elsewhere" });
  const other = await container("elsewhere");
  assert.match(await fetchIn(other.netnsPath, `${HOST_ADDRESS}:${one.port}`), new RegExp(`^${one.id} `));
});

test("nothing is open that was not asked for", async () => {
  const one = await container("bridge", { ports: [tcp({ hostAddress: "127.0.0.1" })] });
  assert.match(await fetchIn("", `127.0.0.1:${one.port}`), new RegExp(`^${one.id} `));
  await assert.rejects(fetchIn("", `${HOST_ADDRESS}:${one.port}`), "published on 127.0.0.1 only");
  await assert.rejects(fetchIn(OUTSIDE, `${HOST_ADDRESS}:${one.port}`), "published on 127.0.0.1 only");
  await assert.rejects(fetchIn(OUTSIDE, `${one.address}:5000`), "routed straight to the container's address");
  await networks.create({ name: "apart" });
  const other = await container("apart");
  await assert.rejects(fetchIn(other.netnsPath, `${one.address}:5000`), "from another network");
  await assert.rejects(fetchIn(other.netnsPath, `127.0.0.1:${one.port}`), "loopback of the host");
});

test("UDP is published as well, through localhost too", async () => {
  const one = await container("bridge", { ports: [{ containerPort: 5000, protocol: "udp" }] });
  assert.match(await askUdpIn("", "127.0.0.1", one.port), new RegExp(`^${one.id} `));
  assert.match(await askUdpIn(OUTSIDE, HOST_ADDRESS, one.port), new RegExp(`^${one.id} `));
});

test("a port in use is refused: by a container, by a program of the host; ranges take the next", async () => {
  const one = await container("bridge", { ports: [tcp()] });
  const taken = { hostPortFirst: one.port, hostPortLast: one.port };
  await networks.createSandbox({ id: "clash", name: "clash", hostname: "clash" });
  await networks.connect("clash", "bridge");
  const conflict = (error: Error) => hasCode(error, "conflict") && /port is already allocated/.test(error.message);
  await assert.rejects(networks.publish("clash", [tcp(taken)]), conflict);
  const server = createServer().listen(0, "0.0.0.0");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await assert.rejects(networks.publish("clash", [tcp({ hostPortFirst: port })]), conflict);
  server.close();
  const [next] = await networks.publish("clash", [tcp({ ...taken, hostPortLast: one.port + 20 })]);
  assert.ok(next!.hostPort > one.port);
  await networks.destroySandbox("clash");
});

test("names and aliases resolve on user-defined networks, over UDP and TCP, and addresses have names", async () => {
  await networks.create({ name: "app" });
  const db = await container("app", { aliases: ["db"] });
  const web = await container("app");
  const ask = (...words: string[]) => digIn(web.netnsPath, "@127.0.0.11", ...words);
  assert.equal(await ask("db"), db.address);
  assert.equal(await ask("+tcp", `${db.id}.app`), db.address);
  // A container that serves DNS itself, on all of its addresses, takes nothing away from the resolver.
  await serveIn(web.netnsPath, 53, "own");
  assert.equal(await ask("db"), db.address);
  assert.equal(await ask("+tcp", "db"), db.address);
  assert.equal(await ask("-x", db.address), `${db.id}.app.`);
  assert.match(await fetchIn(web.netnsPath, `${db.address}:5000`), new RegExp(`^${db.id} `));
  const replica = await container("app", { aliases: ["db"] });
  assert.deepEqual((await ask("db")).split("\n").sort(), [db.address, replica.address].sort());
  await networks.disconnect(replica.id, "app");
  assert.equal(await ask("db"), db.address);
});

test("an internal network has its names and neighbours, and no way out", async () => {
  await networks.create({ name: "back", internal: true });
  const one = await container("back");
  const two = await container("back");
  assert.match(await fetchIn(two.netnsPath, `${one.address}:5000`), new RegExp(`^${one.id} `));
  assert.equal(await digIn(two.netnsPath, "@127.0.0.11", one.id), one.address);
  await assert.rejects(fetchIn(two.netnsPath, `${OUTSIDE_ADDRESS}:7000`));
});

test("a running container joins and leaves a network", async () => {
  await networks.create({ name: "second" });
  const inside = await container("second");
  const one = await container("bridge");
  await assert.rejects(fetchIn(one.netnsPath, `${inside.address}:5000`));
  const endpoint = await networks.connect(one.id, "second");
  assert.equal(endpoint.interfaceName, "eth1");
  assert.match(
    await fetchIn(one.netnsPath, `${inside.address}:5000`),
    new RegExp(`^${inside.id} ${endpoint.ipv4Address}$`),
  );
  await networks.disconnect(one.id, "second");
  await assert.rejects(fetchIn(one.netnsPath, `${inside.address}:5000`));
  assert.equal(await fetchIn(one.netnsPath, `${OUTSIDE_ADDRESS}:7000`), `outside ${HOST_ADDRESS}`);
});

test("without inter-container communication neighbours do not see each other", async () => {
  await networks.create({ name: "quiet", options: { "com.docker.network.bridge.enable_icc": "false" } });
  const one = await container("quiet");
  const two = await container("quiet");
  await assert.rejects(fetchIn(two.netnsPath, `${one.address}:5000`));
  assert.equal(await fetchIn(two.netnsPath, `${OUTSIDE_ADDRESS}:7000`), `outside ${HOST_ADDRESS}`);
});

test("IPv6: neighbours, names and published ports", async () => {
  await networks.create({ name: "six", enableIPv6: true });
  const one = await container("six", { ports: [tcp()], host: "::" });
  const two = await container("six");
  assert.match(await fetchIn(two.netnsPath, `[${one.address6}]:5000`), new RegExp(`^${one.id} fd`));
  assert.equal(await digIn(two.netnsPath, "@127.0.0.11", one.id, "AAAA"), one.address6);
  for (const host of ["127.0.0.1", "[::1]"])
    assert.match(await fetchIn("", `${host}:${one.port}`), new RegExp(`^${one.id} `), host);
  assert.match(
    await fetchIn(OUTSIDE, `[${OUTSIDE_HOST6}]:${one.port}`),
    new RegExp(`^${one.id} fd00:6::2`),
    "the client's address is kept",
  );
});

test("macvlan: a container on the link itself", async () => {
  await networks.create({
    name: "lan",
    driver: "macvlan",
    options: { parent: OUTSIDE_LINK },
    ipam: { config: [{ subnet: "198.51.100.0/24", gateway: OUTSIDE_ADDRESS, ipRange: "198.51.100.128/25" }] },
  });
  const one = await container("lan");
  assert.equal(await fetchIn(one.netnsPath, `${OUTSIDE_ADDRESS}:7000`), `outside ${one.address}`);
  await networks.destroySandbox(one.id);
  await networks.remove("lan");
});

test("a routed network: no address of the host's, published ports only, pings; another bridge of that name is used and left", async () => {
  const name = `bt${process.pid}r`;
  await networks.create({
    name: "routed",
    options: { "com.docker.network.bridge.gateway_mode_ipv4": "routed", "com.docker.network.bridge.name": name },
  });
  const one = await container("routed", { ports: [tcp()] });
  await serveIn(one.netnsPath, 5001, "hidden");
  const [pool] = networks.get("routed").pools;
  netns.enter(OUTSIDE, () => {
    using inside = netlinkHost.open();
    inside.replaceRoute({ destination: pool!.subnet, gateway: HOST_ADDRESS, link: inside.link("up")!.index });
  });
  assert.match(await fetchIn(OUTSIDE, `${one.address}:5000`), new RegExp(`^${one.id} `));
  await assert.rejects(fetchIn(OUTSIDE, `${one.address}:5001`));
  // Nobody translates it on its way out.
  assert.equal(await fetchIn(one.netnsPath, `${OUTSIDE_ADDRESS}:7000`), `outside ${one.address}`);
  await assert.rejects(
    networks.create({ name: "same", options: { "com.docker.network.bridge.name": name } }),
    /is used by network routed/,
  );
  await networks.destroySandbox(one.id);
  await networks.remove("routed");
  using netlink = netlinkHost.open();
  assert.equal(netlink.link(name), undefined);
});

test("link-local addresses and sysctls of an endpoint", async () => {
  await networks.create({ name: "tuned" });
  await networks.createSandbox({ id: "tuned1", name: "tuned1", hostname: "tuned1" });
  await networks.connect("tuned1", "tuned", {
    linkLocalAddresses: ["169.254.7.7"],
    driverOpts: { "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1" },
  });
  const { netnsPath } = networks.sandbox("tuned1")!;
  const inside = netns.enter(netnsPath, () => readFileSync("/proc/sys/net/ipv4/conf/eth0/log_martians", "utf8"));
  assert.equal(inside.trim(), "1");
  netns.enter(netnsPath, () => {
    using netlink = netlinkHost.open();
    assert.ok(netlink.addresses().some(({ address }) => address === "169.254.7.7"));
  });
  await networks.destroySandbox("tuned1");
  await networks.remove("tuned");
});

test("two instances side by side share no addresses and no links", async () => {
  const other = await openNetworks(context("twin"));
  opened.push(other);
  assert.notEqual(other.get("bridge").pools[0]!.subnet, networks.get("bridge").pools[0]!.subnet);
  const theirs = await container("bridge", { of: other, ports: [tcp()] });
  const ours = await container("bridge");
  assert.equal(await fetchIn(theirs.netnsPath, `${OUTSIDE_ADDRESS}:7000`), `outside ${HOST_ADDRESS}`);
  await assert.rejects(fetchIn(ours.netnsPath, `${theirs.address}:5000`));
  await other.destroyAll();
  assert.equal(await fetchIn(ours.netnsPath, `${OUTSIDE_ADDRESS}:7000`), `outside ${HOST_ADDRESS}`);
});

test("after a crash everything is found again, and what has no owner is removed", async () => {
  const one = await container("app", { ports: [tcp()] });
  const lost = await container("app");
  // A crash: nothing is closed, but the dead process's sockets would be gone.
  await networks.close();
  networks = await openNetworks(ctx);
  opened[0] = networks;
  const owners = new Set(readdirSync(path.join(ctx.runtimeDir, "netns")).filter((id) => id !== lost.id));
  await networks.recover(owners);
  assert.match(await fetchIn("", `127.0.0.1:${one.port}`), new RegExp(`^${one.id} `));
  assert.equal(await digIn(one.netnsPath, "@127.0.0.11", one.id), one.address);
  assert.equal(networks.sandbox(lost.id), undefined);
  assert.equal(existsSync(lost.netnsPath), false);
});

test("destroyAll leaves no link, table or namespace", async () => {
  killAll();
  await networks.destroyAll();
  const prefix = kernelName(ctx.instance);
  using netlink = netlinkHost.open();
  assert.deepEqual(
    netlink.links().filter((link) => link.name.startsWith(prefix)),
    [],
  );
  assert.deepEqual(
    new LinuxNft().tables("inet").filter((table) => table.startsWith(prefix)),
    [],
  );
  assert.deepEqual(readdirSync(path.join(ctx.runtimeDir, "netns")), []);
});
