import { internal } from "../../base/index.ts";
import { GUEST_DNS } from "../../engine/index.ts";
import { run } from "../../host/index.ts";
import { HOST_ADDRESS, quote } from "./agent.ts";
import { VM_UID } from "./root.ts";
import { GUEST_NAMESPACES } from "./spec.ts";

/** What a network card of the guest takes over from the link that the engine made for the sandbox. */
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

/** Where the guest asks for names: led to the engine's resolver on the sandbox' loopback. */
const RESOLVER_ADDRESS = GUEST_DNS;
export const CONTROL_TAP = "ctl0";
export const CONTROL_MAC = "02:be:77:00:00:02";
const CONTROL_HOST_MAC = "02:be:77:00:00:01";
/** Of a saved machine's card; whoever restores it gives it another. */
export const TEMPLATE_CARD: GuestLink = { name: "eth0", macAddress: "02:be:77:00:00:10", mtu: 1500, addresses: [] };
const RESOLVER_MAC = "02:be:77:00:00:53";
const EMBEDDED_DNS = "127.0.0.11";

interface IpLink {
  readonly ifname: string;
  readonly address: string;
  readonly mtu: number;
  readonly link_type: string;
  readonly addr_info: ReadonlyArray<{ readonly local: string; readonly prefixlen: number; readonly scope: string }>;
}
interface IpRoute {
  readonly dst: string;
  readonly gateway?: string;
  readonly dev: string;
  readonly protocol?: string;
}

/** Reads what a sandbox' namespace has, before it becomes the guest's. */
export async function readNetwork(netnsPath: string): Promise<GuestNetwork> {
  const ask = async <T>(...args: string[]): Promise<T[]> => {
    const text = await inNamespace(netnsPath, ["/usr/sbin/ip", "-j", ...args]);
    return text.trim() === "" ? [] : (JSON.parse(text) as T[]);
  };
  const [links, routes, routes6] = await Promise.all([
    ask<IpLink>("addr"),
    ask<IpRoute>("route"),
    ask<IpRoute>("-6", "route"),
  ]);
  return parseNetwork(links, routes, routes6);
}

function parseNetwork(links: readonly IpLink[], routes: readonly IpRoute[], routes6: readonly IpRoute[]): GuestNetwork {
  const cards = links.filter(({ ifname }) => /^eth\d+$/.test(ifname));
  const known = new Set(cards.map(({ ifname }) => ifname));
  const everywhere = (route: IpRoute, all: string) => (route.dst === "default" ? all : route.dst);
  const wanted = (route: IpRoute) => known.has(route.dev) && route.protocol !== "kernel";
  return {
    links: cards.map((card) => ({
      name: card.ifname,
      macAddress: card.address,
      mtu: card.mtu,
      addresses: card.addr_info
        .filter(({ scope }) => scope !== "link")
        .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
    })),
    routes: [
      ...routes.filter(wanted).map((route) => toRoute(route, everywhere(route, "0.0.0.0/0"))),
      ...routes6.filter(wanted).map((route) => toRoute(route, everywhere(route, "::/0"))),
    ],
  };
}

function toRoute({ gateway, dev }: IpRoute, destination: string): GuestRoute {
  return { destination, link: dev, ...(gateway === undefined ? {} : { gateway }) };
}

export const tapOf = (index: number): string => `tap${index}`;

/**
 * Hands the sandbox' links over to the guest: behind each a bridge with a tap, addresses and hardware address left to the guest. What listens on the
 * sandbox' loopback for names is reached by an address of its own. Pure.
 */
