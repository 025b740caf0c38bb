import type { Cluster } from "../../../apiserver/index.ts";
import { InformerFactory } from "../../../client/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import type { ClusterSettings } from "./settings.ts";
import { startControllers } from "./start-controllers.ts";

/** Informers that everything in this process shares: one copy of each resource. */
export function informersService(context: DaemonContext, api: Service<Cluster>): Service<InformerFactory> {
  return {
    name: "informers",
    dependsOn: [api],
    async start(use) {
      const factory = new InformerFactory({
        ...context,
        client: use(api).client,
        log: context.log.with({ service: "informers" }),
      });
      const stop = new AbortController();
      factory.start(stop.signal);
      return { value: factory, stop: () => stop.abort() };
    },
  };
}

/** The controller manager: every controller of controllers/. */
export function controllersService(
  context: DaemonContext,
  api: Service<Cluster>,
  informers: Service<InformerFactory>,
  settings: ClusterSettings,
): Service<void> {
  return {
    name: "controllers",
    dependsOn: [api, informers],
    async start(use) {
      const { allControllers } = await import("../../../controllers/index.ts");
      const { client, certificates, signer, legacyTokens } = use(api);
      return startControllers({
        ...context,
        client,
        log: context.log.with({ service: "controllers" }),
        informers: use(informers),
        controllers: allControllers,
        settings: {
          rootCaPem: certificates.authority.pair.cert,
          signer,
          legacyTokens,
          serviceCidr: settings.serviceCidr,
          loadBalancerCidrs: settings.loadBalancerCidr.split(","),
        },
      });
    },
  };
}

export function schedulerService(
  context: DaemonContext,
  api: Service<Cluster>,
  informers: Service<InformerFactory>,
): Service<void> {
  return {
    name: "scheduler",
    dependsOn: [api, informers],
    async start(use) {
      const { Scheduler } = await import("../../../scheduler/index.ts");
      const stop = new AbortController();
      const client = use(api).client.as(
        { name: "system:kube-scheduler", groups: ["system:authenticated"] },
        "berth-scheduler",
      );
      const scheduler = new Scheduler({
        ...context,
        client,
        informers: use(informers),
        log: context.log.with({ service: "scheduler" }),
      });
      use(informers).start(stop.signal);
      const stopped = scheduler.run(stop.signal);
      return {
        value: undefined,
        stop: async () => {
          stop.abort();
          await stopped;
        },
      };
    },
  };
}

/** On one machine asking for figures costs little: three times as often as upstream's default. */
const AUTOSCALER_SYNC_MS = 5_000;

/** HorizontalPodAutoscalers, by what metrics.k8s.io and its relatives say. */
export function autoscalerService(
  context: DaemonContext,
  api: Service<Cluster>,
  informers: Service<InformerFactory>,
): Service<void> {
  return {
    name: "autoscaler",
    dependsOn: [api, informers],
    async start(use) {
      const { apiMetrics, Autoscaler } = await import("../../../autoscaling/index.ts");
      const stop = new AbortController();
      const client = use(api).client.as(
        {
          name: "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
          groups: ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
        },
        "berth-horizontal-pod-autoscaler",
      );
      const autoscaler = new Autoscaler({
        ...context,
        client,
        informers: use(informers),
        metrics: apiMetrics(client),
        syncMs: AUTOSCALER_SYNC_MS,
        log: context.log.with({ service: "autoscaler" }),
      });
      const stopped = autoscaler.run(stop.signal);
      return {
        value: undefined,
        stop: async () => {
          stop.abort();
          await stopped;
        },
      };
    },
  };
}
