/** There is a chain for each number of endpoints up to this, and beyond it for powers of two. */
const EXACT_CHAINS = 32;
const LARGE_CHAINS = [128, 256, 512, 1024, 2048, 4096];
/** Clients remembered at once, for all Services with affinity together; beyond it new ones get any endpoint. */
const MAX_AFFINITY_ENTRIES = 65_536;

/**
 * From how many slots a Service with so many endpoints picks: one each, or, when there are many, a power of two in which the shares differ by a quarter at most.
 * (Chains cannot be added later: nft 1.0.6 refuses to refer to a `typeof` map that it did not make in the same transaction.)
 */
export function slotCount(endpoints: number): number {
  if (endpoints <= EXACT_CHAINS) return endpoints;
  return LARGE_CHAINS.find((count) => count >= endpoints * 4) ?? LARGE_CHAINS.at(-1)!;
}

/** The chains that pick one of `count` endpoints: at random or, sticky, the one the client had; of a Service's address or of a port of the node. */
export function pickChainName(count: number, kind: { sticky: boolean; nodePort: boolean }): string {
  return `${kind.nodePort ? "port" : "service"}-${kind.sticky ? "sticky-" : ""}${count}`;
}

/** How packets to a Service's address, or to a port of the node, are looked up. */
const serviceKey = (family: "ip" | "ip6", nodePort: boolean) =>
  `${nodePort ? "" : `${family} daddr . `}meta l4proto . th dport`;
const SERVED = "meta l4proto . th dport";
/**
 * A client of a Service. Of IPv6 it is 64 bits of hash: nft 1.0.6 gives the key of an `update` four words and fails an assertion (or lets the value overwrite
 * the key) with more.
 */
const CLIENT_KEY = {
  ip: `ip saddr . ip daddr . ${SERVED}`,
  ip6: ["0x62657274", "0x68707279"]
    .map((seed) => `jhash ip6 saddr . ip6 daddr . ${SERVED} mod 4294967295 seed ${seed}`)
    .join(" . "),
};
const FAMILIES = [
  { number: 4, ip: "ip", only: "meta nfproto ipv4" },
  { number: 6, ip: "ip6", only: "meta nfproto ipv6" },
] as const;
type Family = (typeof FAMILIES)[number];
const forFamilies = (rule: (family: Family) => string) => FAMILIES.map((family) => `\t\t${rule(family)}\n`).join("");

function pickChains(count: number): string {
  const random = `numgen random mod ${count}`;
  return [false, true]
    .map((nodePort) => {
      const prefix = nodePort ? "port-" : "";
      const pick = forFamilies(
        ({ number, ip, only }) =>
          `${only} dnat ${ip} to ${serviceKey(ip, nodePort)} . ${random} map @${prefix}endpoints${number}`,
      );
      const pickAndRemember = forFamilies(({ number, ip, only }) => {
        const key = serviceKey(ip, nodePort);
        return `${only} meta mark set ${key} . ${random} map @${prefix}slots${number} ${key} vmap @${prefix}remember${number}`;
      });
      return `	chain ${pickChainName(count, { sticky: false, nodePort })} {
${pick}	}
	chain ${pickChainName(count, { sticky: true, nodePort })} {
		jump ${prefix}known
${pickAndRemember}		goto ${prefix}remembered
	}
`;
    })
    .join("");
}

/**
 * Session affinity. `affinity` remembers for each client of a Service which endpoint it got, as a number that the packet's mark carries for the length of these
 * chains. An endpoint that has gone is in no map any more: then the entry goes too, and another one is picked. What was picked is read back: of
 * connections that begin at once the first one's pick is remembered, and holds for all.
 */
function affinityChains(nodePort: boolean): string {
  const prefix = nodePort ? "port-" : "";
  const key = ({ ip }: Family) => serviceKey(ip, nodePort);
  const recall = ({ number, ip, only }: Family) => `${only} meta mark set ${CLIENT_KEY[ip]} map @affinity${number}`;
  const translate = forFamilies(
    (family) =>
      `${family.only} dnat ${family.ip} to ${key(family)} . meta mark map @${prefix}identified${family.number}`,
  );
  return `	chain ${prefix}renew {
${forFamilies((family) => `${family.only} ${key(family)} vmap @${prefix}remember${family.number}`)}${translate}${forFamilies(
    ({ number, ip, only }) => `${only} delete @affinity${number} { ${CLIENT_KEY[ip]} : meta mark }`,
  )}	}
	chain ${prefix}known {
${forFamilies((family) => `${recall(family)} goto ${prefix}renew`)}	}
	chain ${prefix}remembered {
${forFamilies(recall)}${translate}	}
`;
}

/** The API's default for `sessionAffinityConfig.clientIP.timeoutSeconds`. */
export const DEFAULT_AFFINITY_S = 10_800;

export function rememberChainName(seconds: number): string {
  return `remember-${seconds}`;
}

