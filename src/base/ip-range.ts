import ipaddr from "ipaddr.js";
import { invalidArgument } from "./errors.ts";

export type IpFamily = "IPv4" | "IPv6";

/** The family of an address; undefined for what is none. */
export function ipFamilyOf(address: string): IpFamily | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(address)) return "IPv4";
  return ipaddr.IPv6.isValid(address) ? "IPv6" : undefined;
}

/** The one way to write an address (RFC 5952), by which it can be compared. What is no address stays as it is. */
export function canonicalIp(address: string): string {
  return ipFamilyOf(address) === "IPv6" ? ipaddr.IPv6.parse(address).toRFC5952String() : address;
}

/** The addresses of a CIDR, by their place in it. */
export class IpRange {
  readonly cidr: string;
  readonly family: IpFamily;
  readonly size: bigint;
  readonly #first: bigint;
  readonly #bytes: 4 | 16;

  /** Throws invalidArgument. */
  constructor(cidr: string) {
    const [address = "", bits = ""] = cidr.split("/");
    const family = ipFamilyOf(address);
    this.#bytes = family === "IPv6" ? 16 : 4;
    if (!family || !/^\d{1,3}$/.test(bits) || Number(bits) > this.#bytes * 8)
      throw invalidArgument(`${JSON.stringify(cidr)} is no range of addresses, such as 10.96.0.0/16 or fd00:96::/112`);
    this.family = family;
    this.size = 1n << BigInt(this.#bytes * 8 - Number(bits));
    this.#first = (toNumber(address) / this.size) * this.size;
    this.cidr = `${this.at(0n)}/${bits}`;
  }

  at(offset: bigint | number): string {
    const digits = (this.#first + BigInt(offset)).toString(16).padStart(this.#bytes * 2, "0");
    const address = ipaddr.fromByteArray([...Buffer.from(digits, "hex")]);
    return address.kind() === "ipv6" ? (address as ipaddr.IPv6).toRFC5952String() : address.toString();
  }

  /** Undefined for an address outside of it. */
  offsetOf(address: string): bigint | undefined {
    if (ipFamilyOf(address) !== this.family) return undefined;
    const offset = toNumber(address) - this.#first;
    return offset >= 0n && offset < this.size ? offset : undefined;
  }

  /** How many can be handed out: not the range's own address, and not IPv4's last, which is for broadcasts. They begin with offset 1. */
  get usable(): bigint {
    return this.size - (this.family === "IPv4" ? 2n : 1n);
  }
}

function toNumber(address: string): bigint {
  return BigInt(`0x${Buffer.from(ipaddr.parse(address).toByteArray()).toString("hex")}`);
}
