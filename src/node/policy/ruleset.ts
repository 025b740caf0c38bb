import type { PolicyElement, PolicyPlan, PolicySet } from "./plan.ts";

/**
 * The table as text, in one transaction that replaces what was there. Only connections that begin are looked at; a Pod that no policy selects costs one look-up
 * in each direction. Egress is checked also for what the node itself answers (DNS, the API server); what the node sends to its Pods (probes) is not checked.
 */
export function policyRuleset(table: string, plan: PolicyPlan, agents: readonly string[] = []): string {
  const sets = [...plan.sets].map(([name, set]) => setText(name, set)).join("");
  const chains = [...plan.chains].map(([name, rules]) => chainText(name, rules)).join("");
  return `table inet ${table} {
}
delete table inet ${table}
table inet ${table} {
${sets}	chain denied {
		reject with icmpx admin-prohibited
	}
${chains}	chain egress-check {
		ct state != new accept
		ip saddr . ip daddr @self4 accept
		ip6 saddr . ip6 daddr @self6 accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
		ip saddr vmap @egress4
		ip6 saddr vmap @egress6
	}
	chain egress-forward {
		type filter hook forward priority -10; policy accept;
		jump egress-check
	}
	chain egress-input {
		type filter hook input priority -10; policy accept;
		jump egress-check
	}
	chain ingress-forward {
		type filter hook forward priority -9; policy accept;
		ct state != new accept
${agents.map(agentRule).join("")}		ip saddr . ip daddr @self4 accept
		ip6 saddr . ip6 daddr @self6 accept
		ip daddr vmap @ingress4
		ip6 daddr vmap @ingress6
	}
}
`;
}

function agentRule(address: string): string {
  return `\t\t${address.includes(":") ? "ip6" : "ip"} saddr ${address} accept\n`;
}

/** What of a plan needs a new table when it changes: everything but elements. */
export function structureOf(plan: PolicyPlan): string {
  return JSON.stringify([[...plan.chains], [...plan.sets].map(([name, { type, family }]) => [name, type, family])]);
}

function chainText(name: string, rules: readonly string[]): string {
  return `	chain ${name} {\n${rules.map((rule) => `\t\t${rule}\n`).join("")}	}\n`;
}

function setText(name: string, { type, family, elements }: PolicySet): string {
  const address = family === 4 ? "ipv4_addr" : "ipv6_addr";
  const types = {
    address,
    pair: `${address} . ${address}`,
    "address-port": `${address} . inet_proto . inet_service`,
    verdict: `${address} : verdict`,
  };
  const content = elements.length > 0 ? `\t\telements = { ${elements.map(elementText).join(", ")} }\n` : "";
  return `	${type === "verdict" ? "map" : "set"} ${name} {\n\t\ttype ${types[type]}\n${content}	}\n`;
}

export function elementText(element: PolicyElement): string {
  const { address, second, protocol, port, chain } = element;
  if (chain !== undefined) return `${address} : goto ${chain}`;
  return [address, second, protocol, port].filter((part) => part !== undefined).join(" . ");
}
