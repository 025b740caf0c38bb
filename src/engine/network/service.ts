import path from "node:path";
import {
  failedPrecondition,
  KeyedMutex,
  permissionDenied,
  randomHex,
  type InstanceContext,
  type Timer,
} from "../../base/index.ts";
import {
  LinuxNetlinkHost,
  LinuxNetns,
  LinuxNft,
  LinuxSockets,
  type NetlinkHost,
  type NetnsHost,
  type NftHost,
  type SocketHost,
} from "../../host/index.ts";
import type { EventBus } from "../events/index.ts";
import type { AddressPool } from "./ipam.ts";
import { defineNetwork, definePredefined, poolSubnets, type Surroundings } from "./define.ts";
import { dnsNames, Endpoints } from "./endpoints.ts";
import {
  hostsFile,
  parseResolvConf,
  reachableServers,
  readHostResolvConf,
  resolvConfFile,
  type ResolvConf,
} from "./files.ts";
import { NetworkKernel } from "./kernel.ts";
import { EmbeddedDns } from "./names.ts";
import { checkSpec, driverOf } from "./options.ts";
import { PublishedPorts } from "./published.ts";
import { NetworkRegistry, registryLookup, servesNames } from "./registry.ts";
import { relayTcp } from "./relay.ts";
import { gatewayEndpoints } from "./routes.ts";
import { networkElements } from "./ruleset.ts";
import { RecordFolder } from "../records.ts";
import { overlaps } from "./subnet.ts";
import { NetworkTable } from "./table.ts";
import type {
  Endpoint,
  EndpointSpec,
  Network,
  NetworkService,
  NetworkSpec,
  PortBinding,
  PublishedPort,
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
  /** Left out: this machine's kernel. */
  readonly hosts?: NetworkHosts;
  readonly events?: Pick<EventBus, "publish">;
  /** Name servers for containers that name none; none: the host's. */
  readonly dns?: readonly string[];
  /** Ranges that networks without a subnet take theirs from; none: Docker's defaults. */
  readonly addressPools?: readonly AddressPool[];
}

/** A network on disk; a sandbox on disk is the `Sandbox` less what is computed. */
type SandboxRecord = Pick<Sandbox, "spec" | "netnsPath" | "endpoints" | "publishedPorts">;

/** A sandbox's links go with its namespace, when the kernel gets to it; what is left after this is removed by hand. */
const SWEEP_AFTER_MS = 10_000;

function linuxHosts(): NetworkHosts {
  return {
    netlink: new LinuxNetlinkHost(),
    netns: new LinuxNetns(),
    nft: new LinuxNft(),
    sockets: new LinuxSockets(),
    relay: relayTcp,
  };
}

/** Finds again what an earlier run left; call `recover` once it is known which sandboxes still have owners. */
export async function openNetworks(ctx: InstanceContext, options: NetworkOptions = {}): Promise<NetworkService> {
  const networks = new Networks(ctx, options);
  await networks.start();
  return networks;
}

class Networks implements NetworkService {
  readonly #ctx: InstanceContext;
  readonly #resolvConf: () => string;
  readonly #configuredDns: readonly string[];
  readonly #addressPools: readonly AddressPool[];
  readonly #events: Pick<EventBus, "publish"> | undefined;
  readonly #registry = new NetworkRegistry();
  readonly #kernel: NetworkKernel;
  readonly #table: NetworkTable;
  readonly #endpoints: Endpoints;
  readonly #networkRecords: RecordFolder<Network>;
  readonly #sandboxRecords: RecordFolder<SandboxRecord>;
  readonly #dns: EmbeddedDns;
  readonly #ports: PublishedPorts;
  #sweep: Timer | undefined;
  /** Serialises changes per sandbox and, under one key, per set of networks. */
  readonly #locks = new KeyedMutex();

