export { httpProxyEndpoints } from "./http-proxy/index.ts";
export { metricsEndpoints } from "./metrics.ts";
export { nodeProxyEndpoints } from "./node-proxy.ts";
export { NodeUsageSampler, type MeasuredNode } from "./node-usage.ts";
export { podConnections, type NodeRuntimes } from "./pod-connections.ts";