function hostScript(network: GuestNetwork): string {
  const tap = (name: string) => `tuntap add ${name} mode tap user ${VM_UID}`;
  const lines = [
    tap(CONTROL_TAP),
    `addr add ${HOST_ADDRESS}/30 dev ${CONTROL_TAP}`,
    // A machine that was saved knows the other end of its control link by this.
    `link set ${CONTROL_TAP} address ${CONTROL_HOST_MAC} up`,
    "link set lo up",
  ];
  if (network.links.length === 0) lines.push(tap(tapOf(0)));
  network.links.forEach(({ name, mtu }, index) => {
    const bridge = `br${index}`;
    lines.push(
      `addr flush dev ${name}`,
      `link add ${bridge} address ${RESOLVER_MAC} mtu ${mtu} type bridge`,
      `link set ${bridge} addrgenmode none`,
      // The guest has the link's own address now; this one is never seen outside.
      `link set ${name} address 02:be:77:01:00:${index.toString(16).padStart(2, "0")}`,
      `link set ${name} addrgenmode none master ${bridge}`,
      // The engine's bridge hands a broadcast back (hairpin): learnt here, the guest's own address would seem to be outside.
      `link set ${name} type bridge_slave learning off`,
      tap(tapOf(index)),
      `link set ${tapOf(index)} addrgenmode none mtu ${mtu} master ${bridge} up`,
      `link set ${bridge} up`,
    );
  });
  const first = network.links[0]?.addresses.find((cidr) => cidr.includes("."));
  const batch = (commands: readonly string[]) => ["ip -batch - <<'LINKS'", ...commands, "LINKS"];
  if (first === undefined) return ["set -e", ...batch(lines)].join("\n");
  lines.push(`addr add ${RESOLVER_ADDRESS}/32 dev br0`, `route replace ${first.split("/")[0]} dev br0`);
  return ["set -e", ...batch(lines), "echo 1 >/proc/sys/net/ipv4/conf/br0/route_localnet"].join("\n");
}

/** Moves the machine's cards into the namespace of its containers, known by hardware address. Pure. */
export function cardsScript(links: readonly GuestLink[]): string {
  // In this order no name is taken: the first card of the machine is the control link.
  return links
    .map(
      ({ name, macAddress }) =>
        `for d in /sys/class/net/*; do d=\${d##*/}; read -r a </sys/class/net/$d/address; [ "$a" = ${macAddress} ] || continue; ` +
        `[ $d = ${name} ] || ip link set $d name ${name}; ip link set ${name} netns $holder; break; done`,
    )
    .join("\n");
}

/** Addresses, routes and resolver, set within the namespace of the containers. `card`: what the machine was saved with. Pure. */
export function addressScript(network: GuestNetwork, card?: GuestLink): string {
  const inside = ["set -e"];
  if (card && network.links.length === 0) inside.push(`ip link set ${card.name} netns 1`);
  for (const { name, mtu, addresses, macAddress } of network.links) {
    if (card && card.name !== name) inside.push(`ip link set ${card.name} name ${name}`);
    const address = card ? ` address ${macAddress}` : "";
    inside.push(
      `ip link set ${name} mtu ${mtu}${address} up`,
      ...addresses.map((cidr) => `ip addr replace ${cidr} dev ${name}`),
    );
  }
  for (const { destination, gateway, link } of network.routes) {
    if (gateway === undefined) inside.push(`ip route replace ${destination} dev ${link}`);
    else {
      const alone = gateway.includes(":") ? `${gateway}/128` : `${gateway}/32`;
      // A gateway outside of the link's own network is reached on the link all the same.
      inside.push(
        `ip route replace ${destination} via ${gateway} dev ${link} 2>/dev/null || ` +
          `{ ip route replace ${alone} dev ${link}; ip route replace ${destination} via ${gateway} dev ${link}; }`,
      );
    }
  }
  if (network.links[0]?.addresses.some((cidr) => cidr.includes("."))) {
    inside.push(
      `ip route replace ${RESOLVER_ADDRESS}/32 dev ${network.links[0].name}`,
      `arp -i ${network.links[0].name} -s ${RESOLVER_ADDRESS} ${RESOLVER_MAC}`,
    );
  }
  return `nsenter --net=${GUEST_NAMESPACES.net} sh -c ${quote(inside.join("\n"))}`;
}

/** resolv.conf as the guest must see it. */
export function guestResolvConf(text: string): string {
  return text.replaceAll(EMBEDDED_DNS, RESOLVER_ADDRESS);
}

export async function takeOver(netnsPath: string, network: GuestNetwork): Promise<void> {
  await inNamespace(netnsPath, ["/bin/sh", "-c", hostScript(network)]);
}

async function inNamespace(netnsPath: string, argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(["/usr/bin/nsenter", `--net=${netnsPath}`, "--", ...argv]);
  if (code !== 0) throw internal(`cannot lead the sandbox' network into the microVM: ${stderr.trim()}`);
  return stdout;
}
