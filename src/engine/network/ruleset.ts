import { EMBEDDED_DNS } from "./files.ts";
import {
  nftAddress,
  nftInterface,
  nftKey,
  nftPort,
  nftProtocol,
  type NftChange,
  type NftElement,
} from "../../host/index.ts";
import { gatewayMode } from "./options.ts";
import { numberAddress, parseSubnet } from "./subnet.ts";
import type { PortTarget } from "./routes.ts";
import type { Network, PublishedPort } from "./types.ts";

/**
 * The instance's nftables table. It never changes after it is loaded: networks and ports are elements of its sets.
 *
 *   bridges    our bridges                     routed     bridges whose containers may reach beyond the machine (not internal)
 *   same       (bridge, the same bridge)       subnets4/6 addresses that are masqueraded on their way out
 *   direct4/6  subnets of routed networks, whose addresses the rest of the world knows; open4/6: the ports published there
 *   ports…     published ports: to the address and port of a container; …at: on one address of the host only
 *
 * Connections to ::1 are left to the relay (relay.ts): IPv6 has no route_localnet, so they could not be led to another link.
 *
 * What reaches a container: its own network, what it has asked for, and published ports. Nothing else, whatever the host's routes are.
 */
export function ruleset(table: string): string {
  return `table inet ${table} {
}
delete table inet ${table}
table inet ${table} {
	set bridges {
		type ifname
	}
	set routed {
		type ifname
	}
	set same {
		type ifname . ifname
	}
	set subnets4 {
		type ipv4_addr
		flags interval
	}
	set subnets6 {
		type ipv6_addr
		flags interval
	}
	set direct4 {
		type ipv4_addr
		flags interval
	}
	set direct6 {
		type ipv6_addr
		flags interval
	}
	set open4 {
		type ipv4_addr . inet_proto . inet_service
	}
	set open6 {
		type ipv6_addr . inet_proto . inet_service
	}
	map ports4 {
		type inet_proto . inet_service : ipv4_addr . inet_service
	}
	map ports4at {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
	}
	map ports6 {
		type inet_proto . inet_service : ipv6_addr . inet_service
	}
	map ports6at {
		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
	}

	chain published {
		dnat ip to ip daddr . meta l4proto . th dport map @ports4at
		dnat ip to meta l4proto . th dport map @ports4
		ip6 daddr ::1 return
		dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6at
		dnat ip6 to meta l4proto . th dport map @ports6
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		fib daddr type local jump published
	}
	chain output {
		type nat hook output priority -100; policy accept;
		fib daddr type local jump published
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname @bridges ip saddr 127.0.0.0/8 masquerade
		oifname @bridges ct status dnat ip saddr @subnets4 masquerade
		oifname @bridges ct status dnat ip6 saddr @subnets6 masquerade
		oifname != @bridges ip saddr @subnets4 masquerade
		oifname != @bridges ip6 saddr @subnets6 masquerade
	}
	chain spoofed {
		type filter hook prerouting priority -300; policy accept;
		iifname @bridges ip daddr 127.0.0.0/8 drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname != @bridges oifname != @bridges accept
		ct state established,related accept
		iifname . oifname @same accept
		iifname @bridges iifname != @routed drop
		oifname @bridges oifname != @routed drop
		ct status dnat accept
		ip daddr . meta l4proto . th dport @open4 accept
		ip6 daddr . meta l4proto . th dport @open6 accept
		ip daddr @direct4 meta l4proto icmp accept
		ip6 daddr @direct6 meta l4proto icmpv6 accept
		oifname @bridges drop
	}
}
`;
}

/** What a bridge network contributes to the sets. */
export function networkElements(op: NftChange["op"], network: Network): NftChange[] {
  const bridge = { key: nftInterface(network.linkName) };
  const masquerade = network.options["com.docker.network.bridge.enable_ip_masquerade"] !== "false" && !network.internal;
  const isRouted = (family: 4 | 6) => gatewayMode(network, family) === "routed";
  const direct = (family: 4 | 6) =>
    isRouted(family)
      ? network.pools.filter((pool) => pool.family === family).flatMap((pool) => interval(pool.subnet))
      : [];
  const subnets = (family: 4 | 6) =>
    masquerade && !isRouted(family)
      ? network.pools.filter((pool) => pool.family === family).flatMap((pool) => interval(pool.subnet))
      : [];
  return [
    { op, set: "bridges", elements: [bridge] },
    { op, set: "routed", elements: network.internal ? [] : [bridge] },
    { op, set: "same", elements: [{ key: nftKey(bridge.key, bridge.key) }] },
    { op, set: "subnets4", elements: subnets(4) },
    { op, set: "subnets6", elements: subnets(6) },
    { op, set: "direct4", elements: direct(4) },
    { op, set: "direct6", elements: direct(6) },
  ];
}

/** Start, and end exclusive, as interval sets want them. */
function interval(cidr: string): NftElement[] {
  const { first, last, family } = parseSubnet(cidr);
  return [
    { key: nftAddress(numberAddress(first, family)) },
    { key: nftAddress(numberAddress(last + 1n, family)), intervalEnd: true },
  ];
}

/** The map elements that lead published ports to a container's addresses (either may be empty). */
export function portElements(op: NftChange["op"], ports: readonly PublishedPort[], container: PortTarget): NftChange[] {
  return ports.flatMap((port) => {
    const six = port.hostAddress.includes(":");
    const target = six ? container.ipv6Address : container.ipv4Address;
    if (!target) return [];
    if (six ? container.routed6 : container.routed4) {
      const key = nftKey(nftAddress(target), nftProtocol(port.protocol), nftPort(port.containerPort));
      return [{ op, set: `open${six ? 6 : 4}`, elements: [{ key }] }];
    }
    const any = port.hostAddress === "0.0.0.0" || port.hostAddress === "::";
    const service = [nftProtocol(port.protocol), nftPort(port.hostPort)];
    const key = any ? nftKey(...service) : nftKey(nftAddress(port.hostAddress), ...service);
    const value = nftKey(nftAddress(target), nftPort(port.containerPort));
    return [{ op, set: `ports${six ? 6 : 4}${any ? "" : "at"}`, elements: [{ key, value }] }];
  });
}

/** Where a machine behind a sandbox's link asks for names: its packets come from outside of the namespace and cannot be meant for loopback. */
export const GUEST_DNS = "169.254.77.53";

/** The rules in a container's own namespace: the resolver's address and port lead to where it listens. */
export function resolverRuleset(udpPort: number, tcpPort: number): string {
  const table = "ip berth_resolver";
  return `table ${table} {
}
delete table ${table}
table ${table} {
	chain output {
		type nat hook output priority -100; policy accept;
		ip daddr ${EMBEDDED_DNS} udp dport 53 dnat to ${EMBEDDED_DNS}:${udpPort}
		ip daddr ${EMBEDDED_DNS} tcp dport 53 dnat to ${EMBEDDED_DNS}:${tcpPort}
	}
	chain guests {
		type nat hook prerouting priority -100; policy accept;
		ip daddr ${GUEST_DNS} udp dport 53 dnat to ${EMBEDDED_DNS}:${udpPort}
		ip daddr ${GUEST_DNS} tcp dport 53 dnat to ${EMBEDDED_DNS}:${tcpPort}
	}
}
`;
}
