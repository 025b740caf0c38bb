export interface PodRules {
  readonly table: string;
  /** All Pods' links begin so. */
  readonly linkPrefix: string;
  /** The node's own Pods. */
  readonly own: readonly string[];
  /** What keeps its sender's address: Pods and nodes of the whole cluster. */
  readonly cluster: readonly string[];
  /** The link to other nodes' Pods. */
  readonly overlay?: string;
}

/**
 * The Pod network's nftables table. Pods leave the cluster under the node's address and keep their own within it; connections from the host's loopback (a
 * NodePort or LoadBalancer port on localhost) come in under the node's address. What this node translates to a Pod of another one, for somebody who is no Pod of its
 * own, bears the node's address, so that the answer comes back through here. Ports of the node that lead to Pods (`hostPort`) are elements of maps. What the kernel
 * cannot put to a connection it does not translate either: a late segment of a Service's endpoint would reach the client under the Pod's own address, and be
 * answered with a reset (https://github.com/kubernetes/kubernetes/issues/74839).
 */
export function podRuleset({ table, linkPrefix, own, cluster, overlay }: PodRules): string {
  const through = overlay ? overlayRules(overlay) : "";
  return `table inet ${table} {
}
delete table inet ${table}
table inet ${table} {
${rangeSets("ranges", cluster)}${rangeSets("own", own)}${hostPortMaps(4)}${hostPortMaps(6)}	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname "${linkPrefix}*" ip saddr 127.0.0.0/8 masquerade
		oifname "${linkPrefix}*" ct status dnat ip saddr . ip daddr @turned4 masquerade
		oifname "${linkPrefix}*" ct status dnat ip6 saddr . ip6 daddr @turned6 masquerade
${through}		ip saddr @ranges4 ip daddr != @ranges4 oifname != "${linkPrefix}*" masquerade
		ip6 saddr @ranges6 ip6 daddr != @ranges6 oifname != "${linkPrefix}*" masquerade
	}
	chain host-ports {
		fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @host-addresses4
		fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @host-addresses6
		fib daddr type local meta nfproto ipv4 dnat ip to meta l4proto . th dport map @host-ports4
		fib daddr type local meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @host-ports6
	}
	chain prerouting {
		type nat hook prerouting priority -101; policy accept;
		jump host-ports
	}
	chain output {
		type nat hook output priority -101; policy accept;
		jump host-ports
	}
	chain spoofed {
		type filter hook prerouting priority -300; policy accept;
		iifname "${linkPrefix}*" ip daddr 127.0.0.0/8 drop
	}
	chain untranslated {
		type filter hook forward priority 0; policy accept;
		iifname "${linkPrefix}*" ct state invalid drop
		oifname "${linkPrefix}*" ct state invalid drop
	}
}
`;
}

function overlayRules(overlay: string): string {
  return `		oifname "${overlay}" ct status dnat ip saddr != @own4 masquerade
		oifname "${overlay}" ct status dnat ip6 saddr != @own6 masquerade
`;
}

function rangeSets(name: string, ranges: readonly string[]): string {
  return ([4, 6] as const)
    .map((family) => {
      const members = ranges.filter((cidr) => cidr.includes(":") === (family === 6)).join(", ");
      return `	set ${name}${family} {
		type ipv${family}_addr
		flags interval
		auto-merge
${members ? `\t\telements = { ${members} }\n` : ""}	}
`;
    })
    .join("");
}

/** `turned` are Pods that reach themselves through their own port of the node. */
function hostPortMaps(family: 4 | 6): string {
  const ip = family === 4 ? "ip" : "ip6";
  return `	map host-ports${family} {
		typeof meta l4proto . th dport : ${ip} daddr . th dport
	}
	map host-addresses${family} {
		typeof ${ip} daddr . meta l4proto . th dport : ${ip} daddr . th dport
	}
	set turned${family} {
		type ipv${family}_addr . ipv${family}_addr
	}
`;
}
