import { BlockList, isIP } from "node:net";
import type { RegistryConfig } from "./types.ts";

export interface Endpoint {
  /** Origin and maybe a path prefix, without a slash at the end. */
  readonly base: string;
  /** Certificates aren't verified there. */
  readonly insecure: boolean;
  readonly mirror: boolean;
}

const HUB = "docker.io";
const HUB_ENDPOINT = "https://registry-1.docker.io";

/** Where `domain` is served, in the order to try: its mirrors, then itself. Plain HTTP is tried only where it is allowed. */
export function endpointsOf(domain: string, config: RegistryConfig): Endpoint[] {
  const mirrors = (config.mirrors?.[domain] ?? []).map((url) => {
    const base = url.replace(/\/+$/, "");
    return { base, insecure: isInsecure(new URL(base).host, config), mirror: true };
  });
  return [...mirrors, ...ownEndpoints(domain, config)];
}

function ownEndpoints(domain: string, config: RegistryConfig): Endpoint[] {
  if (domain === HUB) return [{ base: HUB_ENDPOINT, insecure: false, mirror: false }];
  if (!isInsecure(domain, config)) return [{ base: `https://${domain}`, insecure: false, mirror: false }];
  const secure = { base: `https://${domain}`, insecure: true, mirror: false };
  const plain = { base: `http://${domain}`, insecure: true, mirror: false };
  return isLoopback(domain) ? [plain, secure] : [secure, plain];
}

/** Docker's rule: loopback always, else what the configuration lists by host, host:port or CIDR. */
function isInsecure(host: string, config: RegistryConfig): boolean {
  if (isLoopback(host)) return true;
  const name = hostName(host);
  return (config.insecureRegistries ?? []).some((entry) => {
    if (!entry.includes("/")) return entry === host || entry === name;
    const [network, bits] = entry.split("/") as [string, string];
    const family = isIP(name);
    if (family === 0 || isIP(network) !== family) return false;
    const list = new BlockList();
    list.addSubnet(network, Number(bits), family === 4 ? "ipv4" : "ipv6");
    return list.check(name, family === 4 ? "ipv4" : "ipv6");
  });
}

function isLoopback(host: string): boolean {
  const name = hostName(host);
  return name === "localhost" || name === "::1" || (isIP(name) === 4 && name.startsWith("127."));
}

function hostName(host: string): string {
  return host.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}
