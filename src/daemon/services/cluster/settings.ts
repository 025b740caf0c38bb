/** What a cluster on one machine has unless told otherwise; upstream's usual ranges. */
export interface ClusterSettings {
  readonly serviceCidr: string;
  readonly nodePorts: readonly [first: number, last: number];
  /** Of this node's Pods. */
  readonly podCidr: string;
  /** From which Services of type LoadBalancer get their addresses. */
  readonly loadBalancerCidr: string;
  readonly domain: string;
  readonly dnsIp: string;
  /** This node's address on the Pod network, at which Pods reach the API server. */
  readonly gateway: string;
  readonly nodeName: string;
}

/**
 * Instances side by side must not overlap: each takes its second byte from its name. 10.96.0.0/12 is upstream's Service range, 10.244.0.0/16 the
 * usual Pod range; the default instance has just these.
 */
export function clusterSettings(instance: string, tag: string): ClusterSettings {
  const offset = instance === "default" ? 0 : 1 + (Number.parseInt(tag, 16) % 9);
  const service = 96 + offset;
  const pod = instance === "default" ? 244 : 200 + (Number.parseInt(tag, 16) % 44);
  return {
    serviceCidr: `10.${service}.0.0/16`,
    nodePorts: [30_000, 32_767],
    podCidr: `10.${pod}.0.0/24`,
    loadBalancerCidr: `10.${pod}.255.0/24`,
    domain: "cluster.local",
    dnsIp: `10.${service}.0.10`,
    gateway: `10.${pod}.0.1`,
    nodeName: instance === "default" ? "berth" : `berth-${instance}`,
  };
}
