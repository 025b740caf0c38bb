import { internal, IpRange } from "../../base/index.ts";
import { createTap, LinuxNetlinkHost, LinuxNetns, type Netlink, type Route } from "../../host/index.ts";

/** What a network card of a guest takes over from the link that the engine made for its namespace. */
export interface GuestLink {
  readonly name: string;
  readonly macAddress: string;
  readonly mtu: number;
  /** CIDR. */
  readonly addresses: readonly string[];
}

export interface GuestRoute {
  readonly destination: string;
  readonly gateway?: string;
  readonly link: string;
}

export interface GuestNetwork {
  readonly links: readonly GuestLink[];
  readonly routes: readonly GuestRoute[];
}

const LINK_LOCAL = new IpRange("fe80::/10");

/** Runs a task within a network namespace, with a connection to the kernel there. */
export function within<T>(netnsPath: string, task: (netlink: Netlink) => T): T {
  return new LinuxNetns().enter(netnsPath, () => {
    using netlink = new LinuxNetlinkHost().open();
    return task(netlink);
  });
}

/** Reads what a namespace has, before it becomes a guest's. */
export function readNetwork(netnsPath: string): GuestNetwork {
  return within(netnsPath, (netlink) => {
    const cards = netlink.links().filter(({ name }) => /^eth\d+$/.test(name));
    const links = cards.map(({ index, name, macAddress, mtu }) => ({
      name,
      macAddress,
      mtu,
      addresses: netlink
        .addresses(index)
        .filter(({ address }) => LINK_LOCAL.offsetOf(address) === undefined)
        .map(({ address, prefixLength }) => `${address}/${prefixLength}`),
    }));
    const names = new Map(cards.map(({ index, name }) => [index, name]));
    const routes = netlink.routes().flatMap(({ destination, gateway, link }) => {
      const name = names.get(link);
      if (name === undefined || LINK_LOCAL.offsetOf(addressOf(destination)) !== undefined) return [];
      return { destination, link: name, ...(gateway === undefined ? {} : { gateway }) };
    });
    return { links, routes: routes.filter((route) => !followsFromAddress(route, links)) };
  });
}

const addressOf = (cidr: string): string => cidr.split("/")[0]!;

/** The kernel makes these by itself. */
function followsFromAddress({ destination, gateway, link }: GuestRoute, links: readonly GuestLink[]): boolean {
  const addresses = links.find(({ name }) => name === link)?.addresses ?? [];
  return gateway === undefined && addresses.some((cidr) => new IpRange(cidr).cidr === new IpRange(destination).cidr);
}

/** A route's destination is reached: by its own link's addresses, else by a further route to the gateway alone. Pure. */
export function routesFor(
  network: GuestNetwork,
  index: (link: string) => number,
): Array<Partial<Route> & { destination: string }> {
  return network.routes.flatMap(({ destination, gateway, link }) => {
    const route = { destination, link: index(link) };
    if (gateway === undefined) return [route];
    const addresses = network.links.find(({ name }) => name === link)?.addresses ?? [];
    const near = addresses.some((cidr) => new IpRange(cidr).offsetOf(gateway) !== undefined);
    const alone = { destination: `${gateway}/${gateway.includes(":") ? 128 : 32}`, link: route.link };
    return [...(near ? [] : [alone]), { ...route, gateway }];
  });
}

export interface Tap {
  readonly name: string;
  /** Who may open it. */
  readonly uid: number;
}

/**
 * Puts a tap behind a link of the namespace: both in a bridge `br<number>`, whose index is answered. Addresses and hardware address of the link are left to the
 * guest.
 */
export function leadToTap(
  netlink: Netlink,
  { name, mtu }: GuestLink,
  number: number,
  { bridgeMac, tap }: { readonly bridgeMac: string; readonly tap: Tap },
): number {
  const link = indexOf(netlink, name);
  for (const { address, prefixLength } of netlink.addresses(link))
    netlink.deleteAddress(link, `${address}/${prefixLength}`);
  const bridge = netlink.addLink({ name: `br${number}`, macAddress: bridgeMac, mtu, kind: { type: "bridge" } });
  createTap(tap.name, tap.uid);
  for (const own of [`br${number}`, name, tap.name]) withoutLinkLocal(own);
  // The guest has the link's own address now; this one is never seen outside.
  const macAddress = `02:be:77:01:00:${number.toString(16).padStart(2, "0")}`;
  netlink.changeLink(link, { macAddress, master: bridge });
  // The engine's bridge hands a broadcast back (hairpin): learnt here, the guest's own address would seem to be outside.
  netlink.changeBridgePort(link, { learning: false });
  netlink.changeLink(indexOf(netlink, tap.name), { mtu, master: bridge, up: true });
  netlink.changeLink(bridge, { up: true });
  return bridge;
}

/** Names of the guest's answered on a bridge are led to a resolver on the namespace's loopback. */
export function allowLoopbackBehind(bridge: string): void {
  new LinuxNetns().sysctl(`net/ipv4/conf/${bridge}/route_localnet`, 1);
}

function withoutLinkLocal(name: string): void {
  new LinuxNetns().sysctl(`net/ipv6/conf/${name}/addr_gen_mode`, 1, true);
}

export function indexOf(netlink: Netlink, name: string): number {
  const link = netlink.link(name);
  if (!link) throw internal(`the link ${name} is not there`);
  return link.index;
}
