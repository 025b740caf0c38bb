import { resources, type InformerFactory } from "../../../../client/index.ts";
import type { InstanceContext } from "../../../../base/index.ts";
import type { NetworkHosts } from "../../../../host/index.ts";
import { NetworkPolicies, podRanges, serviceOfSlice, ServiceProxy, SLICES_BY_SERVICE } from "../../../../node/index.ts";
import { clusterDnsPeer } from "../network-policies.ts";
import { virtualCidrs, type ClusterSettings } from "../settings.ts";

/** Kinds of which both need the first list before they start. */
export const KINDS_OF_RULES = ["services", "endpointSlices", "networkPolicies", "pods", "namespaces", "nodes"] as const;

/** Services, as rules of a node that is not the machine's own: DNS and Ingress are served there, and so is localhost. */
export function furtherServiceProxy(
  ctx: InstanceContext,
  informers: InformerFactory,
  settings: ClusterSettings,
  nodeName: string,
  { nft, sockets, conntrack }: NetworkHosts,
): ServiceProxy {
  return new ServiceProxy(ctx, {
    services: informers.for(resources.services),
    slices: informers.for(resources.endpointSlices).addIndex(SLICES_BY_SERVICE, serviceOfSlice),
    nodeName,
    ranges: virtualCidrs(settings),
    podRanges: podRanges(settings.ranges),
    nodes: informers.for(resources.nodes),
    servedElsewhere: [settings.dnsIp],
    loadBalancerOnLocalhost: false,
    servedHere: new Set([settings.dnsIp]),
    nft,
    sockets,
    conntrack,
  });
}

/** Policies, as rules of such a node. `agents`: addresses from which its Pods are probed, when these are not the node's own. */
export function furtherNetworkPolicies(
  ctx: InstanceContext,
  informers: InformerFactory,
  settings: ClusterSettings,
  nodeName: string,
  { nft }: NetworkHosts,
  agents: readonly string[],
): NetworkPolicies {
  return new NetworkPolicies(ctx, {
    policies: informers.for(resources.networkPolicies),
    pods: informers.for(resources.pods),
    namespaces: informers.for(resources.namespaces),
    nodeName,
    furtherPeers: [clusterDnsPeer(settings.dnsIp)],
    agents,
    nft,
  });
}
