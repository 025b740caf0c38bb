import { kernelName } from "../../base/index.ts";
import { choosePool, resolvePool, type AddressPool } from "./ipam.ts";
import { BRIDGE_NAME, HOST_BINDING } from "./options.ts";
import { parseSubnet, subnetText, type Subnet } from "./subnet.ts";
import type { IpamPool, Network, NetworkDriver, NetworkSpec, ResolvedPool } from "./types.ts";

/** The default bridge, as far as the daemon's configuration says. */
export interface BridgeSettings {
  /** The gateway's address with its prefix length: `bip`. */
  readonly address?: string;
  readonly mtu?: number;
  /** `ip`: where it publishes ports that name no address. */
  readonly hostBinding?: string;
  /** Whether its containers reach each other; true when not said. */
  readonly icc?: boolean;
  /** `ip-masq`; true when not said. */
  readonly masquerade?: boolean;
}

export interface Surroundings {
  readonly instance: string;
  readonly id: string;
  readonly nowMs: number;
  /** Pools of our other networks: never to be overlapped. */
  readonly ours: readonly Subnet[];
  /** What the host reaches: avoided by pools that we choose, allowed to those that the user names. */
  readonly host: () => readonly Subnet[];
  /** From the daemon's configuration; none: Docker's defaults. */
  readonly addressPools?: readonly AddressPool[];
  /** The default bridge's address (`bip`, with prefix length) and MTU, where the configuration says them. */
  readonly bridge?: BridgeSettings;
}

export const MTU_OPTION = "com.docker.network.driver.mtu";
const DEFAULT_MTU = 1500;

/** The network that a (checked) request means. Throws conflict and invalidArgument for its pools, resourceExhausted when none is left. */
export function defineNetwork(spec: NetworkSpec, driver: NetworkDriver, around: Surroundings): Network {
  const { id, instance } = around;
  const enableIPv4 = spec.enableIPv4 !== false;
  const enableIPv6 = spec.enableIPv6 === true;
  const linkName = kernelName(instance, id.slice(0, 6));
  return {
    id,
    name: spec.name,
    createdMs: around.nowMs,
    driver,
    internal: spec.internal === true,
    attachable: spec.attachable === true,
    enableIPv4,
    enableIPv6,
    pools: [...(enableIPv4 ? pools(spec, 4, around) : []), ...(enableIPv6 ? pools(spec, 6, around) : [])],
    ipamDriver: spec.ipam?.driver || "default",
    ipamOptions: spec.ipam?.options ?? {},
    options: spec.options ?? {},
    labels: spec.labels ?? {},
    linkName: linkOf(spec, driver) ?? linkName,
    ...(spec.configFrom && { configFrom: spec.configFrom }),
    predefined: false,
  };
}

/** A configuration that networks may be made from: only its name and what is asked for counts. */
export function defineTemplate(spec: NetworkSpec, around: Surroundings): Network {
  const named = { name: spec.name, options: spec.options, labels: spec.labels, enableIPv4: false };
  const { enableIPv4 = true, enableIPv6 = false, ipam = {} } = spec;
  const network = defineNetwork(named, "null", around);
  return {
    ...network,
    linkName: "",
    enableIPv4,
    enableIPv6,
    ipamDriver: ipam.driver || "default",
    ipamOptions: ipam.options ?? {},
    template: spec,
  };
}

/** The link on the host, where the user names it. */
function linkOf({ options }: NetworkSpec, driver: NetworkDriver): string | undefined {
  return driver === "bridge" ? options?.[BRIDGE_NAME] : options?.["parent"];
}

function pools(spec: NetworkSpec, family: 4 | 6, around: Surroundings): ResolvedPool[] {
  const familyOf = (address: string | undefined) => (address?.includes(":") ? 6 : 4);
  const asked = spec.ipam?.config ?? [];
  const named = asked.filter((pool) => pool.subnet && familyOf(pool.subnet) === family);
  if (named.length > 0) return named.map((pool) => resolvePool(pool, pool.subnet!, around.ours));
  const loose: IpamPool = asked.find((pool) => !pool.subnet && familyOf(pool.gateway) === family) ?? {};
  return [
    resolvePool(
      loose,
      choosePool(family, around.id, [...around.ours, ...around.host()], around.addressPools),
      around.ours,
    ),
  ];
}

/** The networks that exist always. */
export function definePredefined(name: "bridge" | "host" | "none", around: Surroundings): Network {
  const driver = name === "none" ? "null" : name;
  const isBridge = driver === "bridge";
  const linkName = isBridge ? kernelName(around.instance, "br0") : "";
  const { address } = around.bridge ?? {};
  const ipam = isBridge && address ? { config: [bridgePool(address)] } : undefined;
  const network = defineNetwork({ name, enableIPv4: isBridge, ipam }, driver, around);
  // Docker shows IPv4 as enabled on host and none too, though they have no pools.
  return {
    ...network,
    enableIPv4: true,
    predefined: true,
    linkName,
    options: isBridge ? bridgeOptions(linkName, around.bridge) : {},
  };
}

/** `172.30.0.1/24`: the gateway, and by its prefix the subnet. Throws invalidArgument. */
function bridgePool(address: string): IpamPool {
  return { subnet: subnetText(parseSubnet(address)), gateway: address.replace(/\/.*$/, "") };
}

function bridgeOptions(linkName: string, settings: BridgeSettings = {}): Record<string, string> {
  return {
    "com.docker.network.bridge.default_bridge": "true",
    ...bridgeRules(settings),
    [BRIDGE_NAME]: linkName,
    [MTU_OPTION]: String(settings.mtu ?? DEFAULT_MTU),
  };
}

/** What the rules of the default bridge are made by. */
export function bridgeRules(settings: BridgeSettings): Record<string, string> {
  return {
    "com.docker.network.bridge.enable_icc": String(settings.icc ?? true),
    "com.docker.network.bridge.enable_ip_masquerade": String(settings.masquerade ?? true),
    [HOST_BINDING]: settings.hostBinding ?? "0.0.0.0",
  };
}

export function poolSubnets(networks: Iterable<Network>): Subnet[] {
  return [...networks].flatMap((network) => network.pools.map((pool) => parseSubnet(pool.subnet)));
}
