import type { ApiResponse, cri } from "../../api/index.ts";
import type { Endpoint } from "../../apiserver/index.ts";
import { notFound, rfc3339, unavailable, type Clock } from "../../base/index.ts";
import { LABELS, type PodVolumeStats } from "../kubelet/index.ts";
import type { ServedNodes } from "./pod-connections.ts";
import { usageOf, type FilesystemRoom, type MeasuredNode } from "./node-usage.ts";

/**
 * What a kubelet serves on its own port, behind `nodes/NAME/proxy`: /healthz, /stats/summary, /metrics (volumes), /metrics/resource and /metrics/cadvisor. Of nodes in the API
 * server's process nothing is proxied. https://kubernetes.io/docs/reference/instrumentation/node-metrics/
 */
export function nodeProxyEndpoints(
  nodes: () => readonly MeasuredNode[],
  served: ServedNodes,
  clock: Clock,
): Endpoint[] {
  return [
    {
      group: "",
      version: "v1",
      resource: "nodes",
      subresource: "proxy",
      namespaced: false,
      kind: { group: "", version: "v1", kind: "NodeProxyOptions" },
      verbs: ["get"],
      longRunning: true,
      handle: async ({ info, request }) => {
        const elsewhere = served(info.name);
        if (elsewhere && "kubelet" in elsewhere) return elsewhere.kubelet.page(request, info.tail);
        const node = nodes().find(({ name }) => name === info.name);
        if (!node) throw unavailable(`node ${info.name} has no agent to ask (it is simulated, stopped or gone)`);
        return nodePage(node, info.tail, clock);
      },
    },
  ];
}

/** One page of a kubelet's server. Throws notFound. */
export async function nodePage(node: MeasuredNode, page: string, clock: Clock): Promise<ApiResponse> {
  switch (page.replace(/\/$/, "")) {
    case "healthz":
      return reply("text/plain", "ok");
    case "stats/summary":
      return reply("application/json", JSON.stringify(await summary(node, clock)));
    case "metrics":
      return reply("text/plain; version=0.0.4", claimMetrics((await node.volumes?.()) ?? []));
    case "metrics/resource":
    case "metrics/cadvisor":
      return reply("text/plain; version=0.0.4", exposition(await node.runtime.listPodSandboxStats()));
    default:
      throw notFound(`the node has no page /${page}`, {
        hint: "healthz, stats/summary, metrics, metrics/resource, metrics/cadvisor",
      });
  }
}

function reply(type: string, text: string): ApiResponse {
  return { status: 200, headers: { "content-type": type }, body: Buffer.from(text) };
}

const time = (nanos: number) => rfc3339(Math.floor(nanos / 1e6));

/** Upstream's Summary (k8s.io/kubelet/pkg/apis/stats/v1alpha1). */
async function summary(node: MeasuredNode, clock: Clock): Promise<object> {
  const [usage, room, pods, volumes] = await Promise.all([
    usageOf(node),
    node.usage.filesystem(),
    node.runtime.listPodSandboxStats(),
    node.volumes?.() ?? [],
  ]);
  const volumesByPod = Map.groupBy(volumes, ({ podUid }) => podUid);
  const nowText = rfc3339(clock.nowMs());
  // Images, containers and Pods' folders are on one file system.
  const fs = { time: nowText, ...room };
  return {
    node: {
      nodeName: node.name,
      cpu: { time: nowText, usageNanoCores: Math.round(usage.nanoCores) },
      memory: { time: nowText, workingSetBytes: usage.memoryBytes, usageBytes: usage.memoryBytes },
      fs,
      runtime: { imageFs: fs, containerFs: fs },
    },
    pods: pods.map((pod) => ({
      ...podSummary(pod, room),
      volume: (volumesByPod.get(pod.attributes.metadata.uid) ?? []).map(volumeSummary),
    })),
  };
}

