import { resources, type InformerFactory } from "../../../client/index.ts";
import { NetworkPolicies, type PolicyPod } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import type { ClusterSettings } from "./settings.ts";

/** NetworkPolicies as kernel rules. They stay when the daemon stops, as the Pods do. */
export function networkPoliciesService(
  context: DaemonContext,
  informers: Service<InformerFactory>,
  settings: ClusterSettings,
): Service<NetworkPolicies> {
  return {
    name: "network-policies",
    dependsOn: [informers],
    async start(use) {
      const factory = use(informers);
      const stop = new AbortController();
      const sources = {
        policies: factory.for(resources.networkPolicies),
        pods: factory.for(resources.pods),
        namespaces: factory.for(resources.namespaces),
      };
      factory.start(stop.signal);
      await Promise.all(Object.values(sources).map((informer) => informer.whenSynced()));
      const policies = new NetworkPolicies(
        { ...context, log: context.log.with({ service: "network-policies" }) },
        { ...sources, nodeName: settings.nodeName, furtherPeers: [clusterDnsPeer(settings.dnsIp)] },
      );
      await policies.start();
      return {
        value: policies,
        stop: async () => {
          await policies.close();
          stop.abort();
        },
      };
    },
  };
}

/** Policies that allow DNS name the Pods of CoreDNS; here the daemon answers on the DNS Service's address. */
export function clusterDnsPeer(address: string): PolicyPod {
  return {
    namespace: "kube-system",
    labels: { "k8s-app": "kube-dns" },
    ips: [address],
    ports: [
      { name: "dns", protocol: "udp", port: 53 },
      { name: "dns-tcp", protocol: "tcp", port: 53 },
    ],
    local: false,
  };
}
