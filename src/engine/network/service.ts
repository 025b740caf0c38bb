import { readFileSync } from "node:fs";
import path from "node:path";
import {
  failedPrecondition,
  hasCode,
  kernelName,
  KeyedMutex,
  permissionDenied,
  randomHex,
  Undo,
  type InstanceContext,
} from "../../base/index.ts";
import type { BoundSocket, NetlinkHost, NetnsHost, NftChange, NftHost, SocketHost } from "../../host/index.ts";
import type { EventBus } from "../events/index.ts";
import { hostsFile, parseResolvConf, reachableServers, resolvConfFile, type ResolvConf } from "./files.ts";
import { choosePool, resolvePool } from "./ipam.ts";
import { macFor, macForAddress, NetworkKernel } from "./kernel.ts";
import { EmbeddedDns } from "./names.ts";
import { checkSpec, driverOf } from "./options.ts";
import { PortHolder } from "./ports.ts";
import { NetworkRegistry, registryLookup, servesNames } from "./registry.ts";
import { relayTcp } from "./relay.ts";
import { networkElements, portElements, ruleset } from "./ruleset.ts";
import { RecordFolder } from "./state.ts";
import { parseSubnet } from "./subnet.ts";
import type {
  Endpoint,
  EndpointSpec,
  Network,
  NetworkDriver,
  NetworkService,
  NetworkSpec,
  PortBinding,
  PublishedPort,
  ResolvedPool,
  Sandbox,
  SandboxSpec,
} from "./types.ts";

export interface NetworkHosts {
  readonly netlink: NetlinkHost;
  readonly netns: NetnsHost;
  readonly nft: NftHost;
  readonly sockets: SocketHost;
  /** Copies IPv6 clients to an IPv4 container; left out in tests that hold no real sockets. */
  readonly relay?: typeof relayTcp;
  /** Text of the host's resolv.conf. */
  readonly resolvConf?: () => string;
}

export interface NetworkOptions {
  readonly hosts: NetworkHosts;
  readonly events?: Pick<EventBus, "publish">;
}

/** A network on disk; a sandbox on disk is the `Sandbox` less what is computed. */
type SandboxRecord = Pick<Sandbox, "spec" | "netnsPath" | "endpoints" | "publishedPorts">;

const TABLE_FAMILY = "inet";

export async function openNetworks(ctx: InstanceContext, options: NetworkOptions): Promise<NetworkService> {
  const networks = new Networks(ctx, options);
  await networks.start();
  return networks;
}

class Networks implements NetworkService {
  readonly #ctx: InstanceContext;
  readonly #hosts: NetworkHosts;
  readonly #events: Pick<EventBus, "publish"> | undefined;
  readonly #registry = new NetworkRegistry();
  readonly #kernel: NetworkKernel;
  readonly #table: string;
  readonly #networkRecords: RecordFolder<Network>;
  readonly #sandboxRecords: RecordFolder<SandboxRecord>;
  readonly #dns: EmbeddedDns;
  readonly #ports: PortHolder;
  readonly #heldSockets = new Map<string, BoundSocket[]>();
  /** Serialises changes per sandbox and, under one key, per set of networks. */
  readonly #locks = new KeyedMutex();