function podSummary(
  { attributes, cpu, memory, network, process, containers }: cri.PodSandboxStats,
  { capacityBytes, availableBytes, inodes, inodesFree }: FilesystemRoom,
): object {
  const room = { capacityBytes, availableBytes, inodes, inodesFree };
  const sum = (read: (usage: cri.FilesystemUsage) => number) =>
    containers.reduce((total, { writableLayer }) => total + read(writableLayer), 0);
  const { name, namespace, uid } = attributes.metadata;
  return {
    podRef: { name, namespace, uid },
    cpu: cpuSummary(cpu),
    memory: memorySummary(memory),
    network: {
      time: time(network.timestamp),
      ...network.defaultInterface,
      interfaces: network.interfaces,
    },
    "ephemeral-storage": {
      time: time(cpu.timestamp),
      ...room,
      usedBytes: sum(({ usedBytes }) => usedBytes),
      inodesUsed: sum(({ inodesUsed }) => inodesUsed),
    },
    process_stats: { process_count: process.processCount },
    containers: containers.map((container) => ({
      name: container.attributes.metadata.name,
      cpu: cpuSummary(container.cpu),
      memory: memorySummary(container.memory),
      rootfs: {
        time: time(container.writableLayer.timestamp),
        ...room,
        usedBytes: container.writableLayer.usedBytes,
        inodesUsed: container.writableLayer.inodesUsed,
      },
    })),
  };
}

function volumeSummary({ name, claim, measuredAtMs, usage }: PodVolumeStats): object {
  return { time: rfc3339(measuredAtMs), ...usage, name, ...(claim && { pvcRef: claim }) };
}

function cpuSummary({ timestamp, usageNanoCores, usageCoreNanoSeconds }: cri.CpuUsage): object {
  return { time: time(timestamp), usageNanoCores, usageCoreNanoSeconds };
}

function memorySummary({ timestamp, ...figures }: cri.MemoryUsage): object {
  return { time: time(timestamp), ...figures };
}

const VOLUME_METRICS = {
  capacity_bytes: "capacityBytes",
  available_bytes: "availableBytes",
  used_bytes: "usedBytes",
  inodes: "inodes",
  inodes_free: "inodesFree",
  inodes_used: "inodesUsed",
} as const;

/** Prometheus' text of how full claims are, under the kubelet's names. A claim that several Pods have is told of once. */
function claimMetrics(volumes: readonly PodVolumeStats[]): string {
  const byClaim = new Map(volumes.flatMap(({ claim, usage }) => (claim ? [[labelsOf(claim), usage] as const] : [])));
  const families = Object.entries(VOLUME_METRICS).map(([name, field]) => [
    `# TYPE kubelet_volume_stats_${name} gauge`,
    ...[...byClaim].flatMap(([labels, { [field]: figure }]) =>
      figure === undefined ? [] : [`kubelet_volume_stats_${name}{${labels}} ${figure}`],
    ),
  ]);
  return [...families.flat(), ""].join("\n");
}

const labelsOf = ({ namespace, name }: { namespace: string; name: string }): string =>
  `namespace="${namespace}",persistentvolumeclaim="${name}"`;

/** Prometheus' text of what each container uses, under cAdvisor's names. */
function exposition(pods: readonly cri.PodSandboxStats[]): string {
  const containers = pods.flatMap((pod) => pod.containers.map((container) => ({ pod, container })));
  const family = (name: string, type: string, read: (stats: cri.ContainerStats) => number) => [
    `# TYPE ${name} ${type}`,
    ...containers.map(
      ({ pod, container }) =>
        `${name}{container="${container.attributes.metadata.name}",namespace="${pod.attributes.metadata.namespace}",pod="${pod.attributes.labels[LABELS.podName] ?? pod.attributes.metadata.name}"} ${read(container)}`,
    ),
  ];
  return [
    ...family("container_cpu_usage_seconds_total", "counter", ({ cpu }) => cpu.usageCoreNanoSeconds / 1e9),
    ...family("container_memory_working_set_bytes", "gauge", ({ memory }) => memory.workingSetBytes),
    ...family("container_memory_usage_bytes", "gauge", ({ memory }) => memory.usageBytes),
    ...family("container_fs_usage_bytes", "gauge", ({ writableLayer }) => writableLayer.usedBytes),
    "",
  ].join("\n");
}
