import type { IpRange } from "../../../base/index.ts";
import type { Said } from "./plan.ts";
import type { Gateway } from "./types.ts";

/** The first addresses of the range are somebody else's: the Ingress listener has one of them. */
const FIRST_OFFSET = 2n;

/** By `namespace/name`: the address of each Gateway, or why it has none. */
export interface Assigned {
  readonly addresses: ReadonlyMap<string, string>;
  /** The condition that says what it asks for and cannot have. */
  readonly problems: ReadonlyMap<string, Said>;
}

/**
 * An address of the range for each Gateway: the one it asks for (`spec.addresses`), the one it has, or any. Pure. Who asks for an address comes before who
 * takes any, and of two who want the same one the first keeps it.
 */
export function assignAddresses(
  gateways: readonly (Gateway & { readonly key: string })[],
  before: ReadonlyMap<string, string>,
  range: IpRange,
): Assigned {
  const addresses = new Map<string, string>();
  const problems = new Map<string, Said>();
  const taken = new Set<string>();
  const give = (key: string, address: string) => {
    addresses.set(key, address);
    taken.add(address);
  };
  const usable = (address: string) => (range.offsetOf(address) ?? 0n) >= FIRST_OFFSET && !taken.has(address);
  const had = ({ key, status }: (typeof gateways)[number]) => before.get(key) ?? status?.addresses?.[0]?.value ?? "";
  const asking = gateways.filter(({ spec }) => spec?.addresses?.length);
  // Who has its address already comes first.
  for (const one of asking.toSorted((a, b) => Number(wish(b) === had(b)) - Number(wish(a) === had(a)))) {
    const problem = unsupported(one);
    const address = wish(one);
    if (problem) problems.set(one.key, problem);
    else if (address && usable(address)) give(one.key, address);
    else if (address) problems.set(one.key, notUsable(address, range));
  }
  const others = gateways.filter(({ key }) => !addresses.has(key) && !problems.has(key));
  for (const one of others) if (usable(had(one))) give(one.key, had(one));
  for (const { key } of others) {
    for (let offset = FIRST_OFFSET; offset <= range.usable && !addresses.has(key); offset++)
      if (usable(range.at(offset))) give(key, range.at(offset));
    if (!addresses.has(key)) problems.set(key, notAssigned(range));
  }
  return { addresses, problems };
}

function wish({ spec }: Gateway): string | undefined {
  return spec?.addresses?.[0]?.value;
}

function unsupported({ spec }: Gateway): Said | undefined {
  const asked = spec?.addresses ?? [];
  const refuse = (message: string): Said => ({
    type: "Accepted",
    status: "False",
    reason: "UnsupportedAddress",
    message,
  });
  const other = asked.find(({ type = "IPAddress" }) => type !== "IPAddress");
  if (other) return refuse(`an address of type ${other.type} cannot be had here: IPAddress can`);
  return asked.length > 1 ? refuse("a Gateway has one address here") : undefined;
}

function notUsable(address: string, range: IpRange): Said {
  const message = `${address} is not a free address of ${range.cidr}`;
  return { type: "Programmed", status: "False", reason: "AddressNotUsable", message };
}

function notAssigned(range: IpRange): Said {
  const message = `no address of ${range.cidr} is left`;
  return { type: "Programmed", status: "False", reason: "AddressNotAssigned", message };
}
