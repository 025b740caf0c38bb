import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { failedPrecondition, hasCode, kernelName, KeyedMutex, type InstanceContext } from "../../base/index.ts";
import {
  LinuxNetlinkHost,
  LinuxNetns,
  LinuxNft,
  setUpNamespace,
  type NetlinkHost,
  type NetnsHost,
  type NftHost,
} from "../../host/index.ts";
import type { PodAddresses, PodNetwork } from "../../engine/index.ts";
import { PodAddressPool } from "./addresses.ts";
import { bandwidthOf, type Bandwidth } from "./bandwidth.ts";
import { hostPortChanges, hostPortsOf, type HostPort, type PortMapping } from "./host-ports.ts";
import { podRuleset } from "./ruleset.ts";

/** What of a sandbox's configuration the network looks at. */
interface PodAnnotations {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly portMappings?: readonly PortMapping[];
}

/** What stands on disk about a Pod. */
interface Attached extends PodAddresses {
  readonly hostPorts?: readonly HostPort[];
}

export interface PodNetOptions {
  readonly hosts?: { readonly netlink: NetlinkHost; readonly netns: NetnsHost; readonly nft: NftHost };
  /** Ranges of the whole cluster: what goes there keeps the Pod's address. The node's own range is always among them. */
  readonly clusterCidrs?: readonly string[];
  /** Tells several local nodes of one instance apart; default none. */
  readonly node?: string;
  /** The link to other nodes' Pods. */
  readonly overlay?: string;
  /** Services' ranges: the node needs a way there for its own packets to be sent at all, before they are translated. IPv4 has the default route. */
  readonly virtualCidrs?: readonly string[];
}

interface AddRequest {
  readonly id: string;
  readonly config?: PodAnnotations;
  /** Makes and pins the namespace, where somebody else is to. */
  readonly makeNamespace?: (pin: string) => Promise<void>;
}

/**
 * The Pod network of one node: for each Pod a namespace and a veth with a route of its own on the host. A Pod's address is a /32 (IPv6: /128) with its default
 * route through the node's gateway address, so that all its traffic is routed: Services, their answers and network policies see every packet
 * (docs/adr/0013).
 */
export class PodNet implements PodNetwork {
  readonly #ctx: InstanceContext;
  readonly #netlink: NetlinkHost;
  readonly #netns: NetnsHost;
  readonly #nft: NftHost;
  readonly #clusterCidrs: readonly string[];
  readonly #node: string;
  readonly #overlay: string | undefined;
  readonly #virtualCidrs: readonly string[];
  readonly #folder: string;
  readonly #locks = new KeyedMutex();
  readonly #pods = new Map<string, Attached>();
  #pools: PodAddressPool[] = [];

