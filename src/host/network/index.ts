export { networkOfHost, networkWithin, type NetworkHosts } from "./network.ts";
