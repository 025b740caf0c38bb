import { readdirSync } from "node:fs";
import path from "node:path";
import { failedPrecondition, KeyedMutex, type InstanceContext, type Timer } from "../../base/index.ts";
import {
  LinuxNetlinkHost,
  LinuxNetns,
  LinuxNft,
  LinuxSockets,
  run,
  type NetlinkHost,
  type NetnsHost,
  type NftHost,
  type SocketHost,
} from "../../host/index.ts";
import type { EventBus } from "../events/index.ts";
import type { AddressPool } from "./ipam.ts";
import type { BridgeSettings } from "./define.ts";
import { dnsNames, Endpoints } from "./endpoints.ts";
import { reachableServers, readHostResolvConf } from "./files.ts";
import { Forwarding, type RunProgram } from "./forwarding.ts";
import { NetworkKernel } from "./kernel.ts";
import { EmbeddedDns } from "./names.ts";
import { HOST_BINDING } from "./options.ts";
import { PublishedPorts } from "./published.ts";
import { NetworkRegistry, registryLookup, servesNames } from "./registry.ts";
import { relayTcp } from "./relay.ts";
import { gatewayEndpoints } from "./routes.ts";
import { RecordFolder } from "../records.ts";
import { SandboxFiles, type SandboxRecord } from "./sandbox-files.ts";
import { Segments } from "./segments.ts";
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
  /** Runs iptables, where other software's chains are looked after; left out: nobody's are. */
  readonly programs?: RunProgram;
}

export interface NetworkOptions {
  /** Left out: this machine's kernel. */
  readonly hosts?: NetworkHosts;
  readonly events?: Pick<EventBus, "publish">;
  /** Name servers for containers that name none; none: the host's. */
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOptions?: readonly string[];
  /** Ranges that networks without a subnet take theirs from; none: Docker's defaults. */
  readonly addressPools?: readonly AddressPool[];
  readonly bridge?: BridgeSettings;
}

/** A sandbox's links go with its namespace, when the kernel gets to it; what is left after this is removed by hand. */
const SWEEP_AFTER_MS = 10_000;

