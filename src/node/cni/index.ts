export { CniNetwork, type CniOptions } from "./cni-network.ts";
