export { kubeletApi, type ApiClientOptions, type Copies, type ReferencedCopies } from "./api-client.ts";
export { Kubelet, type KubeletOptions } from "./kubelet.ts";
export type { KubeletApi, KubeletHost, MachineFacts } from "./kubelet-api.ts";
export type { PodVolumeStats } from "./volumes/stats.ts";
export { LABELS } from "./runtime/sandbox-config.ts";
export { kubeletConfiguration, type KubeletConfiguration } from "./configuration.ts";
export { mirrored } from "./static-pods/static-pods.ts";
