import { invalidArgument, notImplemented } from "../../base/index.ts";
import type { NetworkDriver, NetworkSpec } from "./types.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const MAX_NAME_LENGTH = 255;
const MACVLAN_MODES = ["private", "vepa", "bridge", "passthru"];
const BRIDGE_OPTION = /^com\.docker\.network\.|^com\.docker\.compose\./;
const BOOLEAN_OPTIONS = [
  "com.docker.network.bridge.enable_icc",
  "com.docker.network.bridge.enable_ip_masquerade",
  "com.docker.network.bridge.default_bridge",
];

/** The driver that a request means. Throws invalidArgument for an unknown one and notImplemented for one of Docker's that berth lacks. */
export function driverOf(spec: NetworkSpec): NetworkDriver {
  const driver = spec.driver || "bridge";
  if (driver === "bridge" || driver === "macvlan") return driver;
  if (driver === "host" || driver === "null" || driver === "none") {
    throw invalidArgument(`only one instance of "${driver === "none" ? "null" : driver}" network is allowed`);
  }
  if (driver === "overlay" || driver === "ipvlan") {
    throw notImplemented(`network driver "${driver}" is not implemented by berth`, { hint: "use bridge or macvlan" });
  }
  throw invalidArgument(`could not find a network driver named "${driver}"`, { hint: "berth has no network plugins" });
}

/** Checks name and options, so that what is written to the kernel later cannot fail for a reason the user could have been told. */
export function checkSpec(spec: NetworkSpec, driver: NetworkDriver): void {
  if (!spec.name) throw invalidArgument("network name cannot be empty");
  if (!NAME.test(spec.name) || spec.name.length > MAX_NAME_LENGTH) {
    throw invalidArgument(`invalid network name: ${spec.name}`, {
      hint: "letters, digits, _ . - and a letter or digit first",
    });
  }
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
  const known =
    driver === "macvlan"
      ? ["parent", "macvlan_mode"].includes(name) || BRIDGE_OPTION.test(name)
      : BRIDGE_OPTION.test(name);
  if (!known) throw invalidArgument(`unknown option ${name} for network driver ${driver}`);
}
