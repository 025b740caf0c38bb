import path from "node:path";
import type { cri } from "../../../api/index.ts";
import type { Cluster } from "../../../apiserver/index.ts";
import type { InformerFactory } from "../../../client/index.ts";
import { CriImages, CriRuntime, listenCri, type CriDeps, type Engine, type PodNetwork } from "../../../engine/index.ts";
import { kubeletConfiguration, StreamingServer } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import { AgentSwitch } from "./nodes/agent-switch.ts";
import { startAgent } from "./nodes/agent.ts";
import type { Roster } from "./nodes/roster.ts";
import type { ClusterSettings } from "./settings.ts";

/** The engine as the container runtime of one of the instance's nodes. */
export function criRuntime(
  context: DaemonContext,
  { core, images, snapshots, isolations }: Engine,
  network: PodNetwork,
  node?: CriDeps["node"],
): CriRuntime {
  return new CriRuntime({
    context: { ...context, log: context.log.with({ service: "cri" }) },
    core,
    images,
    snapshots,
    network,
    isolations: new Map([["", isolations.get("process")!], ...[...isolations].filter(([name]) => name !== "process")]),
    ...(node && { node }),
  });
}

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
      const { images, recovered } = use(engine);
      const runtime = criRuntime(context, use(engine), use(network));
      await runtime.recover(recovered);
      const socket = await listenCri(
        path.join(context.runtimeDir, "cri.sock"),
        runtime,
        new CriImages(context, images),
        new StreamingServer({ runtime, clock: context.clock, random: context.random }),
        context.log.with({ service: "cri" }),
      );
      return { value: runtime, stop: () => socket.close() };
    },
  };
}

/** Another container runtime, where the kubelet's settings name its socket. Its code is loaded only then: gRPC costs memory. */
async function remoteRuntime(
  context: DaemonContext,
): Promise<{ runtime: cri.RuntimeService; images: cri.ImageService } | undefined> {
  const { containerRuntimeEndpoint, imageServiceEndpoint } = kubeletConfiguration(context.config.kubelet);
  if (containerRuntimeEndpoint === undefined) return undefined;
  const { RemoteImages, RemoteRuntime } = await import("../../../node/remote-runtime/index.ts");
  return {
    runtime: new RemoteRuntime(containerRuntimeEndpoint, context.clock),
    images: new RemoteImages(imageServiceEndpoint ?? containerRuntimeEndpoint, context.clock),
  };
}

/** This machine as a node of the cluster; left switched off where its user has said so. */
export function kubeletService(
  context: DaemonContext,
  parts: {
    engine: Service<Engine>;
    cri: Service<CriRuntime>;
    api: Service<Cluster>;
    informers: Service<InformerFactory>;
  },
  settings: ClusterSettings,
  roster: Roster,
): Service<AgentSwitch> {
  const { engine, cri, api, informers } = parts;
  return {
    name: "kubelet",
    dependsOn: [engine, cri, api, informers],
    async start(use) {
      const own = { runtime: use(cri), images: new CriImages(context, use(engine).images) };
      const used = (await remoteRuntime(context)) ?? own;
      const agentParts = { client: use(api).client, informers: use(informers), ...used };
      const identity = { name: settings.nodeName, podCidr: settings.podCidr };
      const agent = new AgentSwitch(used.runtime, () => startAgent(context, agentParts, identity, settings));
      if (!roster.find(settings.nodeName)?.stopped) await agent.on();
      return { value: agent, drain: () => agent.drain(), stop: () => agent.off() };
    },
  };
}
