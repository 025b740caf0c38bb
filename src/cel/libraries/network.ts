import type { Environment } from "@marcbachmann/cel-js";
import ipaddr from "ipaddr.js";
import { isIPv4, isIPv6 } from "node:net";

import { can } from "./can.ts";

type Address = ipaddr.IPv4 | ipaddr.IPv6;

class Ip {
  readonly address: Address;
  constructor(text: string) {
    // As Go's netip: no zones, no addresses of the one family in the form of the other.
    const isPlain = isIPv4(text) || (isIPv6(text) && !/%|^::ffff:.*\./i.test(text));
    if (!isPlain) throw new Error(`IP Address ${JSON.stringify(text)} parse error`);
    this.address = ipaddr.parse(text);
  }
  get isV4(): boolean {
    return this.address.kind() === "ipv4";
  }
  is(...ranges: readonly string[]): boolean {
    return ranges.includes(this.address.range());
  }
  get isMulticastOfLink(): boolean {
    const text = this.address.toString();
    return this.isV4 ? text.startsWith("224.0.0.") : /^ff[0-9a-f]2:/.test(text);
  }
  toString(): string {
    return this.isV4 ? this.address.toString() : (this.address as ipaddr.IPv6).toRFC5952String();
  }
}

/** Whether an address is written as everybody writes it. Throws for what is no address. */
export const ipIsCanonical = (text: string): boolean => new Ip(text).toString() === text;

class Cidr {
  readonly ip: Ip;
  readonly length: number;
  constructor(text: string) {
    const [, address = "", length = ""] = /^(.+)\/(\d{1,3})$/.exec(text) ?? [];
    this.ip = new Ip(address);
    this.length = Number(length);
    if (this.length > (this.ip.isV4 ? 32 : 128))
      throw new Error(`network address parse error: ${JSON.stringify(text)}`);
  }
  holds({ address, isV4 }: Ip): boolean {
    return isV4 === this.ip.isV4 && (address as ipaddr.IPv4).match(this.ip.address as ipaddr.IPv4, this.length);
  }
  holdsNetwork(other: Cidr): boolean {
    return other.length >= this.length && this.holds(other.ip);
  }
  masked(): Cidr {
    const kind = this.ip.isV4 ? ipaddr.IPv4 : ipaddr.IPv6;
    return new Cidr(`${kind.networkAddressFromCIDR(this.toString()).toString()}/${this.length}`);
  }
  toString(): string {
    return `${this.ip.toString()}/${this.length}`;
  }
}

/** https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-ip-address-library */
export function addNetwork(environment: Environment): Environment {
  return environment
    .registerType("net.IP", Ip)
    .registerType("net.CIDR", Cidr)
    .registerOperator("net.IP == net.IP", (a: Ip, b: Ip) => a.toString() === b.toString())
    .registerOperator("net.CIDR == net.CIDR", (a: Cidr, b: Cidr) => a.toString() === b.toString())
    .registerFunction("ip(string): net.IP", (text: string) => new Ip(text))
    .registerFunction("isIP(string): bool", (text: string) => can(() => new Ip(text)))
    .registerFunction("string(net.IP): string", (ip: Ip) => ip.toString())
    .registerFunction("net.IP.family(): int", (ip: Ip) => (ip.isV4 ? 4n : 6n))
    .registerFunction("net.IP.isLoopback(): bool", (ip: Ip) => ip.is("loopback"))
    .registerFunction(
      "net.IP.isUnspecified(): bool",
      (ip: Ip) => ip.is("unspecified") && /^(0\.0\.0\.0|::)$/.test(ip.toString()),
    )
    .registerFunction("net.IP.isLinkLocalUnicast(): bool", (ip: Ip) => ip.is("linkLocal"))
    .registerFunction("net.IP.isLinkLocalMulticast(): bool", (ip: Ip) => ip.isMulticastOfLink)
    .registerFunction(
      "net.IP.isGlobalUnicast(): bool",
      (ip: Ip) => !ip.is("loopback", "linkLocal", "multicast", "broadcast") && !/^(0\.0\.0\.0|::)$/.test(ip.toString()),
    )
    .registerFunction("cidr(string): net.CIDR", (text: string) => new Cidr(text))
    .registerFunction("isCIDR(string): bool", (text: string) => can(() => new Cidr(text)))
    .registerFunction("string(net.CIDR): string", (cidr: Cidr) => cidr.toString())
    .registerFunction("net.CIDR.containsIP(string): bool", (cidr: Cidr, ip: string) => cidr.holds(new Ip(ip)))
    .registerFunction("net.CIDR.containsIP(net.IP): bool", (cidr: Cidr, ip: Ip) => cidr.holds(ip))
    .registerFunction("net.CIDR.containsCIDR(string): bool", (a: Cidr, b: string) => a.holdsNetwork(new Cidr(b)))
    .registerFunction("net.CIDR.containsCIDR(net.CIDR): bool", (a: Cidr, b: Cidr) => a.holdsNetwork(b))
    .registerFunction("net.CIDR.ip(): net.IP", (cidr: Cidr) => cidr.ip)
    .registerFunction("net.CIDR.masked(): net.CIDR", (cidr: Cidr) => cidr.masked())
    .registerFunction("net.CIDR.prefixLength(): int", (cidr: Cidr) => BigInt(cidr.length));
}
