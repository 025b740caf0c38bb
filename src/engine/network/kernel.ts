import { createHash } from "node:crypto";
import { hasCode, kernelName } from "../../base/index.ts";
import {
  setUpNamespace,
  type IpvlanMode,
  type LinkSpec,
  type MacvlanMode,
  type Netlink,
  type NetlinkHost,
  type NetnsHost,
} from "../../host/index.ts";
import { MTU_OPTION } from "./define.ts";
import { endpointSysctls } from "./endpoint-sysctls.ts";
import { gatewayMode } from "./options.ts";
import { parseSubnet, type Subnet } from "./subnet.ts";
import type { Endpoint, Network } from "./types.ts";

/** What an endpoint needs in the sandbox, besides its addresses: which families have their default route through it. */
export interface Attachment {
  readonly network: Network;
  readonly endpoint: Endpoint;
  readonly netnsPath: string;
}

const ICC_OPTION = "com.docker.network.bridge.enable_icc";

/** Puts networks and endpoints into the kernel, and finds and removes what is there. Every call may be repeated. */
export class NetworkKernel {
  readonly #netlink: NetlinkHost;
  readonly #netns: NetnsHost;
  readonly #prefix: string;

  constructor(instance: string, netlink: NetlinkHost, netns: NetnsHost) {
    this.#netlink = netlink;
    this.#netns = netns;
    this.#prefix = kernelName(instance);
  }

  /** Everything the host reaches already: routes and addresses, except those of links in `except`. */
  takenSubnets(except: ReadonlySet<string> = new Set()): Subnet[] {
    using netlink = this.#netlink.open();
    const skip = new Set(netlink.links().flatMap((link) => (except.has(link.name) ? [link.index] : [])));
    const routes = netlink.routes().filter((route) => !skip.has(route.link) && !route.destination.endsWith("/0"));
    const addresses = netlink.addresses().filter((address) => !skip.has(address.link));
    return [
      ...routes.map((route) => parseSubnet(route.destination)),
      ...addresses.map((address) => parseSubnet(`${address.address}/${address.prefixLength}`)),
    ];
  }

  /** The bridge of a network, up and with its gateway addresses. */
  ensureBridge(network: Network): void {
    using netlink = this.#netlink.open();
    const mtu = mtuOf(network);
    const found = netlink.link(network.linkName);
    const index =
      found?.index ??
      netlink.addLink({
        name: network.linkName,
        kind: { type: "bridge" },
        macAddress: macFor(network.id),
        up: true,
        alias: `berth network ${network.name}`,
        ...(mtu && { mtu }),
      });
    if (found && !found.up) netlink.changeLink(index, { up: true });
    for (const pool of network.pools)
      // An isolated network is one that not even the host has an address on.
      if (gatewayMode(network, pool.family) !== "isolated")
        netlink.addAddress(index, `${pool.gateway}/${parseSubnet(pool.subnet).prefixLength}`);
    // Replies to connections from 127.0.0.1 to a published port come in here; the ruleset refuses everything else to that range.
    this.#netns.sysctl(`net/ipv4/conf/${network.linkName}/route_localnet`, 1);
    this.#netns.sysctl(`net/ipv6/conf/${network.linkName}/accept_ra`, 0, true);
    if (!network.enableIPv6) this.#netns.sysctl(`net/ipv6/conf/${network.linkName}/disable_ipv6`, 1, true);
  }

  /** Forwarding between links is off on a fresh machine. Turning it on for IPv6 must not make the host deaf to its own router. */
  enableForwarding(family: 4 | 6): void {
    if (family === 4) return this.#netns.sysctl("net/ipv4/ip_forward", 1);
    using netlink = this.#netlink.open();
    for (const link of netlink.links()) {
      if (!link.loopback && !link.name.startsWith("berth"))
        this.#netns.sysctl(`net/ipv6/conf/${link.name}/accept_ra`, 2, true);
    }
    this.#netns.sysctl("net/ipv6/conf/all/forwarding", 1, true);
  }

  deleteLink(name: string): void {
    using netlink = this.#netlink.open();
    const link = netlink.link(name);
    if (link) netlink.deleteLink(link.index);
  }

  /** Does the host have IPv6 at all? */
  hasIPv6(): boolean {
    using netlink = this.#netlink.open();
    return netlink.addresses().some((address) => address.family === 6);
  }

