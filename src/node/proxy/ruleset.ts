/** There is a chain for each number of endpoints up to this, and beyond it for powers of two. */
const EXACT_CHAINS = 32;
const LARGE_CHAINS = [128, 256, 512, 1024, 2048, 4096];

/**
 * From how many slots a Service with so many endpoints picks: one each, or, when there are many, a power of two in which the shares differ by a quarter at most.
 * (Chains cannot be added later: nft 1.0.6 refuses to refer to a `typeof` map that it did not make in the same transaction.)
 */
export function slotCount(endpoints: number): number {
  if (endpoints <= EXACT_CHAINS) return endpoints;
  return LARGE_CHAINS.find((count) => count >= endpoints * 4) ?? LARGE_CHAINS.at(-1)!;
}

/** The chains that pick one of `count` endpoints: at random or, sticky, by the client's address; of a Service's address or of a port of the node. */
export function pickChainName(count: number, kind: { sticky: boolean; nodePort: boolean }): string {
  return `${kind.nodePort ? "port" : "service"}-${kind.sticky ? "sticky-" : ""}${count}`;
}

function pickChains(count: number): string {
  const chain = (sticky: boolean, nodePort: boolean) => {
    const pick = (family: "ip" | "ip6") =>
      sticky ? `jhash ${family} saddr mod ${count} seed 0x6265727468` : `numgen random mod ${count}`;
    const key = (family: "ip" | "ip6") =>
      `${nodePort ? "" : `${family} daddr . `}meta l4proto . th dport . ${pick(family)}`;
    const map = nodePort ? "port-endpoints" : "endpoints";
    return `	chain ${pickChainName(count, { sticky, nodePort })} {
		meta nfproto ipv4 dnat ip to ${key("ip")} map @${map}4
		meta nfproto ipv6 dnat ip6 to ${key("ip6")} map @${map}6
	}
`;
  };
  return chain(false, false) + chain(true, false) + chain(false, true) + chain(true, true);
}

function sets(family: 4 | 6): string {
  const [type, ip] = family === 4 ? ["ipv4_addr", "ip"] : ["ipv6_addr", "ip6"];
  return `	map services${family} {
		type ${type} . inet_proto . inet_service : verdict
	}
	map ports${family} {
		type inet_proto . inet_service : verdict
	}
	map endpoints${family} {
		typeof ${ip} daddr . meta l4proto . th dport . numgen random mod 2 : ${ip} daddr . th dport
	}
	map port-endpoints${family} {
		typeof meta l4proto . th dport . numgen random mod 2 : ${ip} daddr . th dport
	}
	set hairpin${family} {
		type ${type} . ${type}
	}
	set empty${family} {
		type ${type} . inet_proto . inet_service
	}
	set empty-ports${family} {
		type inet_proto . inet_service
	}
	set cluster-ips${family} {
		type ${type}
	}
`;
}

/**
 * The service proxy's table. A packet to a Service costs two look-ups, however many Services there are: its address and port say from how many endpoints to
 * pick (which chain), and with the number picked they say which. Services and endpoints are elements; chains and rules never change.
 */
export function proxyRuleset(table: string): string {
  const counts = [...Array.from({ length: EXACT_CHAINS }, (_, index) => index + 1), ...LARGE_CHAINS];
  return `table inet ${table} {
}
delete table inet ${table}
table inet ${table} {
${sets(4)}${sets(6)}${counts.map(pickChains).join("")}	chain services {
		ip daddr . meta l4proto . th dport vmap @services4
		ip6 daddr . meta l4proto . th dport vmap @services6
		fib daddr type local meta nfproto ipv4 meta l4proto . th dport vmap @ports4
		fib daddr type local meta nfproto ipv6 meta l4proto . th dport vmap @ports6
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		jump services
	}
	chain output {
		type nat hook output priority -100; policy accept;
		jump services
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		ct status dnat ip saddr . ip daddr @hairpin4 masquerade
		ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade
	}
	chain refused {
		meta l4proto tcp reject with tcp reset
		reject
	}
	chain refuse {
		ip daddr . meta l4proto . th dport @empty4 goto refused
		ip6 daddr . meta l4proto . th dport @empty6 goto refused
		ip daddr @cluster-ips4 goto refused
		ip6 daddr @cluster-ips6 goto refused
		fib daddr type local meta nfproto ipv4 meta l4proto . th dport @empty-ports4 goto refused
		fib daddr type local meta nfproto ipv6 meta l4proto . th dport @empty-ports6 goto refused
	}
	chain refuse-forward {
		type filter hook forward priority -1; policy accept;
		ct state new jump refuse
	}
	chain refuse-output {
		type filter hook output priority -1; policy accept;
		ct state new jump refuse
	}
	chain refuse-input {
		type filter hook input priority -1; policy accept;
		ct state new jump refuse
	}
}
`;
}
