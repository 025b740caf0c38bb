import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { failedPrecondition, kernelName, KeyedMutex, type InstanceContext } from "../../base/index.ts";
import {
  LinuxNetlinkHost,
  LinuxNetns,
  LinuxNft,
  type NetlinkHost,
  type NetnsHost,
  type NftHost,
} from "../../host/index.ts";
import type { PodAddresses, PodNetwork } from "../../engine/index.ts";
import { PodAddressPool } from "./addresses.ts";
import { podRuleset } from "./ruleset.ts";

export interface PodNetOptions {
  readonly hosts?: { readonly netlink: NetlinkHost; readonly netns: NetnsHost; readonly nft: NftHost };
  /** Ranges of the whole cluster: what goes there keeps the Pod's address. The node's own range is always among them. */
  readonly clusterCidrs?: readonly string[];
  /** Tells several local nodes of one instance apart; default none. */
  readonly node?: string;
}

/**
 * The Pod network of one node: a bridge with the range's gateway address, and for each Pod a namespace with one veth. A Pod's own address is a /32 (IPv6: /128)
 * with its default route through the gateway, so that traffic between Pods of a node is routed, not bridged: Services, their answers and network policies
 * see every packet, without br_netfilter.
 */
export class PodNet implements PodNetwork {
  readonly #ctx: InstanceContext;
  readonly #netlink: NetlinkHost;
  readonly #netns: NetnsHost;
  readonly #nft: NftHost;
  readonly #clusterCidrs: readonly string[];
  readonly #node: string;
  readonly #folder: string;
  readonly #locks = new KeyedMutex();
  readonly #pods = new Map<string, PodAddresses>();
  #pools: PodAddressPool[] = [];

