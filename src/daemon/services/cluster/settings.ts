import type { Ranges } from "./ranges.ts";

/** What a cluster on one machine has unless told otherwise; upstream's usual ranges. */
export interface ClusterSettings {
  readonly serviceCidr: string;
  readonly nodePorts: readonly [first: number, last: number];
  /** Of this node's Pods. */
  readonly podCidr: string;
  /** From which Services of type LoadBalancer get their addresses. */
  readonly loadBalancerCidr: string;
  /** Of this node, for Ingresses: beside the range of Services, so that none can get it. */
  readonly ingressIp: string;
  readonly domain: string;
  readonly dnsIp: string;
  /** This node's address on the Pod network, at which Pods reach the API server. */
  readonly gateway: string;
  readonly nodeName: string;
}

export function clusterSettings(instance: string, { service, pod }: Ranges): ClusterSettings {
  return {
    serviceCidr: service === "10.96.0" ? "10.96.0.0/16" : `${service}.0/20`,
    nodePorts: [30_000, 32_767],
    podCidr: `${pod}.0.0/24`,
    loadBalancerCidr: `${pod}.255.0/24`,
    ingressIp: `${pod}.254.1`,
    domain: "cluster.local",
    dnsIp: `${service}.10`,
    gateway: `${pod}.0.1`,
    nodeName: instance === "default" ? "berth" : `berth-${instance}`,
  };
}
