export { httpProxyEndpoints } from "./http-proxy/index.ts";
export { metricsEndpoints, type MeasuredNode } from "./metrics.ts";
export { nodeProxyEndpoints } from "./node-proxy.ts";
export { NodeUsageSampler } from "./node-usage.ts";
export { podConnections, type NodeRuntimes } from "./pod-connections.ts";
