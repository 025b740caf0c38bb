import type { Cluster } from "../../../apiserver/index.ts";
import { createEventRecorder, type InformerFactory } from "../../../client/index.ts";
import { IngressController, startGateways } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import type { ClusterSettings } from "./settings.ts";

/** HTTP and HTTPS for the cluster's Ingresses and Gateways. */
export function ingressService(
  context: DaemonContext,
  api: Service<Cluster>,
  informers: Service<InformerFactory>,
  settings: ClusterSettings,
): Service<IngressController> {
  return {
    name: "ingress",
    dependsOn: [api, informers],
    async start(use) {
      const log = context.log.with({ service: "ingress" });
      const { client } = use(api);
      const stop = new AbortController();
      const controller = new IngressController(
        { ...context, log },
        {
          client,
          informers: use(informers),
          events: createEventRecorder({ ...context, client, log, component: "berth-ingress" }),
          address: settings.ingressIp,
        },
      );
      use(informers).start(stop.signal);
      await controller.start();
      const gateways = startGateways(
        { ...context, log },
        { client, informers: use(informers), addresses: settings.ingressCidr },
      );
      return {
        value: controller,
        stop: async () => {
          await Promise.all([controller.close(), (await gateways).close()]);
          stop.abort();
        },
      };
    },
  };
}