  constructor(ctx: InstanceContext, options: PodNetOptions = {}) {
    this.#ctx = ctx;
    this.#netlink = options.hosts?.netlink ?? new LinuxNetlinkHost();
    this.#netns = options.hosts?.netns ?? new LinuxNetns();
    this.#nft = options.hosts?.nft ?? new LinuxNft();
    this.#clusterCidrs = options.clusterCidrs ?? [];
    this.#node = options.node ?? "";
    this.#folder = path.join(ctx.runtimeDir, "podnet", this.#node || "node");
    mkdirSync(path.join(this.#folder, "netns"), { recursive: true, mode: 0o711 });
    this.#readBack();
  }

  /** The bridge's name: rules of the service proxy and of policies refer to it. */
  get bridge(): string {
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
      const ranges = [...new Set([...pools.map((pool) => pool.cidr), ...this.#clusterCidrs])];
      await this.#nft.load(podRuleset(this.#table, this.bridge, ranges));
      this.#ensureBridge(pools);
      this.#pools = pools;
    });
  }

  get #table(): string {
    return kernelName(this.#ctx.instance, `p${short(this.#node, 5)}`);
  }

  #ensureBridge(pools: readonly PodAddressPool[]): void {
    using netlink = this.#netlink.open();
    const index =
      netlink.link(this.bridge)?.index ??
      netlink.addLink({
        name: this.bridge,
        kind: { type: "bridge" },
        up: true,
        alias: "berth Pods",
        macAddress: mac(this.bridge),
      });
    for (const pool of pools) netlink.addAddress(index, `${pool.gateway}/${pool.cidr.split("/")[1]}`);
    this.#netns.sysctl("net/ipv4/ip_forward", 1);
    this.#netns.sysctl(`net/ipv4/conf/${this.bridge}/route_localnet`, 1);
    if (pools.some((pool) => pool.family === 6)) this.#netns.sysctl("net/ipv6/conf/all/forwarding", 1, true);
  }

  async add({ id }: { readonly id: string }): Promise<PodAddresses> {
    return this.#locks.run(id, () => {
      const found = this.#pods.get(id);
      if (found) return found;
      const why = this.notReady();
      if (why) throw failedPrecondition(`cannot set up the network of a Pod: ${why}`);
      const netnsPath = path.join(this.#folder, "netns", id);
      const ips = this.#pools.map((pool) => pool.allocate());
      try {
        this.#createNamespace(netnsPath);
        this.#attach(id, netnsPath, ips);
      } catch (error) {
        this.#takeBack(id, { netnsPath, ips });
        throw error;
      }
      const addresses: PodAddresses = { netnsPath, ips };
      writeFileSync(this.#record(id), JSON.stringify(addresses));
      this.#pods.set(id, addresses);
      return addresses;
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
      if (link.name.startsWith(this.#linkPrefix) && !known.has(link.name)) netlink.deleteLink(link.index);
    }
  }

  /** Removes everything of this node from the kernel. */
  async destroyAll(): Promise<void> {
    await this.recover(new Set());
    using netlink = this.#netlink.open();
    const bridge = netlink.link(this.bridge);
    if (bridge) netlink.deleteLink(bridge.index);
    this.#nft.deleteTable("inet", this.#table);
    this.#pools = [];
  }

  #createNamespace(pin: string): void {
    this.#netns.create(pin, () => {
      using netlink = this.#netlink.open();
      const loopback = netlink.link("lo");
      if (loopback) netlink.changeLink(loopback.index, { up: true });
      this.#netns.sysctl("net/ipv6/conf/default/accept_dad", 0, true);
      this.#netns.sysctl("net/ipv6/conf/default/accept_ra", 0, true);
    });
  }

  #attach(id: string, netnsPath: string, ips: readonly string[]): void {
    const netnsFd = this.#netns.open(netnsPath);
    try {
      using netlink = this.#netlink.open();
      const master = netlink.link(this.bridge)?.index;
      const peer = { name: "eth0", macAddress: mac(id), netnsFd };
      const index = netlink.addLink({
        name: this.#linkName(id),
        kind: { type: "veth", peer },
        up: true,
        ...(master && { master }),
      });
      // Pods reach each other through the gateway, where rules apply, and in no other way.
      netlink.changeBridgePort(index, { hairpin: true, isolated: true });
    } finally {
      this.#netns.close(netnsFd);
    }
    this.#netns.enter(netnsPath, () => this.#configure(ips));
  }

  #configure(ips: readonly string[]): void {
    using netlink = this.#netlink.open();
    const link = netlink.link("eth0")?.index ?? 0;
    netlink.changeLink(link, { up: true });
    for (const ip of ips) {
      const pool = this.#pools.find((one) => (one.family === 6) === ip.includes(":"));
      if (!pool) continue;
      const [host, any] = pool.family === 4 ? ["/32", "0.0.0.0/0"] : ["/128", "::/0"];
      netlink.addAddress(link, `${ip}${host}`);
      netlink.replaceRoute({ destination: `${pool.gateway}${host}`, link });
      netlink.replaceRoute({ destination: any, gateway: pool.gateway, link });
    }
  }

  /** The host's end goes silent at once; the kernel removes both ends when the namespace goes, which it does in its own time. */
  #takeBack(id: string, pod: PodAddresses): void {
    using netlink = this.#netlink.open();
    const link = netlink.link(this.#linkName(id));
    if (link) netlink.changeLink(link.index, { up: false, master: 0 });
    this.#netns.remove(pod.netnsPath);
    for (const ip of pod.ips) for (const pool of this.#pools) pool.release(ip);
  }

  get #linkPrefix(): string {
    return kernelName(this.#ctx.instance, `q${short(this.#node, 1)}`);
  }

  #linkName(id: string): string {
    return `${this.#linkPrefix}${short(id, 15 - this.#linkPrefix.length)}`;
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
        const pod = JSON.parse(readFileSync(full, "utf8")) as PodAddresses;
        if (this.#netns.exists(pod.netnsPath)) this.#pods.set(path.basename(file, ".json"), pod);
        else rmSync(full, { force: true });
      } catch {
        rmSync(full, { force: true }); // torn by a crash: the namespace is removed by `recover`
      }
    }
  }
}

function short(text: string, length: number): string {
  return createHash("sha256").update(text).digest("hex").slice(0, length);
}

function mac(seed: string): string {
  const digits = short(seed, 8).match(/../g)!;
  return ["02", "62", ...digits].join(":");
}
