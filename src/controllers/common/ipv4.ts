/** A range of IPv4 addresses: its first one as a number, and how many there are. */
export interface Ipv4Range {
  readonly first: number;
  readonly size: number;
}

/** Undefined for anything but an IPv4 CIDR. */
export function ipv4Range(cidr: string): Ipv4Range | undefined {
  const [base = "", prefix] = cidr.split("/");
  const first = ipv4Number(base);
  const bits = Number(prefix);
  if (first === undefined || prefix === undefined || !(bits >= 0 && bits <= 32)) return undefined;
  const size = 2 ** (32 - bits);
  return { first: first - (first % size), size };
}

export function ipv4Number(ip: string): number | undefined {
  const parts = ip.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) return undefined;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}

export const ipv4Text = (value: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");

export const ipv4Contains = ({ first, size }: Ipv4Range, ip: number): boolean => ip >= first && ip < first + size;