  constructor(ctx: InstanceContext, { hosts, events }: NetworkOptions) {
    this.#ctx = ctx;
    this.#hosts = hosts;
    this.#events = events;
    this.#kernel = new NetworkKernel(ctx.instance, hosts.netlink, hosts.netns);
    this.#table = kernelName(ctx.instance);
    this.#networkRecords = new RecordFolder(path.join(ctx.dataDir, "network", "networks"));
    this.#sandboxRecords = new RecordFolder(path.join(ctx.runtimeDir, "network", "sandboxes"));
    this.#ports = new PortHolder(hosts.sockets, () => this.#hostHasIPv6());
    this.#dns = new EmbeddedDns({
      netns: hosts.netns,
      sockets: hosts.sockets,
      lookup: registryLookup(this.#registry, (sandbox) =>
        sandbox.spec.dns?.length ? sandbox.spec.dns : reachableServers(this.#hostResolvConf().servers),
      ),
      clock: ctx.clock,
      random: ctx.random,
      log: ctx.log,
    });
  }

  /** Start is recovery: records on disk are the truth, the kernel is brought to agree with them. */
  async start(): Promise<void> {
    await this.#hosts.nft.load(ruleset(this.#table));
    this.#kernel.enableForwarding(4);
    for (const network of this.#networkRecords.readAll()) this.#registry.addNetwork(network);
    this.#ensurePredefined();
    for (const record of this.#sandboxRecords.readAll()) this.#adopt(record);
    for (const network of this.#registry.networks.values()) this.#bringUp(network);
    for (const sandbox of this.#registry.sandboxes.values()) this.#restore(sandbox);
  }

  async create(spec: NetworkSpec): Promise<Network> {
    const driver = driverOf(spec);
    checkSpec(spec, driver);
    return this.#locks.run("networks", () => {
      this.#registry.refuseTakenName(spec.name);
      const network = this.#define(spec, driver);
      this.#bringUp(network);
      this.#networkRecords.write(network.id, network);
      this.#registry.addNetwork(network);
      this.#publishEvent("create", network);
      return network;
    });
  }

  get(ref: string): Network {
    return this.#registry.find(ref);
  }

  list(): Network[] {
    return [...this.#registry.networks.values()];
  }

  endpointsOf(networkId: string): { sandbox: Sandbox; endpoint: Endpoint }[] {
    return this.#registry.endpointsOn(networkId);
  }

  async remove(ref: string): Promise<void> {
    await this.#locks.run("networks", () => {
      const network = this.#registry.find(ref);
      if (network.predefined) {
        throw permissionDenied(`${network.name} is a pre-defined network and cannot be removed`);
      }
      const endpoints = this.#registry.endpointsOn(network.id);
      if (endpoints.length > 0) {
        const names = endpoints.map(
          ({ sandbox }) => `name:"${sandbox.spec.name}" id:"${sandbox.spec.id.slice(0, 12)}"`,
        );
        throw permissionDenied(
          `error while removing network: network ${network.name} id ${network.id} has active endpoints (${names.join(", ")})`,
          { hint: "disconnect or stop those containers first" },
        );
      }
      this.#removeNetwork(network);
    });
  }

  #removeNetwork(network: Network): void {
    if (network.driver === "bridge") {
      this.#change(networkElements("delete", network));
      this.#kernel.deleteLink(network.linkName);
    } else if (network.driver === "macvlan" && network.options["parent"] !== network.linkName) {
      this.#kernel.deleteLink(network.linkName);
    }
    this.#registry.removeNetwork(network.id);
    this.#networkRecords.remove(network.id);
    this.#publishEvent("destroy", network);
  }

  async prune(accept: (network: Network) => boolean, inUse: ReadonlySet<string> = new Set()): Promise<Network[]> {
    const idle = this.list().filter(
      (network) =>
        !network.predefined &&
        !inUse.has(network.id) &&
        this.#registry.endpointsOn(network.id).length === 0 &&
        accept(network),
    );
    for (const network of idle) await this.remove(network.id);
    this.#events?.publish("network", "prune", "", { reclaimed: "0" });
    return idle;
  }

  async createSandbox(spec: SandboxSpec): Promise<Sandbox> {
    return this.#locks.run(spec.id, () => {
      const found = this.#registry.sandboxes.get(spec.id);
      if (found) return found;
      const netnsPath = spec.host ? "" : path.join(this.#ctx.runtimeDir, "netns", spec.id);
      if (netnsPath) this.#kernel.createNamespace(netnsPath);
      return this.#store({ spec, netnsPath, endpoints: [], publishedPorts: [] });
    });
  }

  sandbox(id: string): Sandbox | undefined {
    return this.#registry.sandboxes.get(id);
  }

  async connect(sandboxId: string, ref: string, spec: EndpointSpec = {}): Promise<Endpoint> {
    const { network, endpoint, sandbox } = await this.#locks.run(sandboxId, () => {
      const before = this.#registry.sandbox(sandboxId);
      const on = this.#registry.find(ref);
      this.#registry.refuseSecondEndpoint(before, on);
      const added = this.#addEndpoint(before, on, spec);
      const after = this.#store({ ...before, endpoints: [...before.endpoints, added] });
      try {
        this.#follow(before, after);
      } catch (error) {
        this.#dropEndpoint(after, added);
        throw error;
      }
      return { network: on, endpoint: added, sandbox: after };
    });
    if (servesNames(network) && sandbox.netnsPath) await this.#dns.open(sandbox);
    this.#publishEvent("connect", network, sandboxId);
    return endpoint;
  }

  #addEndpoint(sandbox: Sandbox, network: Network, spec: EndpointSpec): Endpoint {
    if (network.driver === "host" || network.driver === "null" || !sandbox.netnsPath) {
      return this.#bareEndpoint(sandbox, network, spec);
    }
    this.#refuseFixedAddress(network, spec);
    const { ipv4, ipv6, pool4, pool6 } = this.#registry.allocate(network, spec);
    try {
      const bare = this.#bareEndpoint(sandbox, network, spec);
      const endpoint: Endpoint = {
        ...bare,
        interfaceName: freeInterfaceName(sandbox),
        hostInterfaceName: this.#hostInterfaceName(bare.endpointId),
        macAddress: spec.macAddress || (ipv4 ? macForAddress(ipv4) : macFor(bare.endpointId)),
        ipv4Address: ipv4,
        ipv4PrefixLength: pool4 ? parseSubnet(pool4.subnet).prefixLength : 0,
        ipv4Gateway: pool4 && !network.internal ? pool4.gateway : "",
        ipv6Address: ipv6,
        ipv6PrefixLength: pool6 ? parseSubnet(pool6.subnet).prefixLength : 0,
        ipv6Gateway: pool6 && !network.internal ? pool6.gateway : "",
      };
      this.#kernel.attach({ network, endpoint, netnsPath: sandbox.netnsPath });
      return endpoint;
    } catch (error) {
      this.#registry.release(network.id, [ipv4, ipv6]);
      throw error;
    }
  }

  #bareEndpoint(sandbox: Sandbox, network: Network, spec: EndpointSpec): Endpoint {
    return {
      networkId: network.id,
      networkName: network.name,
      endpointId: randomHex(this.#ctx.random, 32),
      spec,
      interfaceName: "",
      hostInterfaceName: "",
      macAddress: "",
      ipv4Address: "",
      ipv4PrefixLength: 0,
      ipv4Gateway: "",
      ipv6Address: "",
      ipv6PrefixLength: 0,
      ipv6Gateway: "",
      dnsNames: dnsNames(sandbox.spec, network, spec),
    };
  }

  #refuseFixedAddress(network: Network, spec: EndpointSpec): void {
    if (!spec.ipv4Address && !spec.ipv6Address) return;
    if (network.predefined) {
      throw failedPrecondition("user specified IP address is supported on user defined networks only");
    }
  }

  async disconnect(sandboxId: string, ref: string): Promise<void> {
    const left = await this.#locks.run(sandboxId, () => {
      const before = this.#registry.sandbox(sandboxId);
      const network = this.#registry.find(ref);
      const endpoint = this.#registry.endpoint(before, network.id);
      if (!endpoint) {
        throw failedPrecondition(`container ${before.spec.name} is not connected to network ${network.name}`);
      }
      const after = this.#dropEndpoint(before, endpoint);
      this.#follow(before, after);
      return { network, after };
    });
    if (!left.after.endpoints.some((endpoint) => this.#isNamed(endpoint))) await this.#dns.close(sandboxId);
    this.#publishEvent("disconnect", left.network, sandboxId);
  }

  #isNamed(endpoint: Endpoint): boolean {
    const network = this.#registry.networks.get(endpoint.networkId);
    return network !== undefined && servesNames(network);
  }

  #dropEndpoint(sandbox: Sandbox, endpoint: Endpoint): Sandbox {
    const network = this.#registry.networks.get(endpoint.networkId);
    if (network && endpoint.interfaceName) this.#kernel.detach({ network, endpoint, netnsPath: sandbox.netnsPath });
    this.#registry.release(endpoint.networkId, [endpoint.ipv4Address, endpoint.ipv6Address]);
    return this.#store({ ...sandbox, endpoints: sandbox.endpoints.filter((other) => other !== endpoint) });
  }

  /** Lets default routes and published ports follow the endpoints. */
  #follow(before: Sandbox, after: Sandbox): void {
    if (after.netnsPath) {
      const via = this.#gatewayEndpoints(after);
      this.#kernel.setDefaultRoutes(after.netnsPath, via.four, via.six);
    }
    const [from, to] = [this.#target(before), this.#target(after)];
    if (
      after.publishedPorts.length === 0 ||
      (from.ipv4Address === to.ipv4Address && from.ipv6Address === to.ipv6Address)
    )
      return;
    this.#change([
      ...portElements("delete", after.publishedPorts, from),
      ...portElements("add", after.publishedPorts, to),
    ]);
  }

  async publish(sandboxId: string, bindings: readonly PortBinding[]): Promise<readonly PublishedPort[]> {
    return this.#locks.run(sandboxId, async () => {
      const before = this.#registry.sandbox(sandboxId);
      this.#unpublish(before);
      if (bindings.length === 0) return this.#store({ ...before, publishedPorts: [] }).publishedPorts;
      await using undo = new Undo();
      const held = await this.#ports.hold(bindings);
      undo.defer(() => held.sockets.forEach((socket) => socket.close()));
      const sandbox = { ...before, publishedPorts: held.ports };
      this.#change(portElements("add", held.ports, this.#target(sandbox)));
      this.#heldSockets.set(sandboxId, this.#withRelays(sandbox, held.sockets));
      const stored = this.#store(sandbox);
      undo.commit();
      return stored.publishedPorts;
    });
  }

  /** IPv6 ports of a container without IPv6 are served by a relay. */
  #withRelays(sandbox: Pick<Sandbox, "endpoints" | "publishedPorts">, sockets: readonly BoundSocket[]): BoundSocket[] {
    const target = this.#target(sandbox);
    return sockets.map((socket, index) => {
      const port = sandbox.publishedPorts[index]!;
      const needed =
        port.hostAddress.includes(":") && !target.ipv6Address && target.ipv4Address && port.protocol === "tcp";
      if (!needed || !this.#hosts.relay) return socket;
      return this.#hosts.relay(socket, { address: target.ipv4Address, port: port.containerPort });
    });
  }

  #unpublish(sandbox: Sandbox): void {
    for (const socket of this.#heldSockets.get(sandbox.spec.id) ?? []) socket.close();
    this.#heldSockets.delete(sandbox.spec.id);
    if (sandbox.publishedPorts.length > 0)
      this.#change(portElements("delete", sandbox.publishedPorts, this.#target(sandbox)));
  }

  rename(sandboxId: string, name: string): void {
    const sandbox = this.#registry.sandboxes.get(sandboxId);
    if (!sandbox) return;
    const spec = { ...sandbox.spec, name };
    const endpoints = sandbox.endpoints.map((endpoint) => {
      const network = this.#registry.networks.get(endpoint.networkId);
      return network ? { ...endpoint, dnsNames: dnsNames(spec, network, endpoint.spec) } : endpoint;
    });
    this.#store({ ...sandbox, spec, endpoints });
  }

  async destroySandbox(id: string): Promise<void> {
    await this.#locks.run(id, async () => {
      const sandbox = this.#registry.sandboxes.get(id);
      if (!sandbox) return;
      await this.#dns.close(id);
      this.#unpublish(sandbox);
      for (const endpoint of sandbox.endpoints) {
        const network = this.#registry.networks.get(endpoint.networkId);
        this.#dropEndpoint(sandbox, endpoint);
        if (network) this.#publishEvent("disconnect", network, id);
      }
      if (sandbox.netnsPath) this.#kernel.removeNamespace(sandbox.netnsPath);
      this.#registry.sandboxes.delete(id);
      this.#sandboxRecords.remove(id);
    });
  }

  async recover(keep: ReadonlySet<string>): Promise<void> {
    for (const id of [...this.#registry.sandboxes.keys()]) if (!keep.has(id)) await this.destroySandbox(id);
    this.#removeStrayLinks();
    for (const sandbox of this.#registry.sandboxes.values()) {
      if (sandbox.endpoints.some((endpoint) => this.#isNamed(endpoint))) await this.#dns.open(sandbox);
    }
  }

  async close(): Promise<void> {
    await this.#dns.closeAll();
    for (const sockets of this.#heldSockets.values()) for (const socket of sockets) socket.close();
    this.#heldSockets.clear();
  }

  async destroyAll(): Promise<void> {
    await this.recover(new Set());
    for (const network of this.list()) this.#kernel.deleteLink(network.driver === "bridge" ? network.linkName : "");
    for (const name of this.#kernel.ownLinks()) this.#kernel.deleteLink(name);
    this.#hosts.nft.deleteTable(TABLE_FAMILY, this.#table);
    await this.close();
  }

  // What follows builds networks and brings kernel and records together.

  #define(spec: NetworkSpec, driver: NetworkDriver): Network {
    const id = randomHex(this.#ctx.random, 32);
    const enableIPv4 = spec.enableIPv4 !== false;
    const enableIPv6 = spec.enableIPv6 === true;
    const ownLinks = new Set(this.list().map((network) => network.linkName));
    const ours = this.list().flatMap((network) => network.pools.map((pool) => parseSubnet(pool.subnet)));
    const pools: ResolvedPool[] = [];
    const asked = spec.ipam?.config ?? [];
    for (const family of [...(enableIPv4 ? [4] : []), ...(enableIPv6 ? [6] : [])] as (4 | 6)[]) {
      const own = asked.filter((pool) => pool.subnet && (pool.subnet.includes(":") ? 6 : 4) === family);
      const loose = asked.find((pool) => !pool.subnet && (pool.gateway?.includes(":") ? 6 : 4) === family) ?? {};
      const chosen =
        own.length > 0
          ? own.map((pool) => [pool, pool.subnet!] as const)
          : [[loose, choosePool(family, id, [...ours, ...this.#kernel.takenSubnets(ownLinks)])] as const];
      for (const [pool, subnet] of chosen) pools.push(resolvePool(pool, subnet, ours));
    }
    return {
      id,
      name: spec.name,
      createdMs: this.#ctx.clock.nowMs(),
      driver,
      internal: spec.internal === true,
      attachable: spec.attachable === true,
      enableIPv4,
      enableIPv6,
      pools,
      ipamDriver: spec.ipam?.driver || "default",
      ipamOptions: spec.ipam?.options ?? {},
      options: spec.options ?? {},
      labels: spec.labels ?? {},
      linkName: driver === "macvlan" ? (spec.options?.["parent"] ?? this.#linkName(id)) : this.#linkName(id),
      predefined: false,
    };
  }

  #linkName(id: string): string {
    return kernelName(this.#ctx.instance, id.slice(0, 6));
  }

  #hostInterfaceName(endpointId: string): string {
    return kernelName(this.#ctx.instance, `v${endpointId.slice(0, 5)}`);
  }

  #ensurePredefined(): void {
    const wanted: [string, NetworkDriver][] = [
      ["bridge", "bridge"],
      ["host", "host"],
      ["none", "null"],
    ];
    for (const [name, driver] of wanted) {
      const found = this.#registry.byName(name);
      if (found && !this.#poolIsTaken(found)) continue;
      if (found) this.#registry.removeNetwork(found.id);
      const defined = this.#define({ name, enableIPv4: driver === "bridge" }, driver);
      const network: Network = {
        ...defined,
        predefined: true,
        linkName: driver === "bridge" ? kernelName(this.#ctx.instance, "br0") : "",
        options: driver === "bridge" ? defaultBridgeOptions(kernelName(this.#ctx.instance, "br0")) : {},
      };
      if (found) this.#networkRecords.remove(found.id);
      this.#networkRecords.write(network.id, network);
      this.#registry.addNetwork(network);
    }
  }

  /** After a reboot somebody else (another instance, a VPN) may have the default bridge's pool; then it gets another one. */
  #poolIsTaken(network: Network): boolean {
    if (network.driver !== "bridge" || this.#kernel.hasLink(network.linkName)) return false;
    const taken = this.#kernel.takenSubnets();
    return network.pools.some((pool) => {
      const subnet = parseSubnet(pool.subnet);
      return taken.some(
        (other) => other.family === subnet.family && other.first <= subnet.last && subnet.first <= other.last,
      );
    });
  }

  #bringUp(network: Network): void {
    if (network.driver !== "bridge") return;
    if (network.enableIPv6) this.#kernel.enableForwarding(6);
    this.#kernel.ensureBridge(network);
    this.#change(networkElements("add", network));
  }

  /** Takes a record of an earlier run into memory, unless its namespace is gone (the machine was restarted). */
  #adopt(record: SandboxRecord): void {
    if (record.netnsPath && !this.#kernel.hasNamespace(record.netnsPath)) {
      this.#sandboxRecords.remove(record.spec.id);
      return;
    }
    const endpoints = record.endpoints.filter((endpoint) => this.#registry.networks.has(endpoint.networkId));
    for (const endpoint of endpoints) this.#registry.claim(endpoint);
    this.#store({ ...record, endpoints });
  }

  /** Holds the sandbox's ports again and fills the fresh table with them. A port that was lost meanwhile is reported, not fatal. */
  #restore(sandbox: Sandbox): void {
    if (sandbox.publishedPorts.length === 0) return;
    this.#change(portElements("add", sandbox.publishedPorts, this.#target(sandbox)));
    const sockets = sandbox.publishedPorts.map(({ protocol, hostAddress, hostPort }): BoundSocket => {
      try {
        const backlog = protocol === "tcp" ? { backlog: 16 } : {};
        return this.#hosts.sockets.bind({ protocol, address: hostAddress, port: hostPort, ...backlog });
      } catch (error) {
        this.#ctx.log.warn("a published port is held by somebody else", { port: hostPort, protocol, error });
        return { fd: -1, port: hostPort, close: () => {} };
      }
    });
    const relayed = sockets.every((socket) => socket.fd >= 0) ? this.#withRelays(sandbox, sockets) : sockets;
    this.#heldSockets.set(sandbox.spec.id, relayed);
  }

  #removeStrayLinks(): void {
    const known = new Set([
      ...this.list().map((network) => network.linkName),
      ...[...this.#registry.sandboxes.values()].flatMap((sandbox) =>
        sandbox.endpoints.map((endpoint) => endpoint.hostInterfaceName),
      ),
    ]);
    const isOurs = (name: string) => /^berth[0-9a-f]{4}(v[0-9a-f]{5}|[0-9a-f]{6})$/.test(name);
    for (const name of this.#kernel.ownLinks()) if (isOurs(name) && !known.has(name)) this.#kernel.deleteLink(name);
  }

  #store(record: SandboxRecord): Sandbox {
    const { spec, netnsPath, endpoints, publishedPorts } = record;
    this.#sandboxRecords.write(spec.id, { spec, netnsPath, endpoints, publishedPorts });
    const embedded = netnsPath !== "" && endpoints.some((endpoint) => this.#isNamed(endpoint));
    const sandbox: Sandbox = {
      spec,
      netnsPath,
      endpoints,
      publishedPorts,
      hostsFile: hostsFile(spec, endpoints, this.#hostGateway(endpoints), this.#links(endpoints)),
      resolvConf: resolvConfFile(spec, this.#hostResolvConf(), embedded),
    };
    this.#registry.sandboxes.set(spec.id, sandbox);
    return sandbox;
  }

  /** `--link` on the default bridge writes the other container's address into the hosts file. */
  #links(endpoints: readonly Endpoint[]): { address: string; names: string[] }[] {
    return endpoints.flatMap((endpoint) => {
      if (this.#isNamed(endpoint)) return [];
      return (endpoint.spec.links ?? []).flatMap((link) => {
        const [target = "", alias = target] = link.replace(/^\//, "").split(":");
        const other = this.#registry
          .endpointsOn(endpoint.networkId)
          .find(({ sandbox }) => sandbox.spec.name === target || sandbox.spec.id.startsWith(target));
        if (!other) return [];
        const names = [...new Set([alias, other.sandbox.spec.hostname, other.sandbox.spec.name])];
        return [{ address: other.endpoint.ipv4Address, names }];
      });
    });
  }

  #hostGateway(endpoints: readonly Endpoint[]): string {
    const bridge = this.#registry.byName("bridge")?.pools[0]?.gateway;
    return bridge ?? endpoints[0]?.ipv4Gateway ?? "";
  }

  /** Which endpoint of each family gives the default route: highest priority, then the network's name (libnetwork's order). */
  #gatewayEndpoints(sandbox: Pick<Sandbox, "endpoints">): { four?: Endpoint; six?: Endpoint } {
    const order = [...sandbox.endpoints].sort(
      (one, other) =>
        (other.spec.gwPriority ?? 0) - (one.spec.gwPriority ?? 0) || (one.networkName < other.networkName ? -1 : 1),
    );
    const four = order.find((endpoint) => endpoint.ipv4Gateway !== "");
    const six = order.find((endpoint) => endpoint.ipv6Gateway !== "");
    return { ...(four && { four }), ...(six && { six }) };
  }

  /** Where published ports lead. */
  #target(sandbox: Pick<Sandbox, "endpoints">): { ipv4Address: string; ipv6Address: string } {
    const via = this.#gatewayEndpoints(sandbox);
    return { ipv4Address: via.four?.ipv4Address ?? "", ipv6Address: via.six?.ipv6Address ?? "" };
  }

  /** Deleting what is not there is what was wanted; then the changes are made one by one, so that the others still happen. */
  #change(changes: readonly NftChange[]): void {
    try {
      this.#hosts.nft.change(TABLE_FAMILY, this.#table, changes);
    } catch (error) {
      if (!hasCode(error, "notFound") || changes.length === 1) throw error;
      for (const change of changes) {
        try {
          this.#hosts.nft.change(TABLE_FAMILY, this.#table, [change]);
        } catch (single) {
          if (!hasCode(single, "notFound") || change.op === "add") throw single;
        }
      }
    }
  }

  #hostResolvConf(): ResolvConf {
    return parseResolvConf((this.#hosts.resolvConf ?? readHostResolvConf)());
  }

  #hostHasIPv6(): boolean {
    using netlink = this.#hosts.netlink.open();
    return netlink.addresses().some((address) => address.family === 6);
  }

  #publishEvent(action: string, network: Network, sandboxId?: string): void {
    const container: Record<string, string> = sandboxId ? { container: sandboxId } : {};
    this.#events?.publish("network", action, network.id, { ...container, name: network.name, type: network.driver });
  }
}

/** systemd-resolved's stub listens on a loopback address; its other file has the real servers. */
function readHostResolvConf(): string {
  const read = (file: string) => {
    try {
      return readFileSync(file, "utf8");
    } catch {
      return "";
    }
  };
  const text = read("/etc/resolv.conf");
  const { servers } = parseResolvConf(text);
  const stub = servers.length > 0 && servers.every((server) => server === "127.0.0.53");
  return stub ? read("/run/systemd/resolve/resolv.conf") || text : text;
}

function freeInterfaceName(sandbox: Sandbox): string {
  const taken = new Set(sandbox.endpoints.map((endpoint) => endpoint.interfaceName));
  let number = 0;
  while (taken.has(`eth${number}`)) number++;
  return `eth${number}`;
}

function dnsNames(spec: SandboxSpec, network: Network, endpoint: EndpointSpec): string[] {
  if (!servesNames(network)) return [];
  return [...new Set([spec.name, ...(endpoint.aliases ?? []), spec.id.slice(0, 12), spec.hostname].filter(Boolean))];
}

function defaultBridgeOptions(linkName: string): Record<string, string> {
  return {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
    "com.docker.network.bridge.name": linkName,
    "com.docker.network.driver.mtu": "1500",
  };
}