  constructor(ctx: InstanceContext, { hosts = linuxHosts(), events, dns = [], addressPools = [] }: NetworkOptions) {
    this.#ctx = ctx;
    this.#configuredDns = dns;
    this.#addressPools = addressPools;
    this.#resolvConf = hosts.resolvConf ?? readHostResolvConf;
    this.#events = events;
    this.#kernel = new NetworkKernel(ctx.instance, hosts.netlink, hosts.netns);
    this.#table = new NetworkTable(ctx.instance, hosts.nft);
    this.#endpoints = new Endpoints(ctx, this.#registry, this.#kernel);
    this.#networkRecords = new RecordFolder(path.join(ctx.dataDir, "network", "networks"));
    this.#sandboxRecords = new RecordFolder(path.join(ctx.runtimeDir, "network", "sandboxes"));
    this.#ports = new PublishedPorts({
      sockets: hosts.sockets,
      table: this.#table,
      relay: hosts.relay,
      hasIPv6: () => this.#kernel.hasIPv6(),
      log: ctx.log,
    });
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
    await this.#table.load();
    this.#kernel.enableForwarding(4);
    for (const network of this.#networkRecords.readAll()) this.#registry.addNetwork(network);
    this.#ensurePredefined();
    for (const record of this.#sandboxRecords.readAll()) this.#adopt(record);
    for (const network of this.#registry.networks.values()) this.#bringUp(network);
    for (const sandbox of this.#registry.sandboxes.values()) this.#ports.restore(sandbox);
  }

  async create(spec: NetworkSpec): Promise<Network> {
    const driver = driverOf(spec);
    checkSpec(spec, driver);
    return this.#locks.run("networks", () => {
      this.#registry.refuseTakenName(spec.name);
      const network = defineNetwork(spec, driver, this.#surroundings());
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
      this.#table.change(networkElements("delete", network));
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
      const added = this.#endpoints.add(before, on, spec);
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
    this.#endpoints.remove(sandbox, endpoint);
    return this.#store({ ...sandbox, endpoints: sandbox.endpoints.filter((other) => other !== endpoint) });
  }

  /** Lets default routes and published ports follow the endpoints. */
  #follow(before: Sandbox, after: Sandbox): void {
    if (!after.netnsPath) return;
    const { four, six } = gatewayEndpoints(after);
    this.#kernel.setDefaultRoutes(after.netnsPath, four, six);
    this.#ports.move(before, after);
  }

  async publish(sandboxId: string, bindings: readonly PortBinding[]): Promise<readonly PublishedPort[]> {
    return this.#locks.run(sandboxId, async () => {
      const before = this.#registry.sandbox(sandboxId);
      this.#ports.close(before);
      const unpublished = this.#store({ ...before, publishedPorts: [] });
      const publishedPorts = await this.#ports.open(unpublished, bindings);
      return this.#store({ ...unpublished, publishedPorts }).publishedPorts;
    });
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
      this.#ports.close(sandbox);
      for (const endpoint of sandbox.endpoints) {
        const network = this.#registry.networks.get(endpoint.networkId);
        this.#endpoints.remove(sandbox, endpoint, true);
        if (network) this.#publishEvent("disconnect", network, id);
      }
      if (sandbox.netnsPath) this.#kernel.removeNamespace(sandbox.netnsPath);
      this.#registry.sandboxes.delete(id);
      this.#sandboxRecords.remove(id);
      this.#sweepLater();
    });
  }

  async recover(keep: ReadonlySet<string>): Promise<void> {
    const gone = [...this.#registry.sandboxes.keys()].filter((id) => !keep.has(id));
    for (const id of gone) await this.destroySandbox(id);
    this.#removeStrayLinks();
    for (const sandbox of this.#registry.sandboxes.values()) {
      if (sandbox.endpoints.some((endpoint) => this.#isNamed(endpoint))) await this.#dns.open(sandbox);
    }
  }

  async close(): Promise<void> {
    this.#sweep?.cancel();
    await this.#dns.closeAll();
    this.#ports.closeSockets();
  }

  async destroyAll(): Promise<void> {
    await this.recover(new Set());
    for (const network of this.list()) this.#kernel.deleteLink(network.driver === "bridge" ? network.linkName : "");
    for (const name of this.#kernel.ownLinks()) this.#kernel.deleteLink(name);
    this.#table.remove();
    await this.close();
  }

  // What follows builds networks and brings kernel and records together.

  #surroundings(): Surroundings {
    const ownLinks = new Set(this.list().map((network) => network.linkName));
    return {
      instance: this.#ctx.instance,
      addressPools: this.#addressPools,
      id: randomHex(this.#ctx.random, 32),
      nowMs: this.#ctx.clock.nowMs(),
      ours: poolSubnets(this.list()),
      host: () => this.#kernel.takenSubnets(ownLinks),
    };
  }

  #ensurePredefined(): void {
    for (const name of ["bridge", "host", "none"] as const) {
      const found = this.#registry.byName(name);
      if (found && !this.#poolIsTaken(found)) continue;
      if (found) {
        this.#registry.removeNetwork(found.id);
        this.#networkRecords.remove(found.id);
      }
      const network = definePredefined(name, this.#surroundings());
      this.#networkRecords.write(network.id, network);
      this.#registry.addNetwork(network);
    }
  }

  /** After a reboot somebody else (another instance, a VPN) may have the default bridge's pool; then it gets another one. */
  #poolIsTaken(network: Network): boolean {
    if (network.driver !== "bridge" || this.#kernel.hasLink(network.linkName)) return false;
    const taken = this.#kernel.takenSubnets();
    return poolSubnets([network]).some((subnet) => taken.some((other) => overlaps(subnet, other)));
  }

  #bringUp(network: Network): void {
    if (network.driver !== "bridge") return;
    if (network.enableIPv6) this.#kernel.enableForwarding(6);
    this.#kernel.ensureBridge(network);
    this.#table.change(networkElements("add", network));
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

  #sweepLater(): void {
    this.#sweep ??= this.#ctx.clock.after(SWEEP_AFTER_MS, () => {
      this.#sweep = undefined;
      this.#removeStrayLinks();
    });
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

  #hostResolvConf(): ResolvConf {
    const host = parseResolvConf(this.#resolvConf());
    return this.#configuredDns.length > 0 ? { ...host, servers: [...this.#configuredDns] } : host;
  }

  #publishEvent(action: string, network: Network, sandboxId?: string): void {
    const container: Record<string, string> = sandboxId ? { container: sandboxId } : {};
    this.#events?.publish("network", action, network.id, { ...container, name: network.name, type: network.driver });
  }
}
