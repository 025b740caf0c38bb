import { isIPv4 } from "node:net";
import { invalidArgument, notImplemented, permissionDenied } from "../../base/index.ts";
import type { Network, NetworkDriver, NetworkSpec } from "./types.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const MAX_NAME_LENGTH = 255;
const MACVLAN_MODES = ["private", "vepa", "bridge", "passthru"];
const IPVLAN_MODES = ["l2", "l3", "l3s"];
/** The name of the network's link on the host. */
export const BRIDGE_NAME = "com.docker.network.bridge.name";
/** Where ports are published that name no address. */
export const HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4";
const GATEWAY_MODE = /^com\.docker\.network\.bridge\.gateway_mode_ipv[46]$/;
const GATEWAY_MODES = ["nat", "nat-unprotected", "routed", "isolated"];

export type GatewayMode = "nat" | "nat-unprotected" | "routed" | "isolated";

/** How a bridge network is joined to the rest of the world, per family. */
export function gatewayMode(network: Pick<Network, "options">, family: 4 | 6): GatewayMode {
  return (network.options[`com.docker.network.bridge.gateway_mode_ipv${family}`] ?? "nat") as GatewayMode;
}

const BRIDGE_OPTION = /^com\.docker\.network\.|^com\.docker\.compose\./;
const BOOLEAN_OPTIONS = [
  "com.docker.network.bridge.enable_icc",
  "com.docker.network.bridge.enable_ip_masquerade",
  "com.docker.network.bridge.default_bridge",
];

/** The driver that a request means. Throws invalidArgument for an unknown one and notImplemented for one of Docker's that berth lacks. */
export function driverOf(spec: NetworkSpec): NetworkDriver {
  const driver = spec.driver || "bridge";
  if (driver === "bridge" || driver === "macvlan" || driver === "ipvlan") return driver;
  if (driver === "host" || driver === "null" || driver === "none") {
    throw invalidArgument(`only one instance of "${driver === "none" ? "null" : driver}" network is allowed`);
  }
  if (driver === "overlay") {
    throw notImplemented(`network driver "${driver}" is not implemented by berth`, {
      hint: "use bridge, macvlan or ipvlan",
    });
  }
  throw invalidArgument(`could not find a network driver named "${driver}"`, { hint: "berth has no network plugins" });
}

/** Throws permissionDenied, in libnetwork's words, for what a configuration network may not say. */
export function checkTemplate(spec: NetworkSpec): void {
  checkName(spec.name);
  if (spec.internal || spec.attachable)
    throw permissionDenied(
      "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.",
    );
  if (spec.configFrom) throw permissionDenied("a configuration network cannot depend on another configuration network");
}

/** Throws permissionDenied when a network made from a configuration says itself what that says. */
export function refuseOwnConfiguration({ enableIPv6, ipam = {}, labels = {}, options = {} }: NetworkSpec): void {
  const own = ipam.config?.length || Object.keys(ipam.options ?? {}).length > 0 || Object.keys(labels).length > 0;
  if (enableIPv6 || own || (ipam.driver && ipam.driver !== "default"))
    throw permissionDenied(
      "user specified configurations are not supported if the network depends on a configuration network",
    );
  if (Object.keys(options).length > 0)
    throw permissionDenied(
      "network driver options are not supported if the network depends on a configuration network",
    );
}

/** Checks name and options, so that what is written to the kernel later cannot fail for a reason the user could have been told. */
export function checkSpec(spec: NetworkSpec, driver: NetworkDriver): void {
  checkName(spec.name);
  if (spec.ipam?.driver && !["default", "null"].includes(spec.ipam.driver)) {
    throw invalidArgument(`could not find an IPAM driver named "${spec.ipam.driver}"`);
  }
  const families = spec.ipam?.config?.map((pool) => (pool.subnet?.includes(":") ? 6 : 4)) ?? [];
  if (families.includes(6) && !spec.enableIPv6) {
    throw invalidArgument("an IPv6 subnet needs an IPv6 network", { hint: "add --ipv6" });
  }
  if (spec.enableIPv4 === false && !spec.enableIPv6) {
    throw invalidArgument("IPv4 or IPv6 must be enabled");
  }
  for (const [name, value] of Object.entries(spec.options ?? {})) checkOption(driver, name, value);
  const isolated = ([4, 6] as const).some(
    (family) => gatewayMode({ options: spec.options ?? {} }, family) === "isolated",
  );
  if (isolated && !spec.internal)
    throw invalidArgument("gateway mode 'isolated' can only be used for an internal network");
}

function checkName(name: string): void {
  if (!name) throw invalidArgument("network name cannot be empty");
  if (!NAME.test(name) || name.length > MAX_NAME_LENGTH) {
    throw invalidArgument(`invalid network name: ${name}`, {
      hint: "letters, digits, _ . - and a letter or digit first",
    });
  }
}

function checkOption(driver: NetworkDriver, name: string, value: string): void {
  if (BOOLEAN_OPTIONS.includes(name) && !["true", "false", "1", "0"].includes(value)) {
    throw invalidArgument(`invalid value "${value}" for option ${name}: true or false is expected`);
  }
  if (name === "com.docker.network.driver.mtu" && !/^\d{2,5}$/.test(value)) {
    throw invalidArgument(`invalid value "${value}" for option ${name}: a number is expected`);
  }
  if (name === "macvlan_mode" && !MACVLAN_MODES.includes(value)) {
    throw invalidArgument(`unknown macvlan mode: ${value}`, { hint: `one of ${MACVLAN_MODES.join(", ")}` });
  }
  if (name === "ipvlan_mode" && !IPVLAN_MODES.includes(value)) {
    throw invalidArgument(`unknown ipvlan mode: ${value}`, { hint: `one of ${IPVLAN_MODES.join(", ")}` });
  }
  if (GATEWAY_MODE.test(name) && !GATEWAY_MODES.includes(value)) {
    throw invalidArgument(`invalid value "${value}" for option ${name}`, {
      hint: `one of ${GATEWAY_MODES.join(", ")}`,
    });
  }
  if (name === BRIDGE_NAME && !/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$/.test(value)) {
    throw invalidArgument(`invalid bridge name "${value}": at most 15 letters, digits, _ . and -`);
  }
  if (name === HOST_BINDING && !isIPv4(value)) throw invalidArgument(`invalid value "${value}" for option ${name}`);
  const own = driver === "macvlan" ? ["parent", "macvlan_mode"] : driver === "ipvlan" ? ["parent", "ipvlan_mode"] : [];
  const known = own.includes(name) || BRIDGE_OPTION.test(name);
  if (!known) throw invalidArgument(`unknown option ${name} for network driver ${driver}`);
}
