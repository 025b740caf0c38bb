export { openNetworks, type NetworkHosts, type NetworkOptions } from "./service.ts";
export type * from "./types.ts";