function linuxHosts(): NetworkHosts {
  return {
    netlink: new LinuxNetlinkHost(),
    netns: new LinuxNetns(),
    nft: new LinuxNft(),
    sockets: new LinuxSockets(),
    relay: relayTcp,
    programs: run,
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
  readonly #events: Pick<EventBus, "publish"> | undefined;
  readonly #registry = new NetworkRegistry();
  readonly #kernel: NetworkKernel;
  readonly #table: NetworkTable;
  readonly #endpoints: Endpoints;
  readonly #segments: Segments;
  readonly #forwarding: Forwarding | undefined;
  readonly #files: SandboxFiles;
  readonly #sandboxRecords: RecordFolder<SandboxRecord>;
  readonly #dns: EmbeddedDns;
  readonly #ports: PublishedPorts;
  #sweep: Timer | undefined;
  /** Serialises changes per sandbox and, under one key, per set of networks. */
  readonly #locks = new KeyedMutex();

  constructor(ctx: InstanceContext, options: NetworkOptions) {
    const { hosts = linuxHosts(), events, dns = [], dnsSearch = [], dnsOptions = [] } = options;
    this.#ctx = ctx;
    this.#events = events;
    this.#kernel = new NetworkKernel(ctx.instance, hosts.netlink, hosts.netns);
    this.#table = new NetworkTable(ctx.instance, hosts.nft);
    this.#forwarding = hosts.programs && new Forwarding(ctx, hosts.programs);
    this.#endpoints = new Endpoints(ctx, this.#registry, this.#kernel);
    this.#sandboxRecords = new RecordFolder(path.join(ctx.runtimeDir, "network", "sandboxes"));
    this.#files = new SandboxFiles(this.#registry, {
      hostResolvConf: hosts.resolvConf ?? readHostResolvConf,
      dns,
      dnsSearch,
      dnsOptions,
    });
    this.#segments = new Segments({
      ctx,
      registry: this.#registry,
      kernel: this.#kernel,
      table: this.#table,
      records: new RecordFolder(path.join(ctx.dataDir, "network", "networks")),
      locks: this.#locks,
      addressPools: options.addressPools ?? [],
      bridge: options.bridge ?? {},
      publish: (action, network) => this.#publishEvent(action, network),
    });
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
      nft: hosts.nft,
      lookup: registryLookup(this.#registry, (sandbox) =>
        sandbox.spec.dns?.length ? sandbox.spec.dns : reachableServers(this.#files.resolvConf().servers),
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
    const sandboxes = this.#sandboxRecords.readAll().filter((record) => this.#isThere(record));
    this.#segments.load(new Set(sandboxes.flatMap(({ endpoints }) => endpoints.map(({ networkId }) => networkId))));
    for (const record of sandboxes) this.#adopt(record);
    this.#segments.bringAllUp();
    for (const sandbox of this.#registry.sandboxes.values()) this.#ports.restore(sandbox);
    this.#forwarding?.keep();
  }

  create(spec: NetworkSpec): Promise<Network> {
    return this.#segments.create(spec);
  }

  remove(ref: string): Promise<void> {
    return this.#segments.remove(ref);
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

  async prune(accept: (network: Network) => boolean, inUse: ReadonlySet<string> = new Set()): Promise<Network[]> {
    const idle = this.list().filter(
      (network) =>
        !network.predefined &&
        !network.template &&
        !inUse.has(network.id) &&
        this.#registry.endpointsOn(network.id).length === 0 &&
        accept(network),
    );
    for (const network of idle) await this.remove(network.id);
    this.#events?.publish("network", "prune", "", { reclaimed: "0" });
    return idle;
  }

  async createSandbox(spec: SandboxSpec): Promise<Sandbox> {
    if (!spec.host) this.#forwarding?.keep();
    return this.#locks.run(spec.id, () => {
      const found = this.#registry.sandboxes.get(spec.id);
      if (found) return found;
      const netnsPath = spec.host ? "" : this.netnsPath(spec.id);
      if (netnsPath && spec.pinned) this.#kernel.adoptNamespace(netnsPath);
      else if (netnsPath) this.#kernel.createNamespace(netnsPath);
      return this.#store({ spec, netnsPath, endpoints: [], publishedPorts: [] });
    });
  }

  netnsPath(id: string): string {
    return path.join(this.#ctx.runtimeDir, "netns", id);
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

  settled(sandboxId: string): Promise<void> {
    return this.#dns.settled(sandboxId);
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
    if (!left.after.endpoints.some((endpoint) => this.#files.isNamed(endpoint))) await this.#dns.close(sandboxId);
    this.#publishEvent("disconnect", left.network, sandboxId);
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
      const publishedPorts = await this.#ports.open(unpublished, this.#bound(unpublished, bindings));
      return this.#store({ ...unpublished, publishedPorts }).publishedPorts;
    });
  }

  /** Bindings that name no address get that of the network which gives the sandbox its way out. */
  #bound(sandbox: Sandbox, bindings: readonly PortBinding[]): PortBinding[] {
    const endpoint = gatewayEndpoints(sandbox).four;
    const network = endpoint && this.#registry.networks.get(endpoint.networkId);
    const address = network?.options[HOST_BINDING];
    if (address === undefined || address === "0.0.0.0") return [...bindings];
    return bindings.map((binding) => (binding.hostAddress ? binding : { ...binding, hostAddress: address }));
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
    // Pinned, and then the daemon was killed before it could note whose it is.
    for (const pin of listFolder(path.dirname(this.netnsPath("x"))))
      if (!this.#registry.sandboxes.has(pin)) this.#kernel.removeNamespace(this.netnsPath(pin));
    this.#removeStrayLinks();
    for (const sandbox of this.#registry.sandboxes.values()) {
      if (sandbox.endpoints.some((endpoint) => this.#files.isNamed(endpoint))) await this.#dns.open(sandbox);
    }
  }

  async warnings(): Promise<string[]> {
    return (await this.#forwarding?.warnings()) ?? [];
  }

  async close(): Promise<void> {
    this.#sweep?.cancel();
    await this.#dns.closeAll();
    this.#ports.closeSockets();
  }

  async destroyAll(): Promise<void> {
    await this.recover(new Set());
    for (const network of this.list()) {
      if (network.driver === "bridge" && !network.foreignLink) this.#kernel.deleteLink(network.linkName);
    }
    for (const name of this.#kernel.ownLinks()) this.#kernel.deleteLink(name);
    this.#table.remove();
    await this.#forwarding?.remove();
    await this.close();
  }

  /** False when the namespace is gone (the machine was restarted); then the record goes. */
  #isThere({ spec, netnsPath }: SandboxRecord): boolean {
    if (!netnsPath || this.#kernel.hasNamespace(netnsPath)) return true;
    this.#sandboxRecords.remove(spec.id);
    return false;
  }

  /** Takes a record of an earlier run into memory. */
  #adopt(record: SandboxRecord): void {
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
    const sandbox = this.#files.complete(record);
    this.#registry.sandboxes.set(spec.id, sandbox);
    return sandbox;
  }

  #publishEvent(action: string, network: Network, sandboxId?: string): void {
    const container: Record<string, string> = sandboxId ? { container: sandboxId } : {};
    this.#events?.publish("network", action, network.id, { ...container, name: network.name, type: network.driver });
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
