export type { BridgeSettings } from "./define.ts";
export { hostNameServers } from "./files.ts";
export { GUEST_DNS } from "./ruleset.ts";
export { openNetworks, type NetworkHosts, type NetworkOptions } from "./service.ts";
export type * from "./types.ts";