  constructor(ctx: InstanceContext, options: PodNetOptions = {}) {
    this.#ctx = ctx;
    this.#netlink = options.hosts?.netlink ?? new LinuxNetlinkHost();
    this.#netns = options.hosts?.netns ?? new LinuxNetns();
    this.#nft = options.hosts?.nft ?? new LinuxNft();
    this.#clusterCidrs = options.clusterCidrs ?? [];
    this.#node = options.node ?? "";
    this.#overlay = options.overlay;
    this.#virtualCidrs = (options.virtualCidrs ?? []).filter((cidr) => cidr.includes(":"));
    this.#folder = path.join(ctx.runtimeDir, "podnet", this.#node || "node");
    mkdirSync(path.join(this.#folder, "netns"), { recursive: true, mode: 0o711 });
    this.#readBack();
  }

  /** The names of all Pods' links on the host begin so: rules of policies refer to it. */
  get linkPrefix(): string {
    return kernelName(this.#ctx.instance, `q${short(this.#node, 1)}`);
  }

  /** Holds the gateway's addresses: a bridge without ports, since not every kernel has dummy links. */
  get #anchor(): string {
    return kernelName(this.#ctx.instance, `p${short(this.#node, 5)}`);
  }

  notReady(): string | undefined {
    return this.#pools.length > 0 ? undefined : "the node has no Pod range yet";
  }

  /** One CIDR, or one of each family separated by a comma. Idempotent. */
  async setPodCidr(cidr: string): Promise<void> {
    await this.#locks.run("", async () => {
      const pools = cidr.split(",").map((one) => new PodAddressPool(one.trim()));
      if (pools.map((pool) => pool.cidr).join() === this.#pools.map((pool) => pool.cidr).join()) return;
      for (const { ips } of this.#pods.values()) for (const ip of ips) pools.some((pool) => pool.claim(ip));
      const own = pools.map((pool) => pool.cidr);
      const [table, linkPrefix, overlay] = [this.#table, this.linkPrefix, this.#overlay];
      await this.#nft.load(podRuleset({ table, linkPrefix, own, cluster: [...own, ...this.#clusterCidrs], overlay }));
      this.#openHostPorts([...this.#pods.values()].flatMap(({ hostPorts = [] }) => hostPorts));
      this.#ensureAnchor(pools);
      this.#pools = pools;
    });
  }

  #openHostPorts(ports: readonly HostPort[]): void {
    if (ports.length > 0) this.#nft.change("inet", this.#table, hostPortChanges("add", ports));
  }

  get #table(): string {
    return kernelName(this.#ctx.instance, `p${short(this.#node, 5)}`);
  }

  #ensureAnchor(pools: readonly PodAddressPool[]): void {
    using netlink = this.#netlink.open();
    const name = this.#anchor;
    const index =
      netlink.link(name)?.index ??
      netlink.addLink({ name, kind: { type: "bridge" }, up: true, alias: "berth Pods", macAddress: mac(name) });
    for (const pool of pools) netlink.addAddress(index, `${pool.gateway}/${hostBits(pool.gateway)}`);
    this.#netns.sysctl("net/ipv4/ip_forward", 1);
    if (!pools.some((pool) => pool.family === 6)) return;
    this.#netns.sysctl("net/ipv6/conf/all/forwarding", 1, true);
    for (const destination of this.#virtualCidrs) netlink.replaceRoute({ destination, link: index });
  }

  async add({ id, config, makeNamespace }: AddRequest): Promise<PodAddresses> {
    return this.#locks.run(id, async () => {
      const found = this.#pods.get(id);
      if (found) return found;
      const why = this.notReady();
      if (why) throw failedPrecondition(`cannot set up the network of a Pod: ${why}`);
      const bandwidth = bandwidthOf(config?.annotations);
      const netnsPath = path.join(this.#folder, "netns", id);
      const ips = this.#pools.map((pool) => pool.allocate());
      const hostPorts = hostPortsOf(ips, config?.portMappings);
      try {
        if (makeNamespace) {
          await makeNamespace(netnsPath);
          this.#netns.enter(netnsPath, () => setUpNamespace(this.#netlink, this.#netns));
        } else this.#netns.create(netnsPath, () => setUpNamespace(this.#netlink, this.#netns));
        this.#attach(id, netnsPath, ips, bandwidth);
        this.#openHostPorts(hostPorts);
      } catch (error) {
        this.#takeBack(id, { netnsPath, ips });
        throw error;
      }
      const pod: Attached = { netnsPath, ips, ...(hostPorts.length > 0 && { hostPorts }) };
      writeFileSync(this.#record(id), JSON.stringify(pod));
      this.#pods.set(id, pod);
      return pod;
    });
  }

  async remove(id: string): Promise<void> {
    await this.#locks.run(id, () => {
      const pod = this.#pods.get(id);
      if (!pod) return;
      this.#takeBack(id, pod);
      this.#pods.delete(id);
      rmSync(this.#record(id), { force: true });
    });
  }

  async recover(ids: ReadonlySet<string>): Promise<void> {
    const gone = [...this.#pods.keys()].filter((id) => !ids.has(id));
    for (const id of gone) await this.remove(id);
    for (const id of readdirSync(path.join(this.#folder, "netns"))) {
      if (!this.#pods.has(id)) this.#netns.remove(path.join(this.#folder, "netns", id));
    }
    const known = new Set([...this.#pods.keys()].map((id) => this.#linkName(id)));
    using netlink = this.#netlink.open();
    for (const link of netlink.links()) {
      if (link.name.startsWith(this.linkPrefix) && !known.has(link.name)) netlink.deleteLink(link.index);
    }
  }

  /** Removes everything of this node from the kernel. */
  async destroyAll(): Promise<void> {
    await this.recover(new Set());
    using netlink = this.#netlink.open();
    const anchor = netlink.link(this.#anchor);
    if (anchor) netlink.deleteLink(anchor.index);
    this.#nft.deleteTable("inet", this.#table);
    this.#pools = [];
  }

  #attach(id: string, netnsPath: string, ips: readonly string[], bandwidth: Bandwidth): void {
    const netnsFd = this.#netns.open(netnsPath);
    const name = this.#linkName(id);
    const [hostMac, podMac] = [mac(`host ${id}`), mac(id)];
    try {
      using netlink = this.#netlink.open();
      const peer = { name: "eth0", macAddress: podMac, netnsFd };
      const link = netlink.addLink({ name, macAddress: hostMac, kind: { type: "veth", peer }, up: true });
      // Connections from the host's loopback are answered here; the ruleset refuses everything else to that range.
      this.#netns.sysctl(`net/ipv4/conf/${name}/route_localnet`, 1);
      this.#netns.sysctl(`net/ipv4/conf/${name}/send_redirects`, 0);
      // A virtual machine behind the Pod's card takes the range for one link and asks for its neighbours.
      this.#netns.sysctl(`net/ipv4/conf/${name}/proxy_arp`, 1);
      this.#netns.enter(netnsPath, () => this.#configure(ips, hostMac, bandwidth));
      if (bandwidth.ingress !== undefined) netlink.limitRate(link, bandwidth.ingress);
      for (const ip of ips) {
        netlink.replaceRoute({ destination: `${ip}/${hostBits(ip)}`, link });
        netlink.replaceNeighbour({ link, address: ip, macAddress: podMac });
      }
    } finally {
      this.#netns.close(netnsFd);
    }
  }

  /** Neighbours are fixed on both ends: nobody needs to be asked, and nobody can answer for somebody else. */
  #configure(ips: readonly string[], gatewayMac: string, bandwidth: Bandwidth): void {
    using netlink = this.#netlink.open();
    const link = netlink.link("eth0")?.index ?? 0;
    netlink.changeLink(link, { up: true });
    if (bandwidth.egress !== undefined) netlink.limitRate(link, bandwidth.egress);
    for (const ip of ips) {
      const pool = this.#pools.find((one) => (one.family === 6) === ip.includes(":"));
      if (!pool) continue;
      const { gateway } = pool;
      netlink.addAddress(link, `${ip}/${hostBits(ip)}`);
      netlink.replaceNeighbour({ link, address: gateway, macAddress: gatewayMac });
      netlink.replaceRoute({ destination: `${gateway}/${hostBits(gateway)}`, link });
      netlink.replaceRoute({ destination: pool.family === 4 ? "0.0.0.0/0" : "::/0", gateway, link });
    }
  }

  /** The host's end goes silent at once; the kernel removes both ends when the namespace goes, which it does in its own time. */
  #takeBack(id: string, pod: Attached): void {
    this.#closeHostPorts(pod.hostPorts ?? []);
    using netlink = this.#netlink.open();
    const link = netlink.link(this.#linkName(id));
    if (link) netlink.changeLink(link.index, { up: false });
    this.#netns.remove(pod.netnsPath);
    for (const ip of pod.ips) for (const pool of this.#pools) pool.release(ip);
  }

  /** A rule set that somebody flushed has none of them any more, which is as good. */
  #closeHostPorts(ports: readonly HostPort[]): void {
    for (const change of hostPortChanges("delete", ports)) {
      try {
        this.#nft.change("inet", this.#table, [change]);
      } catch (error) {
        if (!hasCode(error, "notFound")) throw error;
      }
    }
  }

  #linkName(id: string): string {
    return `${this.linkPrefix}${short(id, 15 - this.linkPrefix.length)}`;
  }

  #record(id: string): string {
    return path.join(this.#folder, `${id}.json`);
  }

  /** Records of an earlier run whose namespace is still there. */
  #readBack(): void {
    for (const file of readdirSync(this.#folder)) {
      if (!file.endsWith(".json")) continue;
      const full = path.join(this.#folder, file);
      try {
        const pod = JSON.parse(readFileSync(full, "utf8")) as Attached;
        if (this.#netns.exists(pod.netnsPath)) this.#pods.set(path.basename(file, ".json"), pod);
        else rmSync(full, { force: true });
      } catch {
        rmSync(full, { force: true }); // torn by a crash: the namespace is removed by `recover`
      }
    }
  }
}

/** The prefix length of one address alone. */
function hostBits(address: string): 32 | 128 {
  return address.includes(":") ? 128 : 32;
}

function short(text: string, length: number): string {
  return createHash("sha256").update(text).digest("hex").slice(0, length);
}

function mac(seed: string): string {
  const digits = short(seed, 8).match(/../g)!;
  return ["02", "62", ...digits].join(":");
}
