import path from "node:path";
import {
  figuresElsewhere,
  figuresOf,
  httpProxyEndpoints,
  metricsEndpoints,
  nodeProxyEndpoints,
  NodeUsageSampler,
  podConnections,
} from "../../../node/index.ts";
import { instanceTag } from "../../../base/index.ts";
import type { Engine } from "../../../engine/index.ts";
import { LinuxNetlinkHost } from "../../../host/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import { apiForPodsService, apiServerService } from "./api-server.ts";
import { autoscalerService, controllersService, informersService, schedulerService } from "./control-plane.ts";
import { ingressService } from "./ingress.ts";
import { networkPoliciesService } from "./network-policies.ts";
import { runtimeClassesService } from "./runtime-classes.ts";
import type { LocalNodes } from "./nodes/local-nodes.ts";
import { Roster } from "./nodes/roster.ts";
import { localNodesService } from "./nodes/service.ts";
import { localVolumesService } from "./local-volumes.ts";
import { criService, kubeletService } from "./node.ts";
import { podNetworkService } from "./pod-network.ts";
import { clusterDnsService, serviceProxyService } from "./service-network.ts";
import { pickRanges, rememberedRanges } from "./ranges.ts";
import { simulatedNodesService } from "./simulated-nodes.ts";
import { clusterSettings } from "./settings.ts";
import { storeService } from "./store.ts";
import type { OpenRegistry } from "../registry.ts";
import type { OpenVms } from "../vm-api.ts";
import { virtualMachinesService } from "./virtual-machines.ts";

/** What makes the machine a node. */
export interface ThisMachine {
  readonly engine: Service<Engine>;
  readonly vms: Service<OpenVms>;
  readonly registry: Service<OpenRegistry>;
}

/** Kubernetes on this machine: store, API server, controllers, scheduler, and with an engine the machine as a node. */
export function composeCluster(context: DaemonContext, machine: ThisMachine | undefined): Service[] {
  const tag = instanceTag(context.instance);
  const ranges = rememberedRanges(path.join(context.dataDir, "cluster"), context.config, tag, () =>
    pickRanges(context.instance, tag, addressesInUse()),
  );
  const settings = clusterSettings(context.instance, ranges);
  // The API server hands exec and logs to the nodes, which start after it.
  let nodes: LocalNodes | undefined;
  const store = storeService(context);
  const usage = new NodeUsageSampler({ clock: context.clock, folder: context.dataDir });
  const measured = () => (nodes?.running() ?? []).map((node) => ({ ...node, usage }));
  const figures = () => [
    ...measured().map(figuresOf),
    ...(nodes?.elsewhere() ?? []).map(({ name, kubelet }) => figuresElsewhere(name, kubelet, context.clock)),
  ];
  const servedBy = (name: string) => {
    const runtime = nodes?.runtime(name);
    if (runtime) return { runtime };
    return nodes?.elsewhere().find((node) => node.name === name);
  };
  const api = apiServerService(context, store, settings, () => [
    ...podConnections(servedBy, context.clock),
    ...metricsEndpoints(figures, context.clock),
    ...nodeProxyEndpoints(measured, servedBy, context.clock),
    ...httpProxyEndpoints(context.random),
  ]);
  const informers = informersService(context, api);
  const controlPlane = [
    store,
    api,
    informers,
    controllersService(context, api, informers, settings),
    schedulerService(context, api, informers),
    autoscalerService(context, api, informers),
    ...(context.config.simulatedNodes > 0 ? [simulatedNodesService(context, api, informers)] : []),
  ];
  if (!machine) return controlPlane;
  const { engine, vms, registry } = machine;
  const network = podNetworkService(context, settings);
  const cri = criService(context, engine, network);
  const roster = new Roster(path.join(context.dataDir, "cluster"), settings.nodeName);
  const kubelet = kubeletService(context, { engine, cri, api, informers }, settings, roster);
  const localNodes = localNodesService(
    context,
    { engine, api, informers, kubelet, vms, registry, network },
    settings,
    roster,
  );
  const remembered: Service<LocalNodes> = {
    ...localNodes,
    start: async (use, signal) => {
      const started = await localNodes.start(use, signal);
      nodes = started.value;
      return started;
    },
  };
  return [
    ...controlPlane,
    network,
    apiForPodsService(api, network, settings),
    serviceProxyService(context, api, informers, settings),
    networkPoliciesService(context, informers, settings),
    ingressService(context, api, informers, settings),
    clusterDnsService(context, informers, settings),
    localVolumesService(context, api, informers, settings, roster),
    runtimeClassesService(api, engine),
    cri,
    kubelet,
    remembered,
    virtualMachinesService(context, { api, informers, engine, nodes: remembered, vms }, settings),
  ];
}

function addressesInUse(): string[] {
  using netlink = new LinuxNetlinkHost().open();
  return netlink.addresses().map(({ address }) => address);
}
