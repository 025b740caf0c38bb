import { PodNet } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import type { ClusterSettings } from "./settings.ts";

/** The Pods' bridge. Made before anything listens on its address. */
export function podNetworkService(context: DaemonContext, settings: ClusterSettings): Service<PodNet> {
  return {
    name: "pod-network",
    dependsOn: [],
    async start() {
      const network = new PodNet({ ...context, log: context.log.with({ service: "pod-network" }) });
      await network.setPodCidr(settings.podCidr);
      return { value: network };
    },
  };
}
