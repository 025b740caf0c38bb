/**
 * The Pod network's nftables table. Pods leave the cluster under the node's address and keep their own within it; connections from the host's loopback (a
 * NodePort or LoadBalancer port on localhost) come in under the node's address.
 */
export function podRuleset(table: string, linkPrefix: string, ranges: readonly string[]): string {
  const four = ranges.filter((cidr) => !cidr.includes(":")).join(", ");
  const six = ranges.filter((cidr) => cidr.includes(":")).join(", ");
  return `table inet ${table} {
}
delete table inet ${table}
table inet ${table} {
	set ranges4 {
		type ipv4_addr
		flags interval
		auto-merge
${four ? `\t\telements = { ${four} }\n` : ""}	}
	set ranges6 {
		type ipv6_addr
		flags interval
		auto-merge
${six ? `\t\telements = { ${six} }\n` : ""}	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname "${linkPrefix}*" ip saddr 127.0.0.0/8 masquerade
		ip saddr @ranges4 ip daddr != @ranges4 oifname != "${linkPrefix}*" masquerade
		ip6 saddr @ranges6 ip6 daddr != @ranges6 oifname != "${linkPrefix}*" masquerade
	}
	chain spoofed {
		type filter hook prerouting priority -300; policy accept;
		iifname "${linkPrefix}*" ip daddr 127.0.0.0/8 drop
	}
}
`;
}
