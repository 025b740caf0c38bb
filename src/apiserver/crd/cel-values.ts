import type { Environment } from "@marcbachmann/cel-js";
import ipaddr from "ipaddr.js";
import { isIPv4, isIPv6 } from "node:net";

/** Addresses, networks, URLs and versions of Kubernetes' CEL library (https://kubernetes.io/docs/reference/using-api/cel/). */
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

class Url {
  readonly url: URL;
  /** As it was written: JavaScript leaves out a scheme's own port. */
  readonly host: string;
  constructor(text: string) {
    this.url = new URL(text);
    this.host = /^[^:]+:\/\/(?:[^/?#@]*@)?([^/?#]*)/.exec(text)?.[1] ?? "";
  }
  query(): Map<string, string[]> {
    const all = new Map<string, string[]>();
    for (const [key, value] of this.url.searchParams) all.set(key, [...(all.get(key) ?? []), value]);
    return all;
  }
}

const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-.]+))?(?:\+[0-9A-Za-z-.]+)?$/;

class Semver {
  readonly parts: readonly bigint[];
  readonly preRelease: readonly string[];
  constructor(text: string) {
    const found = SEMVER.exec(text);
    if (!found) throw new Error(`${JSON.stringify(text)} is not a semantic version`);
    this.parts = found.slice(1, 4).map(BigInt);
    this.preRelease = found[4]?.split(".") ?? [];
  }
  /** https://semver.org/#spec-item-11 */
  compare(other: Semver): bigint {
    for (const [at, part] of this.parts.entries())
      if (part !== other.parts[at]) return part < other.parts[at]! ? -1n : 1n;
    if (this.preRelease.length === 0 || other.preRelease.length === 0)
      return BigInt(Math.sign(other.preRelease.length - this.preRelease.length));
    for (const [at, word] of this.preRelease.entries()) {
      const theirs = other.preRelease[at];
      if (theirs === undefined) return 1n;
      if (word !== theirs) return comparePreRelease(word, theirs);
    }
    return this.preRelease.length < other.preRelease.length ? -1n : 0n;
  }
}

function comparePreRelease(a: string, b: string): bigint {
  const [isNumber, isTheirs] = [/^\d+$/.test(a), /^\d+$/.test(b)];
  if (isNumber && isTheirs) return BigInt(a) < BigInt(b) ? -1n : 1n;
  if (isNumber !== isTheirs) return isNumber ? -1n : 1n;
  return a < b ? -1n : 1n;
}

function can(make: () => unknown): boolean {
  try {
    make();
    return true;
  } catch {
    return false;
  }
}

/** Adds them. */
export function addValueLibraries(environment: Environment): Environment {
  return environment
    .registerType("net.IP", Ip)
    .registerType("net.CIDR", Cidr)
    .registerType("kubernetes.URL", Url)
    .registerType("kubernetes.Semver", Semver)
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
    .registerFunction("net.CIDR.prefixLength(): int", (cidr: Cidr) => BigInt(cidr.length))
    .registerFunction("url(string): kubernetes.URL", (text: string) => new Url(text))
    .registerFunction("isURL(string): bool", (text: string) => URL.canParse(text))
    .registerFunction("kubernetes.URL.getScheme(): string", ({ url }: Url) => url.protocol.slice(0, -1))
    .registerFunction("kubernetes.URL.getHost(): string", ({ host }: Url) => host)
    .registerFunction("kubernetes.URL.getHostname(): string", ({ url }: Url) => url.hostname.replace(/^\[|\]$/g, ""))
    .registerFunction("kubernetes.URL.getPort(): string", ({ host }: Url) => /:(\d+)$/.exec(host)?.[1] ?? "")
    .registerFunction("kubernetes.URL.getEscapedPath(): string", ({ url }: Url) => url.pathname)
    .registerFunction("kubernetes.URL.getQuery(): map", (url: Url) => url.query())
    .registerFunction("semver(string): kubernetes.Semver", (text: string) => new Semver(text))
    .registerFunction("isSemver(string): bool", (text: string) => SEMVER.test(text))
    .registerFunction("kubernetes.Semver.major(): int", ({ parts }: Semver) => parts[0])
    .registerFunction("kubernetes.Semver.minor(): int", ({ parts }: Semver) => parts[1])
    .registerFunction("kubernetes.Semver.patch(): int", ({ parts }: Semver) => parts[2])
    .registerFunction("kubernetes.Semver.compareTo(kubernetes.Semver): int", (a: Semver, b: Semver) => a.compare(b))
    .registerFunction(
      "kubernetes.Semver.isLessThan(kubernetes.Semver): bool",
      (a: Semver, b: Semver) => a.compare(b) < 0n,
    )
    .registerFunction(
      "kubernetes.Semver.isGreaterThan(kubernetes.Semver): bool",
      (a: Semver, b: Semver) => a.compare(b) > 0n,
    );
}
