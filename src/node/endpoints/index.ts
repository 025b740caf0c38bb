export { podConnections, type NodeRuntimes } from "./pod-connections.ts";
