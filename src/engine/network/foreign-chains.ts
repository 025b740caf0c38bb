/**
 * Chains of other software, made with nft alone (firewalld, an administrator's), that drop what is forwarded. An `accept` in our table is no answer
 * to them, and changing what others load as a whole would not last: so it is said, with the rules to add.
 */

interface Verdicts {
  readonly expr: readonly Readonly<Record<string, unknown>>[];
}

export interface ForeignChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

interface Listed {
  readonly chain?: ForeignChain;
  readonly rule?: Verdicts;
}

/** Beside a verdict, what decides nothing. */
const REMARKS = new Set(["counter", "log", "comment"]);

const listed = (listing: string) => (JSON.parse(listing) as { nftables: readonly Listed[] }).nftables;

/** What `nft -j list chains` lists → the chains that forwarded packets go through, but ours and those that iptables makes (`forwarding.ts`). Pure. */
export function forwardChains(listing: string): ForeignChain[] {
  return listed(listing).flatMap(({ chain }) => {
    if (chain?.hook !== "forward" || !["inet", "ip", "ip6"].includes(chain.family)) return [];
    const isIptables = chain.family !== "inet" && chain.table === "filter";
    return chain.table.startsWith("berth") || isIptables ? [] : [chain];
  });
}

/** A warning when a chain, which `nft -j list chain` lists, drops packets of links whose names begin with `prefix`. Pure. */
export function dropWarning({ family, table, name, policy }: ForeignChain, listing: string, prefix: string) {
  const rules = listed(listing).flatMap(({ rule }) => (rule ? [rule] : []));
  const drops = policy === "drop" || isDrop(rules.at(-1));
  const missing = ["iifname", "oifname"].filter((key) => !rules.some((rule) => accepts(rule, key, prefix)));
  if (!drops || missing.length === 0) return undefined;
  const commands = missing.map((key) => `nft insert rule ${family} ${table} ${name} ${key} "${prefix}*" accept`);
  return `WARNING: chain ${name} of the nftables table ${family} ${table} drops what containers send to other machines and get from them; let it through: ${commands.join("; ")}`;
}

/** A rule that lets nothing by that has come to it. */
function isDrop(rule: Verdicts | undefined): boolean {
  const words = rule?.expr.flatMap((part) => Object.keys(part)).filter((word) => !REMARKS.has(word)) ?? [];
  return words.length === 1 && ["drop", "reject"].includes(words[0]!);
}

function accepts({ expr }: Verdicts, key: string, prefix: string): boolean {
  const isOurs = expr.some((part) => {
    const { op, left, right } = (part["match"] ?? {}) as { op?: string; left?: unknown; right?: unknown };
    return op === "==" && right === `${prefix}*` && JSON.stringify(left) === JSON.stringify({ meta: { key } });
  });
  return isOurs && expr.some((part) => "accept" in part);
}
