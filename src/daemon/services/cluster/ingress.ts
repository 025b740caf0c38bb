import type { Cluster } from "../../../apiserver/index.ts";
import { createEventRecorder, type InformerFactory } from "../../../client/index.ts";
import { IngressController } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import type { ClusterSettings } from "./settings.ts";

/** HTTP and HTTPS for the cluster's Ingresses. */
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
      return {
        value: controller,
        stop: async () => {
          await controller.close();
          stop.abort();
        },
      };
    },
  };
}
