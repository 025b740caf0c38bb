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

/** Where published ports lead: the addresses that the sandbox is reached by from outside. */
export function portTarget(sandbox: Pick<Sandbox, "endpoints">): { ipv4Address: string; ipv6Address: string } {
  const { four, six } = gatewayEndpoints(sandbox);
  return { ipv4Address: four?.ipv4Address ?? "", ipv6Address: six?.ipv6Address ?? "" };
}
