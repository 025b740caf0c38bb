import { addressBytes, addressText, parseCidr } from "../../host/index.ts";
import { invalidArgument } from "../../base/index.ts";

/** A block of addresses, as numbers. */
export interface Subnet {
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
  readonly prefixLength: number;
}

export function addressNumber(address: string): bigint {
  return BigInt(`0x${addressBytes(address).toString("hex")}`);
}

export function numberAddress(value: bigint, family: 4 | 6): string {
  return addressText(Buffer.from(value.toString(16).padStart(family === 4 ? 8 : 32, "0"), "hex"));
}

/** Host bits are cleared, as the kernel would. Throws invalidArgument. */
export function parseSubnet(cidr: string): Subnet {
  if (!cidr.includes("/")) throw invalidArgument(`invalid CIDR address: ${cidr}`);
  const { bytes, prefixLength, family } = parseCidr(cidr);
  const size = 1n << BigInt(bytes.length * 8 - prefixLength);
  const first = (BigInt(`0x${bytes.toString("hex")}`) / size) * size;
  return { family, first, last: first + size - 1n, prefixLength };
}

export function subnetText(subnet: Subnet): string {
  return `${numberAddress(subnet.first, subnet.family)}/${subnet.prefixLength}`;
}

export function overlaps(one: Subnet, other: Subnet): boolean {
  return one.family === other.family && one.first <= other.last && other.first <= one.last;
}

export function contains(subnet: Subnet, address: string): boolean {
  const family = address.includes(":") ? 6 : 4;
  const value = addressNumber(address);
  return family === subnet.family && value >= subnet.first && value <= subnet.last;
}

export function within(outer: Subnet, inner: Subnet): boolean {
  return outer.family === inner.family && inner.first >= outer.first && inner.last <= outer.last;
}
