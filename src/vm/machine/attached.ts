import { existsSync } from "node:fs";
import { readNetwork, type GuestNetwork } from "../network/index.ts";
import { makeTaps, tapName, type MachineNetwork } from "./network.ts";

/** A network namespace that somebody else made and will remove: a Pod's. */
export interface Namespace {
  readonly netnsPath: string;
  /** Name of the network in what is shown of the machine. */
  readonly network: string;
  readonly nameServers: readonly string[];
  readonly searchDomains: readonly string[];
}

/** The same, with what its card had before it became the guest's. Kept with the machine: the namespace itself does not say it any more. */
export interface AttachedNetwork extends Namespace {
  readonly guest: GuestNetwork;
}

/** Makes the namespace's card the machine's. Once for each namespace. */
export async function takeNamespace(namespace: Namespace): Promise<AttachedNetwork> {
  const guest = readNetwork(namespace.netnsPath);
  makeTaps(namespace.netnsPath, guest);
  return { ...namespace, guest };
}

/** The network of a machine that is to start. Without its namespace (its Pod is gone) it starts without one. */
export function attachedNetwork(attached: AttachedNetwork | undefined): MachineNetwork | undefined {
  return attached && existsSync(attached.netnsPath) ? machineNetwork(attached) : undefined;
}

/** Pure. */
export function machineNetwork({ guest, network, ...rest }: AttachedNetwork): MachineNetwork {
  const { netnsPath, nameServers, searchDomains } = rest;
  const links = guest.links.map((link) => ({ ...link, ipv4: link.addresses.filter((cidr) => cidr.includes(".")) }));
  return {
    netnsPath,
    taps: links.map(({ macAddress }, index) => ({ name: tapName(index), macAddress })),
    addresses: links.flatMap(({ macAddress, ipv4 }) =>
      ipv4.map((cidr) => ({ network, macAddress, ipv4Address: cidr.split("/")[0]! })),
    ),
    ports: [],
    interfaces: links.map(({ name, macAddress, mtu, ipv4 }, index) => {
      const gateway = guest.routes.find((route) => route.link === name && route.destination === "0.0.0.0/0")?.gateway;
      return {
        macAddress,
        addresses: ipv4.map((cidr) => (gateway ? withGateway(cidr, gateway) : cidr)),
        ...(gateway ? { gateway } : {}),
        ...(index === 0 ? { nameServers, searchDomains } : {}),
        ...(mtu === 1500 ? {} : { mtu }),
      };
    }),
  };
}

/**
 * A Pod's address stands alone, its gateway outside of it. Not every system can be told so: for a guest both are in one network, and the host answers
 * for the others in it.
 */
function withGateway(cidr: string, gateway: string): string {
  const address = cidr.split("/")[0]!;
  const bits = (text: string) => text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const common = Math.clz32((bits(address) ^ bits(gateway)) >>> 0);
  return `${address}/${Math.min(24, common)}`;
}
