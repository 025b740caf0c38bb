import { overlayNode, type ClusterRanges } from "../../../node/index.ts";
import { mainServiceCidr, type Ranges } from "./ranges.ts";

/** What a cluster on one machine has unless told otherwise; upstream's usual ranges. */
export interface ClusterSettings {
  /** With a second one of the other family behind a comma, where the cluster has both; so are the next two. */
  readonly serviceCidr: string;
  readonly nodePorts: readonly [first: number, last: number];
  /** Of this node's Pods. */
  readonly podCidr: string;
  /** From which Services of type LoadBalancer get their addresses. */
  readonly loadBalancerCidr: string;
  /** Of this node, for Ingresses: beside the range of Services, so that none can get it. */
  readonly ingressIp: string;
  /** Where that address is from; the others are for Gateways. */
  readonly ingressCidr: string;
  readonly domain: string;
  readonly dnsIp: string;
  /** This node's address on the Pod network, at which Pods reach the API server. */
  readonly gateway: string;
  readonly nodeName: string;
  /** Where the ranges of all its local nodes begin. */
  readonly ranges: ClusterRanges;
}

export function clusterSettings(instance: string, known: Ranges): ClusterSettings {
  const { service, pod, pod6, serviceCidr6 } = known;
  const machine = overlayNode({ pod, ...(pod6 && { pod6 }) }, 1);
  return {
    serviceCidr: [mainServiceCidr(known), ...(serviceCidr6 ? [serviceCidr6] : [])].join(),
    nodePorts: [30_000, 32_767],
    podCidr: machine.podCidrs.join(),
    loadBalancerCidr: [`${pod}.255.0/24`, ...(pod6 ? [`${pod6}:fffe::/112`] : [])].join(),
    ingressIp: `${pod}.254.1`,
    ingressCidr: `${pod}.254.0/24`,
    domain: "cluster.local",
    dnsIp: `${service}.10`,
    gateway: machine.gateways[0]!,
    nodeName: instance === "default" ? "berth" : `berth-${instance}`,
    ranges: { pod, ...(pod6 && { pod6 }) },
  };
}

/** Where Services answer; each of one family. */
export function virtualCidrs({ serviceCidr, loadBalancerCidr }: ClusterSettings): string[] {
  return [serviceCidr, loadBalancerCidr].flatMap((cidrs) => cidrs.split(","));
}
