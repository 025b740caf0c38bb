export { Kubelet, type KubeletOptions } from "./kubelet.ts";
export type { KubeletApi, KubeletHost, MachineFacts } from "./kubelet-api.ts";
