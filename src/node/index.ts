export * from "./cni/index.ts";
export * from "./endpoints/index.ts";
export * from "./kubelet/index.ts";
export { DRAIN_WAIT_MS, drained, podsOfSlice, SLICES_BY_POD } from "./draining.ts";
export { kubeletHost } from "./kubelet-host.ts";
export * from "./podnet/index.ts";
export * from "./dns/index.ts";
export * from "./proxy/index.ts";
export * from "./policy/index.ts";
