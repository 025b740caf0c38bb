import path from "node:path";
import type { Cluster } from "../../../apiserver/index.ts";
import { createEventRecorder, Informer, resources, type InformerFactory } from "../../../client/index.ts";
import { CriImages, CriRuntime, listenCri, type Engine, type PodNetwork } from "../../../engine/index.ts";
import {
  drained,
  Kubelet,
  kubeletApi,
  kubeletConfiguration,
  kubeletHost,
  podsOfSlice,
  SLICES_BY_POD,
} from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import type { ClusterSettings } from "./settings.ts";

const KUBELET_PORT = 10_250;

/** The engine as Kubernetes' container runtime, with what ran before the restart. */
export function criService(
  context: DaemonContext,
  engine: Service<Engine>,
  network: Service<PodNetwork>,
): Service<CriRuntime> {
  return {
    name: "cri",
    dependsOn: [engine, network],
    async start(use) {
      const { core, images, snapshots, isolations, recovered } = use(engine);
      const handlers = new Map([
        ["", isolations.get("process")!],
        ...[...isolations].filter(([name]) => name !== "process"),
      ]);
      const runtime = new CriRuntime({
        context: { ...context, log: context.log.with({ service: "cri" }) },
        core,
        images,
        snapshots,
        network: use(network),
        isolations: handlers,
      });
      await runtime.recover(recovered);
      const log = context.log.with({ service: "cri" });
      const socket = await listenCri(
        path.join(context.runtimeDir, "cri.sock"),
        runtime,
        new CriImages(context, images),
        log,
      );
      return { value: runtime, stop: () => socket.close() };
    },
  };
}

/** This machine as a node of the cluster. */
export function kubeletService(
  context: DaemonContext,
  parts: {
    engine: Service<Engine>;
    cri: Service<CriRuntime>;
    api: Service<Cluster>;
    informers: Service<InformerFactory>;
  },
  settings: ClusterSettings,
): Service<Kubelet> {
  const { engine, cri, api, informers } = parts;
  return {
    name: "kubelet",
    dependsOn: [engine, cri, api, informers],
    async start(use) {
      const { nodeName, podCidr, domain, dnsIp } = settings;
      const evictionHard = process.env["BERTH_EVICTION_HARD"];
      const configuration = kubeletConfiguration({
        ...context.config.kubelet,
        ...(evictionHard === undefined ? {} : { evictionHard }),
      });
      const log = context.log.with({ service: "kubelet" });
      const client = use(api).client.as(
        { name: `system:node:${nodeName}`, groups: ["system:nodes", "system:authenticated"] },
        "kubelet/v1.34.2 berth",
      );
      const stop = new AbortController();
      const factory = use(informers);
      // Its own: only this node's Pods. The rest it shares with everybody in the process.
      const pods = new Informer({ ...context, client, log }, resources.pods, {
        fieldSelector: `spec.nodeName=${nodeName}`,
      });
      const shared = {
        nodes: factory.for(resources.nodes),
        services: factory.for(resources.services),
        configMaps: factory.for(resources.configMaps),
        secrets: factory.for(resources.secrets),
      };
      const slices = factory.for(resources.endpointSlices).addIndex(SLICES_BY_POD, podsOfSlice);
      factory.start(stop.signal);
      void pods.run(stop.signal);
      await Promise.all([pods, ...Object.values(shared)].map((informer) => informer.whenSynced()));
      const recorder = createEventRecorder({ ...context, client, log, component: "kubelet", host: nodeName });
      const kubelet = new Kubelet({
        api: kubeletApi({ client, recorder, nodeName, pods, ...shared }),
        host: kubeletHost(),
        runtime: use(cri),
        images: new CriImages(context, use(engine).images),
        clock: context.clock,
        log,
        nodeName,
        podCidr,
        dns: { clusterDomain: domain, clusterDns: [dnsIp], resolvConf: "/etc/resolv.conf" },
        dataDir: path.join(context.dataDir, "kubelet"),
        runtimeDir: path.join(context.runtimeDir, "kubelet"),
        kubeletPort: KUBELET_PORT,
        configuration,
        portWaitMs: context.config.kubeletPortWaitMs,
        drained: (pod) => drained(slices, context.clock, pod, context.config.kubeletDrainWaitMs),
      });
      await kubelet.start();
      return {
        value: kubelet,
        drain: () => kubelet.shutdown(),
        stop: async () => {
          await kubelet.stop();
          stop.abort();
        },
      };
    },
  };
}
