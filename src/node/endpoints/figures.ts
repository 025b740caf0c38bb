import type { ApiRequest } from "../../api/index.ts";
import { rfc3339, unavailable, type Clock } from "../../base/index.ts";
import { LABELS } from "../kubelet/index.ts";
import { usageOf, type MeasuredNode, type NodeUsage } from "./node-usage.ts";
import type { RemoteKubelet } from "./remote-kubelet.ts";

/** What a node and its Pods use, measured when asked. */
export interface NodeFigures {
  readonly name: string;
  usage(): Promise<NodeUsage>;
  pods(): Promise<PodFigures[]>;
}

export interface PodFigures {
  readonly namespace: string;
  readonly name: string;
  /** RFC 3339. */
  readonly time: string;
  readonly containers: ReadonlyArray<NodeUsage & { readonly name: string }>;
}

/** Longer than a busy node takes; who asks for all nodes waits for the slowest. */
const ANSWER_MS = 5_000;

/** From the runtime, in this process. */
export function figuresOf(node: MeasuredNode): NodeFigures {
  return {
    name: node.name,
    usage: () => usageOf(node),
    pods: async () =>
      (await node.runtime.listPodSandboxStats()).map(({ attributes, cpu, containers }) => ({
        namespace: attributes.metadata.namespace,
        name: attributes.metadata.name,
        time: rfc3339(Math.floor(cpu.timestamp / 1e6)),
        containers: containers.map((container) => ({
          name: container.attributes.labels[LABELS.containerName] ?? container.attributes.metadata.name,
          nanoCores: container.cpu.usageNanoCores,
          memoryBytes: container.memory.workingSetBytes,
        })),
      })),
  };
}

/** The part of upstream's Summary that is read here. */
interface Summary {
  readonly node: Measured;
  readonly pods: ReadonlyArray<{
    readonly podRef: { readonly namespace: string; readonly name: string };
    readonly cpu: { readonly time: string };
    readonly containers: ReadonlyArray<Measured & { readonly name: string }>;
  }>;
}
interface Measured {
  readonly cpu: { readonly usageNanoCores: number };
  readonly memory: { readonly workingSetBytes: number };
}

const used = ({ cpu, memory }: Measured): NodeUsage => ({
  nanoCores: cpu.usageNanoCores,
  memoryBytes: memory.workingSetBytes,
});

/** From the kubelet of a node elsewhere, as upstream's metrics server does. Throws unavailable. */
export function figuresElsewhere(name: string, kubelet: RemoteKubelet, clock: Clock): NodeFigures {
  const summary = () => readSummary(kubelet, clock);
  return {
    name,
    usage: async () => used((await summary()).node),
    pods: async () =>
      (await summary()).pods.map(({ podRef, cpu, containers }) => ({
        ...podRef,
        time: cpu.time,
        containers: containers.map((container) => ({ name: container.name, ...used(container) })),
      })),
  };
}

async function readSummary(kubelet: RemoteKubelet, clock: Clock): Promise<Summary> {
  const late = new AbortController();
  const timer = clock.after(ANSWER_MS, () => late.abort());
  const request: ApiRequest = {
    method: "GET",
    path: "/",
    query: new URLSearchParams(),
    headers: {},
    signal: late.signal,
  };
  try {
    const { status, chunks } = await kubelet.page(request, "stats/summary");
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks ?? []) parts.push(chunk);
    if (status !== 200) throw unavailable(`the node's kubelet answered ${status}`);
    return JSON.parse(Buffer.concat(parts).toString()) as Summary;
  } finally {
    timer.cancel();
  }
}