function rememberChain(seconds: number): string {
  return `	chain ${rememberChainName(seconds)} {
${forFamilies(({ number, ip, only }) => `${only} update @affinity${number} { ${CLIENT_KEY[ip]} timeout ${seconds}s : meta mark }`)}	}
`;
}

/** Adds the chain for one more timeout. Loading it twice changes nothing. */
export function rememberRuleset(table: string, seconds: number): string {
  const chain = `chain inet ${table} ${rememberChainName(seconds)}`;
  return `add ${chain}\nflush ${chain}\ntable inet ${table} {\n${rememberChain(seconds)}}\n`;
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
	set restricted${family} {
		type ${type} . inet_proto . inet_service
	}
	set sources${family} {
		type ${type} . inet_proto . inet_service . ${type}
		flags interval
	}
	set cluster-ips${family} {
		type ${type}
	}
	set local-only${family} {
		type ${type} . inet_proto . inet_service
	}
	set local-only-ports${family} {
		type inet_proto . inet_service
	}
`;
}

function rangeSet(name: string, family: 4 | 6, ranges: readonly string[]): string {
  const own = ranges.filter((range) => range.includes(":") === (family === 6));
  const elements = own.length > 0 ? `\t\telements = { ${own.join(", ")} }\n` : "";
  return `	set ${name}${family} {
		type ipv${family}_addr
		flags interval
		auto-merge
${elements}	}
`;
}

function affinityMaps({ number, ip }: Family): string {
  const address = `ipv${number}_addr`;
  // Of IPv6 two words of any kind: hashes have no type that could be named, and nft cannot read back a `typeof` of them.
  const client =
    number === 4
      ? `type ${address} . ${address} . inet_proto . inet_service : mark`
      : "typeof @nh,64,32 . @nh,96,32 : meta mark";
  return `	map slots${number} {
		typeof ${ip} daddr . meta l4proto . th dport . numgen random mod 2 : meta mark
	}
	map port-slots${number} {
		typeof meta l4proto . th dport . numgen random mod 2 : meta mark
	}
	map identified${number} {
		type ${address} . inet_proto . inet_service . mark : ${address} . inet_service
	}
	map port-identified${number} {
		type inet_proto . inet_service . mark : ${address} . inet_service
	}
	map remember${number} {
		type ${address} . inet_proto . inet_service : verdict
	}
	map port-remember${number} {
		type inet_proto . inet_service : verdict
	}
	map affinity${number} {
		${client}
		flags dynamic, timeout
		timeout ${DEFAULT_AFFINITY_S}s
		size ${MAX_AFFINITY_ENTRIES}
	}
`;
}

/**
 * The service proxy's table. A packet to a Service costs two look-ups, however many Services there are: its address and port say from how many endpoints to
 * pick (which chain), and with the number picked they say which. Services and endpoints are elements; chains and rules never change. Addresses of `ranges` (those of
 * Services and load balancers) that no Service has are refused, so that they never leave the machine.
 */
export function proxyRuleset(
  table: string,
  ranges: readonly string[] = [],
  servedElsewhere: readonly string[] = [],
  pods: readonly string[] = [],
): string {
  const counts = [...Array.from({ length: EXACT_CHAINS }, (_, index) => index + 1), ...LARGE_CHAINS];
  return `table inet ${table} {
}
delete table inet ${table}
table inet ${table} {
${rangeSet("ranges", 4, ranges)}${rangeSet("ranges", 6, ranges)}${rangeSet("pods", 4, pods)}${rangeSet("pods", 6, pods)}${sets(4)}${sets(6)}${FAMILIES.map(affinityMaps).join("")}${rememberChain(DEFAULT_AFFINITY_S)}${affinityChains(false)}${affinityChains(true)}${counts.map(pickChains).join("")}	chain services {
		ip daddr . meta l4proto . th dport vmap @services4
		ip6 daddr . meta l4proto . th dport vmap @services6
		fib daddr type local meta nfproto ipv4 meta l4proto . th dport vmap @ports4
		fib daddr type local meta nfproto ipv6 meta l4proto . th dport vmap @ports6
	}
	chain source-ranges {
		type filter hook prerouting priority -110; policy accept;
		ct state != new accept
		ip daddr . meta l4proto . th dport @restricted4 ip daddr . meta l4proto . th dport . ip saddr != @sources4 drop
		ip6 daddr . meta l4proto . th dport @restricted6 ip6 daddr . meta l4proto . th dport . ip6 saddr != @sources6 drop
		ip saddr != @pods4 ip daddr . meta l4proto . th dport @local-only4 drop
		ip6 saddr != @pods6 ip6 daddr . meta l4proto . th dport @local-only6 drop
		fib daddr type local ip saddr != @pods4 meta l4proto . th dport @local-only-ports4 drop
		fib daddr type local ip6 saddr != @pods6 meta l4proto . th dport @local-only-ports6 drop
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
${servedElsewhere.map((address) => `\t\t${address.includes(":") ? "ip6" : "ip"} daddr ${address} accept\n`).join("")}		fib daddr type != local ip daddr @ranges4 goto refused
		fib daddr type != local ip6 daddr @ranges6 goto refused
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
