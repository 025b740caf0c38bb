import type { Endpoint, Sandbox } from "./types.ts";

/** Which endpoint of each family gives the default route: the highest priority, then the network's name (libnetwork's order). */
export function gatewayEndpoints(sandbox: Pick<Sandbox, "endpoints">): {
  four: Endpoint | undefined;
  six: Endpoint | undefined;
} {
  const order = [...sandbox.endpoints].sort(
    (one, other) =>
      (other.spec.gwPriority ?? 0) - (one.spec.gwPriority ?? 0) || (one.networkName < other.networkName ? -1 : 1),
  );
  return {
    four: order.find((endpoint) => endpoint.ipv4Gateway !== ""),
    six: order.find((endpoint) => endpoint.ipv6Gateway !== ""),
  };
}

/** Where published ports lead. */
export interface PortTarget {
  /** The addresses that the sandbox is reached by from outside; empty where it has none. */
  readonly ipv4Address: string;
  readonly ipv6Address: string;
  /** Its network is routed: the ports are open at those addresses, and not led to from the host's. */
  readonly routed4?: boolean;
  readonly routed6?: boolean;
}

/** Every family that the sandbox has is routed. */
export function isRouted({ ipv4Address, ipv6Address, routed4, routed6 }: PortTarget): boolean {
  return (
    (ipv4Address !== "" || ipv6Address !== "") && (ipv4Address === "" || !!routed4) && (ipv6Address === "" || !!routed6)
  );
}

export function portTarget(sandbox: Pick<Sandbox, "endpoints">): PortTarget {
  const { four, six } = gatewayEndpoints(sandbox);
  return {
    ipv4Address: four?.ipv4Address ?? "",
    ipv6Address: six?.ipv6Address ?? "",
    routed4: four?.routed4 ?? false,
    routed6: six?.routed6 ?? false,
  };
}
