import { nftAddress, nftKey, nftPort, nftProtocol, type NftChange, type Transport } from "../../host/index.ts";

/** A port of the node that leads to a Pod, as a sandbox's configuration has it. */
export interface PortMapping {
  readonly protocol: string;
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp?: string;
}

/** One element of the ruleset's maps. */
export interface HostPort {
  readonly protocol: Transport;
  readonly port: number;
  /** Of the node; any of it when left out. */
  readonly hostIp?: string;
  readonly target: string;
  readonly targetPort: number;
}

/** What a Pod's port mappings ask for: each in the families that the Pod and the host's address have. Pure. */
export function hostPortsOf(ips: readonly string[], mappings: readonly PortMapping[] = []): HostPort[] {
  return mappings.flatMap(({ protocol, containerPort, hostPort, hostIp }) => {
    const everywhere = !hostIp || hostIp === "0.0.0.0" || hostIp === "::";
    return ips
      .filter((ip) => everywhere || ip.includes(":") === hostIp.includes(":"))
      .map((target) => ({
        protocol: protocol.toLowerCase() as Transport,
        port: hostPort,
        ...(everywhere ? {} : { hostIp }),
        target,
        targetPort: containerPort,
      }));
  });
}

/** The changes of the ruleset's maps that open or close them. */
export function hostPortChanges(op: NftChange["op"], ports: readonly HostPort[]): NftChange[] {
  // Who could be turned back stays in its set: another Pod with that address has the same need, or none.
  return ports.flatMap(({ protocol, port, hostIp, target, targetPort }) => {
    const family = target.includes(":") ? 6 : 4;
    const parts = [nftProtocol(protocol), nftPort(port)];
    const value = nftKey(nftAddress(target), nftPort(targetPort));
    return [
      hostIp === undefined
        ? { op, set: `host-ports${family}`, elements: [{ key: nftKey(...parts), value }] }
        : { op, set: `host-addresses${family}`, elements: [{ key: nftKey(nftAddress(hostIp), ...parts), value }] },
      ...(op === "add" ? [turned(op, family, target)] : []),
    ];
  });
}

/** A Pod may reach itself through its own port of the node. */
function turned(op: NftChange["op"], family: 4 | 6, target: string): NftChange {
  return { op, set: `turned${family}`, elements: [{ key: nftKey(nftAddress(target), nftAddress(target)) }] };
}
