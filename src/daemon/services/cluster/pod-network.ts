import type { PodNetwork } from "../../../engine/index.ts";
import { clusterCidrs, CniNetwork, overlayLink, PodNet } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import { virtualCidrs, type ClusterSettings } from "./settings.ts";

/**
 * The network of Pods: berth's own, or CNI plugins' where the configuration names some. The node's address on the Pod range is made in either case,
 * before anything listens on it.
 */
export function podNetworkService(context: DaemonContext, settings: ClusterSettings): Service<PodNetwork> {
  return {
    name: "pod-network",
    dependsOn: [],
    async start() {
      const ctx = { ...context, log: context.log.with({ service: "pod-network" }) };
      const own = new PodNet(ctx, {
        clusterCidrs: clusterCidrs(settings.ranges),
        overlay: overlayLink(context.instance),
        virtualCidrs: virtualCidrs(settings),
      });
      await own.setPodCidr(settings.podCidr);
      if (!context.config.cni) return { value: own };
      const plugins = new CniNetwork(ctx, context.config.cni);
      await plugins.open();
      return { value: plugins };
    },
  };
}
