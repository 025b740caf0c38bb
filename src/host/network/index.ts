export { networkOfHost, networkWithin, setUpNamespace, type NetworkHosts } from "./network.ts";