  /** Names of the links of this instance. */
  ownLinks(): string[] {
    using netlink = this.#netlink.open();
    return netlink.links().flatMap((link) => (link.name.startsWith(this.#prefix) ? [link.name] : []));
  }

  hasLink(name: string): boolean {
    using netlink = this.#netlink.open();
    return netlink.link(name) !== undefined;
  }

  /** A namespace with its loopback up. Loopback devices of new namespaces are down, and link-local IPv6 would wait for duplicates. */
  createNamespace(pin: string): void {
    this.#netns.create(pin, () => setUpNamespace(this.#netlink, this.#netns));
  }

  /** The same for a namespace that somebody else has made and pinned. */
  adoptNamespace(pin: string): void {
    this.#netns.enter(pin, () => setUpNamespace(this.#netlink, this.#netns));
  }

  removeNamespace(pin: string): void {
    this.#netns.remove(pin);
  }

  hasNamespace(pin: string): boolean {
    return this.#netns.exists(pin);
  }

  enter<T>(pin: string, task: () => T): T {
    return this.#netns.enter(pin, task);
  }

  /** Makes the endpoint's link, born in the sandbox, and gives it its addresses. */
  attach({ network, endpoint, netnsPath }: Attachment): void {
    const fd = this.#netns.open(netnsPath);
    try {
      using netlink = this.#netlink.open();
      if (network.driver === "ipvlan") this.#attachIpvlan(netlink, network, endpoint, fd);
      else if (network.driver === "macvlan") this.#attachMacvlan(netlink, network, endpoint, fd);
      else this.#attachVeth(netlink, network, endpoint, fd);
    } finally {
      this.#netns.close(fd);
    }
    try {
      this.#netns.enter(netnsPath, () => this.#configure(network, endpoint));
    } catch (error) {
      this.detach({ network, endpoint, netnsPath });
      throw error;
    }
  }

  #attachVeth(netlink: Netlink, network: Network, endpoint: Endpoint, netnsFd: number): void {
    const bridge = netlink.link(network.linkName);
    const mtu = mtuOf(network);
    const size = mtu ? { mtu } : {};
    const index = netlink.addLink({
      name: endpoint.hostInterfaceName,
      kind: { type: "veth", peer: { name: endpoint.interfaceName, macAddress: endpoint.macAddress, netnsFd, ...size } },
      up: true,
      ...(bridge && { master: bridge.index }),
      ...size,
    });
    // A container that calls its own published port gets its packet back through the port it came from.
    netlink.changeBridgePort(index, { hairpin: true, isolated: network.options[ICC_OPTION] === "false" });
  }

  #attachMacvlan(netlink: Netlink, network: Network, endpoint: Endpoint, netnsFd: number): void {
    const parent = netlink.link(network.linkName);
    const mode = (network.options["macvlan_mode"] ?? "bridge") as MacvlanMode;
    const spec: LinkSpec = {
      // Born with a name that clashes with nothing here; it is renamed inside.
      name: endpoint.hostInterfaceName,
      macAddress: endpoint.macAddress,
      kind: { type: "macvlan", parent: parent?.index ?? 0, mode, netnsFd },
    };
    netlink.addLink(spec);
  }

  #attachIpvlan(netlink: Netlink, network: Network, endpoint: Endpoint, netnsFd: number): void {
    const parent = netlink.link(network.linkName)?.index ?? 0;
    const mode = (network.options["ipvlan_mode"] ?? "l2") as IpvlanMode;
    // Its hardware address is the parent's.
    netlink.addLink({ name: endpoint.hostInterfaceName, kind: { type: "ipvlan", parent, mode, netnsFd } });
  }

  #configure(network: Network, endpoint: Endpoint): void {
    using netlink = this.#netlink.open();
    const born = netlink.link(endpoint.interfaceName) ?? netlink.link(endpoint.hostInterfaceName);
    if (!born) return;
    if (born.name !== endpoint.interfaceName) netlink.changeLink(born.index, { name: endpoint.interfaceName });
    if (!network.enableIPv6) this.#netns.sysctl(`net/ipv6/conf/${endpoint.interfaceName}/disable_ipv6`, 1, true);
    if (endpoint.ipv4Address) netlink.addAddress(born.index, `${endpoint.ipv4Address}/${endpoint.ipv4PrefixLength}`);
    if (endpoint.ipv6Address) netlink.addAddress(born.index, `${endpoint.ipv6Address}/${endpoint.ipv6PrefixLength}`);
    for (const address of endpoint.spec.linkLocalAddresses ?? [])
      netlink.addAddress(born.index, `${address}/${address.includes(":") ? 64 : 16}`);
    netlink.changeLink(born.index, { up: true });
    for (const [name, value] of endpointSysctls(endpoint)) this.#netns.sysctl(name, value);
  }

  /** Sets the sandbox's default routes; `undefined` removes the one of that family. */
  setDefaultRoutes(netnsPath: string, via4: Endpoint | undefined, via6: Endpoint | undefined): void {
    this.#netns.enter(netnsPath, () => {
      using netlink = this.#netlink.open();
      const set = (destination: string, via: Endpoint | undefined, gateway: string | undefined) => {
        const link = via && netlink.link(via.interfaceName);
        if (link && gateway) netlink.replaceRoute({ destination, gateway, link: link.index });
        else if (netlink.routes().some((route) => route.destination === destination))
          netlink.deleteRoute({ destination });
      };
      set("0.0.0.0/0", via4, via4?.ipv4Gateway);
      set("::/0", via6, via6?.ipv6Gateway);
    });
  }

  /**
   * Takes an endpoint off its network at once, without waiting for its link to be removed: the kernel takes 20 to 40 ms for that, and does it by itself
   * when the namespace goes.
   */
  silence(attachment: Attachment): void {
    if (attachment.network.driver !== "bridge") return;
    using netlink = this.#netlink.open();
    const link = netlink.link(attachment.endpoint.hostInterfaceName);
    if (link) netlink.changeLink(link.index, { up: false, master: 0 });
  }

  /** Removes an endpoint's link; both ends of a veth go together. */
  detach({ network, endpoint, netnsPath }: Attachment): void {
    if (network.driver === "bridge") return this.deleteLink(endpoint.hostInterfaceName);
    if (!this.#netns.exists(netnsPath)) return;
    try {
      this.#netns.enter(netnsPath, () => this.deleteLink(endpoint.interfaceName));
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
    }
  }
}

function mtuOf(network: Network): number | undefined {
  const mtu = Number(network.options[MTU_OPTION] ?? 0);
  return mtu > 0 ? mtu : undefined;
}

/** A locally administered address that stays the same over restarts. */
export function macFor(seed: string): string {
  const hash = createHash("sha256").update(seed).digest();
  return ["02", "42", ...Array.from(hash.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0"))].join(":");
}

/** Docker's way: the address within the MAC address, so that ARP caches never hold a stale pair. */
export function macForAddress(ipv4: string): string {
  return `02:42:${ipv4
    .split(".")
    .map((byte) => Number(byte).toString(16).padStart(2, "0"))
    .join(":")}`;
}
