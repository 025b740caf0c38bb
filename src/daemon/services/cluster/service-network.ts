import { resources, type InformerFactory } from "../../../client/index.ts";
import { hostNameServers } from "../../../engine/index.ts";
import { ClusterDns, podRanges, serviceOfSlice, ServiceProxy, SLICES_BY_SERVICE } from "../../../node/index.ts";
import type { Cluster } from "../../../apiserver/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import { localhostClashReporter } from "./localhost-clashes.ts";
import { virtualCidrs, type ClusterSettings } from "./settings.ts";

/** Services as kernel rules. They stay when the daemon stops, as the Pods do. */
export function serviceProxyService(
  context: DaemonContext,
  api: Service<Cluster>,
  informers: Service<InformerFactory>,
  settings: ClusterSettings,
): Service<ServiceProxy> {
  return {
    name: "service-proxy",
    dependsOn: [api, informers],
    async start(use) {
      const factory = use(informers);
      const services = factory.for(resources.services);
      const slices = factory.for(resources.endpointSlices);
      slices.addIndex(SLICES_BY_SERVICE, serviceOfSlice);
      const stop = new AbortController();
      factory.start(stop.signal);
      await Promise.all([services.whenSynced(), slices.whenSynced()]);
      const proxy = new ServiceProxy(
        { ...context, log: context.log.with({ service: "service-proxy" }) },
        {
          services,
          slices,
          nodeName: settings.nodeName,
          ranges: virtualCidrs(settings),
          podRanges: podRanges(settings.ranges),
          nodes: factory.for(resources.nodes),
          loadBalancerOnLocalhost: true,
          onLocalhostClash: localhostClashReporter(context, use(api).client, factory),
          servedHere: new Set([settings.dnsIp]),
        },
      );
      await proxy.start();
      return {
        value: proxy,
        stop: async () => {
          await proxy.close();
          stop.abort();
        },
      };
    },
  };
}

/** The cluster's names, on the cluster's DNS address. */
export function clusterDnsService(
  context: DaemonContext,
  informers: Service<InformerFactory>,
  settings: ClusterSettings,
): Service<ClusterDns> {
  return {
    name: "cluster-dns",
    dependsOn: [informers],
    async start(use) {
      const factory = use(informers);
      const services = factory.for(resources.services);
      const slices = factory.for(resources.endpointSlices);
      const stop = new AbortController();
      const dns = new ClusterDns(
        { ...context, log: context.log.with({ service: "cluster-dns" }) },
        {
          domain: settings.domain,
          services,
          slices,
          upstream: hostNameServers,
          ...(context.config.stubDomains && { stubDomains: context.config.stubDomains }),
        },
      );
      factory.start(stop.signal);
      await Promise.all([services.whenSynced(), slices.whenSynced()]);
      await dns.listen(settings.dnsIp);
      return {
        value: dns,
        stop: async () => {
          await dns.close();
          stop.abort();
        },
      };
    },
  };
}
