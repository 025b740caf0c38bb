export { figuresElsewhere, figuresOf } from "./figures.ts";
export { httpProxyEndpoints } from "./http-proxy/index.ts";
export { metricsEndpoints } from "./metrics.ts";
export { nodeProxyEndpoints } from "./node-proxy.ts";
export { NodeUsageSampler, type MeasuredNode } from "./node-usage.ts";
export { kubeletHandler } from "./kubelet-server.ts";
export { podConnections } from "./pod-connections.ts";
export { RemoteKubelet } from "./remote-kubelet.ts";
