import type { NodeInfo, Node } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";
import { MAX_SCORE, type Plugin, type Refusal } from "../framework.ts";

const FIT = "NodeResourcesFit";

function insufficient(info: PodInfo, node: NodeInfo): Refusal | undefined {
  const { requests } = info;
  const { allocatable } = node;
  const tooManyPods = node.pods.size + 1 > node.maxPods;
  const cpu = requests.cpu > 0 && requests.cpu > allocatable.cpu - node.cpu;
  const memory = requests.memory > 0 && requests.memory > allocatable.memory - node.memory;
  const ephemeral = requests.ephemeral > 0 && requests.ephemeral > allocatable.ephemeral - node.ephemeral;
  if (!tooManyPods && !cpu && !memory && !ephemeral && requests.others === undefined) return undefined;
  return explain(info, node, { tooManyPods, cpu, memory, ephemeral });
}

function explain(
  info: PodInfo,
  node: NodeInfo,
  short: { tooManyPods: boolean; cpu: boolean; memory: boolean; ephemeral: boolean },
): Refusal | undefined {
  const { requests } = info;
  const { allocatable } = node;
  const reasons: string[] = [];
  if (short.tooManyPods) reasons.push("Too many pods");
  if (short.cpu) reasons.push("Insufficient cpu");
  if (short.memory) reasons.push("Insufficient memory");
  if (short.ephemeral) reasons.push("Insufficient ephemeral-storage");
  // What exceeds the node even when empty cannot be helped by preemption.
  let resolvable =
    requests.cpu <= allocatable.cpu &&
    requests.memory <= allocatable.memory &&
    requests.ephemeral <= allocatable.ephemeral;
  for (const name in requests.others) {
    const wanted = requests.others[name]!;
    const capacity = allocatable.others?.[name] ?? 0;
    if (wanted > capacity - (node.others.get(name) ?? 0)) {
      reasons.push(`Insufficient ${name}`);
      if (wanted > capacity) resolvable = false;
    }
  }
  return reasons.length > 0 ? { plugin: FIT, reasons, resolvable } : undefined;
}

/** Requests fit what is left; of those that fit, the emptier is better. */
export const nodeResourcesFit: Plugin = {
  name: FIT,
  weight: 1,
  preFilter: (info) => ({ filter: (node) => insufficient(info, node) }),
  preScore: (info) => ({
    score(node) {
      const { cpu, memory } = node.allocatable;
      const usedCpu = node.nonZeroCpu + info.nonZeroCpu;
      const usedMemory = node.nonZeroMemory + info.nonZeroMemory;
      let sum = 0;
      let weights = 0;
      if (cpu > 0) {
        weights++;
        if (usedCpu <= cpu) sum += Math.floor(((cpu - usedCpu) * MAX_SCORE) / cpu);
      }
      if (memory > 0) {
        weights++;
        if (usedMemory <= memory) sum += Math.floor(((memory - usedMemory) * MAX_SCORE) / memory);
      }
      return weights === 0 ? 0 : Math.floor(sum / weights);
    },
  }),
  mayHelp(_pod, event) {
    if (event.kind === "assignedPod") return event.action !== "add";
    if (event.kind === "pod") return event.action === "update";
    if (event.kind !== "node" || event.action === "delete") return false;
    const { object, old } = event as { object: Node; old?: Node };
    return !old || JSON.stringify(old.status?.allocatable) !== JSON.stringify(object.status?.allocatable);
  },
};

/** Prefers nodes whose CPU and memory would be used to similar degrees. Pods that request neither don't care. */
export const nodeResourcesBalancedAllocation: Plugin = {
  name: "NodeResourcesBalancedAllocation",
  weight: 1,
  preScore(info) {
    const { cpu, memory } = info.requests;
    if (cpu === 0 && memory === 0) return undefined;
    return {
      score(node) {
        const { allocatable } = node;
        if (allocatable.cpu === 0 || allocatable.memory === 0) return MAX_SCORE;
        const cpuShare = Math.min(1, (node.cpu + cpu) / allocatable.cpu);
        const memoryShare = Math.min(1, (node.memory + memory) / allocatable.memory);
        // The standard deviation of two shares is half their distance.
        return Math.floor((1 - Math.abs(cpuShare - memoryShare) / 2) * MAX_SCORE);
      },
    };
  },
};
