import { resources } from "../../../client/index.ts";
import { CriImages, type CriRuntime, type Engine } from "../../../engine/index.ts";
import { kubeletHandler, NodeUsageSampler, overlayNode } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { JoinFile } from "../../join.ts";
import type { Service } from "../../supervisor.ts";
import { KUBELET_PORT, startAgent, type RunningAgent } from "../cluster/nodes/agent.ts";
import { LOCAL_NODE_LABEL } from "../cluster/nodes/label.ts";
import type { ClusterConnection } from "./connection.ts";
import { ReferencedObjects } from "./referenced-objects.ts";

interface Parts {
  readonly engine: Service<Engine>;
  readonly connection: Service<ClusterConnection>;
  readonly network: Service;
  readonly cri: Service<CriRuntime>;
}

/** The kubelet, and its server by which the API server reaches the node's Pods. */
export function joinedKubeletService(
  context: DaemonContext,
  { engine, connection, network, cri }: Parts,
  { node, index, settings, authority, serving }: JoinFile,
): Service<RunningAgent> {
  return {
    name: "kubelet",
    dependsOn: [engine, connection, network, cri],
    async start(use) {
      const log = context.log.with({ service: "kubelet" });
      const { node: client, informers } = use(connection);
      const runtime = use(cri);
      const { podCidrs, underlay, underlay6 } = overlayNode(settings.ranges, index);
      const parts = { client, informers, runtime, images: new CriImages(context, use(engine).images) };
      const agent = await startAgent(
        context,
        {
          ...parts,
          referenced: (pods, signal) => ({
            configMaps: new ReferencedObjects({ ...context, client, log }, resources.configMaps, pods, signal),
            secrets: new ReferencedObjects({ ...context, client, log }, resources.secrets, pods, signal),
          }),
        },
        {
          name: node,
          podCidr: podCidrs.join(),
          hostIps: [underlay, ...(underlay6 ? [underlay6] : [])],
          labels: { [LOCAL_NODE_LABEL]: String(index) },
        },
        settings,
      );
      const { ClientCertificates, listenApi } = await import("../../../apiserver/index.ts");
      const callers = new ClientCertificates([authority], context.clock);
      const usage = new NodeUsageSampler({ clock: context.clock, folder: context.dataDir });
      const handler = kubeletHandler({
        node: { name: node, runtime, usage },
        clock: context.clock,
        authenticate: (request) => callers.authenticate(request),
        findPod: (namespace, name) => agent.kubelet.findPod(namespace, name),
      });
      const tls = { ...serving, clientCa: authority };
      const listener = await listenApi(handler, { host: underlay, port: KUBELET_PORT, tls }, log);
      return {
        value: agent,
        drain: () => agent.kubelet.shutdown(),
        stop: async () => {
          await listener.close();
          await agent.stop();
        },
      };
    },
  };
}
