import { resources, type InformerFactory } from "../../../client/index.ts";
import { networkOfHost } from "../../../host/index.ts";
import { clusterCidrs, Overlay, overlayNode, PodNet } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { JoinFile } from "../../join.ts";
import type { Service } from "../../supervisor.ts";
import { LOCAL_NODE_LABEL } from "../cluster/nodes/label.ts";
import { furtherNetworkPolicies, furtherServiceProxy, KINDS_OF_RULES } from "../cluster/nodes/node-rules.ts";
import { virtualCidrs } from "../cluster/settings.ts";
import type { ClusterConnection } from "./connection.ts";

/** Pods' network, the way to other nodes' Pods, Services and policies, in the namespace that this daemon is in. */
export function joinedNetworkService(
  context: DaemonContext,
  connection: Service<ClusterConnection>,
  { node, index, overlayId, settings }: JoinFile,
): Service<PodNet> {
  return {
    name: "node-network",
    dependsOn: [connection],
    async start(use) {
      const { informers } = use(connection);
      const ctx = { ...context, log: context.log.with({ service: "node-network" }) };
      const hosts = networkOfHost();
      const own = overlayNode(settings.ranges, index);
      const ofTheMachine = [settings.dnsIp, settings.ingressCidr];
      const overlay = new Overlay(ctx, { id: overlayId, own, hosts, ofTheMachine });
      const podNet = new PodNet(ctx, {
        hosts,
        clusterCidrs: clusterCidrs(settings.ranges),
        overlay: overlay.link,
        virtualCidrs: virtualCidrs(settings),
      });
      await podNet.setPodCidr(own.podCidrs.join());
      overlay.open();
      await Promise.all(KINDS_OF_RULES.map((kind) => informers.for<object>(resources[kind] as never).whenSynced()));
      const proxy = furtherServiceProxy(ctx, informers, settings, node, hosts);
      const policies = furtherNetworkPolicies(ctx, informers, settings, node, hosts, []);
      await Promise.all([proxy.start(), policies.start()]);
      followPeers(informers, (peers) => overlay.setPeers(peers.map((peer) => overlayNode(settings.ranges, peer))));
      return {
        value: podNet,
        stop: async () => void (await Promise.all([proxy.close(), policies.close()])),
      };
    },
  };
}

/** Tells the numbers of the cluster's nodes, the machine's own first, at once and whenever they have changed. */
function followPeers(informers: InformerFactory, tell: (indexes: readonly number[]) => void): void {
  const nodes = informers.for(resources.nodes);
  let told = "";
  const look = () => {
    const labels = nodes.list().map(({ metadata }) => Number(metadata.labels?.[LOCAL_NODE_LABEL] ?? 1));
    const indexes = [...new Set([1, ...labels])].sort((one, other) => one - other);
    if (told === indexes.join()) return;
    told = indexes.join();
    tell(indexes);
  };
  nodes.onChange({ added: look, updated: look, deleted: look });
  look();
}
