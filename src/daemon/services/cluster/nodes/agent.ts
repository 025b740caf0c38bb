import path from "node:path";
import type { cri, k8s } from "../../../../api/index.ts";
import {
  createEventRecorder,
  Informer,
  resources,
  type InformerFactory,
  type KubeClient,
} from "../../../../client/index.ts";
import {
  drained,
  Kubelet,
  kubeletApi,
  kubeletConfiguration,
  kubeletHost,
  podsOfSlice,
  SLICES_BY_POD,
  type ReferencedCopies,
} from "../../../../node/index.ts";
import type { DaemonContext } from "../../../context.ts";
import type { ClusterSettings } from "../settings.ts";

/** Upstream's. Nobody listens there for nodes in the API server's process. */
export const KUBELET_PORT = 10_250;

/** What a node's kubelet works with. */
export interface AgentParts {
  readonly client: KubeClient;
  readonly informers: InformerFactory;
  readonly runtime: cri.RuntimeService;
  readonly images: cri.ImageService;
  /** Copies of what Pods refer to, for a client that may not read all; the shared informers when left out. */
  readonly referenced?: (pods: Informer<k8s.Pod>, signal: AbortSignal) => ReferencedCopies;
}

/** Which node it is. */
export interface AgentIdentity {
  readonly name: string;
  readonly podCidr: string;
  /** Of its folders, below the instance's; the machine's own node has none. */
  readonly tag?: string;
  /** The machine's own when left out. */
  readonly hostIps?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
}

export interface RunningAgent {
  readonly kubelet: Kubelet;
  /** Its Pods keep running. */
  stop(): Promise<void>;
}

/** Starts the kubelet of one of this instance's nodes. Resolves when the node is Ready. */
export async function startAgent(
  context: DaemonContext,
  { client: admin, informers, runtime, images, referenced }: AgentParts,
  { name: nodeName, podCidr, tag, hostIps, labels }: AgentIdentity,
  { domain, dnsIp }: ClusterSettings,
): Promise<RunningAgent> {
  const log = context.log.with({ service: "kubelet", ...(tag && { node: nodeName }) });
  const client = admin.as(
    { name: `system:node:${nodeName}`, groups: ["system:nodes", "system:authenticated"] },
    "kubelet/v1.34.2 berth",
  );
  const stop = new AbortController();
  // Its own: only this node's Pods. The rest it shares with everybody in the process.
  const pods = new Informer({ ...context, client, log }, resources.pods, {
    fieldSelector: `spec.nodeName=${nodeName}`,
  });
  const shared = {
    nodes: informers.for(resources.nodes),
    services: informers.for(resources.services),
    ...(referenced ? {} : sharedCopies(informers)),
  };
  const slices = informers.for(resources.endpointSlices).addIndex(SLICES_BY_POD, podsOfSlice);
  informers.start(stop.signal);
  void pods.run(stop.signal);
  await Promise.all([pods, ...Object.values(shared)].map((informer) => informer.whenSynced()));
  const recorder = createEventRecorder({ ...context, client, log, component: "kubelet", host: nodeName });
  const { configMaps, secrets } = referenced?.(pods, stop.signal) ?? sharedCopies(informers);
  const api = kubeletApi({ client, recorder, nodeName, pods, ...shared, configMaps, secrets });
  const folder = tag ? `kubelet-${tag}` : "kubelet";
  const kubelet = new Kubelet({
    api: {
      ...api,
      // Shared informers outlive a kubelet.
      onSourceChange: (listener) =>
        api.onSourceChange((...change) => {
          if (!stop.signal.aborted) listener(...change);
        }),
    },
    host: kubeletHost(log, hostIps && { hostname: nodeName, hostIps }),
    runtime,
    images,
    clock: context.clock,
    log,
    nodeName,
    ...(labels && { labels }),
    podCidr,
    dns: { clusterDomain: domain, clusterDns: [dnsIp], resolvConf: "/etc/resolv.conf" },
    dataDir: path.join(context.dataDir, folder),
    runtimeDir: path.join(context.runtimeDir, folder),
    kubeletPort: KUBELET_PORT,
    configuration: configurationOf(context, tag === undefined),
    portWaitMs: context.config.kubeletPortWaitMs,
    drained: (pod) => drained(slices, context.clock, pod, context.config.kubeletDrainWaitMs),
  });
  await kubelet.start();
  return {
    kubelet,
    async stop() {
      await kubelet.stop();
      stop.abort();
    },
  };
}

function sharedCopies(informers: InformerFactory) {
  return { configMaps: informers.for(resources.configMaps), secrets: informers.for(resources.secrets) };
}

/** Static Pods, and another container runtime, are the machine's own. */
function configurationOf(context: DaemonContext, ofTheMachine: boolean) {
  const evictionHard = process.env["BERTH_EVICTION_HARD"];
  const { staticPodPath, staticPodURL, containerRuntimeEndpoint, imageServiceEndpoint, ...common } =
    context.config.kubelet;
  return kubeletConfiguration({
    ...common,
    ...(ofTheMachine && { staticPodPath, staticPodURL, containerRuntimeEndpoint, imageServiceEndpoint }),
    ...(evictionHard === undefined ? {} : { evictionHard }),
  });
}
