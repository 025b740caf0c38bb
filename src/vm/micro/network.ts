import { GUEST_DNS } from "../../engine/index.ts";
import { createTap, recordNetlink } from "../../host/index.ts";
import { allowLoopbackBehind, indexOf, leadToTap, routesFor, within, type GuestNetwork } from "../network/index.ts";
import { GUEST_ADDRESS, HOST_ADDRESS } from "./agent.ts";
import { VM_UID } from "./root.ts";

/** Where the guest asks for names: led to the engine's resolver on the sandbox' loopback. */
const RESOLVER_ADDRESS = GUEST_DNS;
export const CONTROL_TAP = "ctl0";
export const CONTROL_MAC = "02:be:77:00:00:02";
/** Machines know the other end of their control link by this (init.pl). */
const CONTROL_HOST_MAC = "02:be:77:00:00:01";
/** Of a saved machine's card; whoever goes on from it gives it another. */
export const templateMac = (number: number): string => `02:be:77:00:01:${number.toString(16).padStart(2, "0")}`;
const RESOLVER_MAC = "02:be:77:00:00:53";
const EMBEDDED_DNS = "127.0.0.11";
/** The guest's first card; loopback and control link come before it. */
const FIRST_CARD = 3;
const PID_OF_INIT = 1;

export const tapOf = (index: number): string => `tap${index}`;

/**
 * Hands the sandbox' links over to the guest: behind each a bridge with a tap, addresses and hardware address left to the guest. What listens on the
 * sandbox' loopback for names is reached by an address of its own. A machine with more `cards` has taps that lead nowhere.
 */
export function takeOver(netnsPath: string, network: GuestNetwork, cards = 1): void {
  within(netnsPath, (netlink) => {
    createTap(CONTROL_TAP, VM_UID);
    const control = indexOf(netlink, CONTROL_TAP);
    netlink.addAddress(control, `${HOST_ADDRESS}/30`);
    netlink.changeLink(control, { macAddress: CONTROL_HOST_MAC, up: true });
    netlink.replaceNeighbour({ link: control, address: GUEST_ADDRESS, macAddress: CONTROL_MAC });
    netlink.changeLink(indexOf(netlink, "lo"), { up: true });
    for (let number = network.links.length; number < cards; number++) createTap(tapOf(number), VM_UID);
    const bridges = network.links.map((link, number) =>
      leadToTap(netlink, link, number, { bridgeMac: RESOLVER_MAC, tap: { name: tapOf(number), uid: VM_UID } }),
    );
    const first = network.links[0]?.addresses.find((cidr) => cidr.includes("."));
    if (first === undefined) return;
    netlink.addAddress(bridges[0]!, `${RESOLVER_ADDRESS}/32`);
    netlink.replaceRoute({ destination: `${first.split("/")[0]}/32`, link: bridges[0]! });
    allowLoopbackBehind("br0");
  });
}

/** Names, addresses, routes and resolver as requests for the guest's kernel; `cards`: how many the machine has. Pure. */
export function networkRequests(network: GuestNetwork, cards: number): Buffer[] {
  const { links } = network;
  const indices = new Map(links.map(({ name }, number) => [name, FIRST_CARD + number]));
  return recordNetlink((netlink) => {
    for (let number = links.length; number < cards; number++)
      netlink.changeLink(FIRST_CARD + number, { netnsPid: PID_OF_INIT });
    // No name is then taken by a card whose turn comes later.
    if (links.length > 1)
      links.forEach((_link, number) => netlink.changeLink(FIRST_CARD + number, { name: `card${number}` }));
    links.forEach(({ name, macAddress, mtu, addresses }, number) => {
      netlink.changeLink(FIRST_CARD + number, { name, macAddress, mtu, up: true });
      for (const cidr of addresses) netlink.addAddress(FIRST_CARD + number, cidr);
    });
    for (const route of routesFor(network, (name) => indices.get(name)!)) netlink.replaceRoute(route);
    if (!links[0]?.addresses.some((cidr) => cidr.includes("."))) return;
    netlink.replaceRoute({ destination: `${RESOLVER_ADDRESS}/32`, link: FIRST_CARD });
    netlink.replaceNeighbour({ link: FIRST_CARD, address: RESOLVER_ADDRESS, macAddress: RESOLVER_MAC });
  });
}

/** resolv.conf as the guest must see it. */
export function guestResolvConf(text: string): string {
  return text.replaceAll(EMBEDDED_DNS, RESOLVER_ADDRESS);
}
