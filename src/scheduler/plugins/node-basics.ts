import type { k8s } from "../../api/index.ts";
import { normalizeToMax, refuse, type Plugin } from "../framework.ts";
import type { Node } from "../node-info.ts";

const NODE_NAME = refuse("NodeName", false, "node(s) didn't match the requested node name");
const UNSCHEDULABLE = refuse("NodeUnschedulable", false, "node(s) were unschedulable");
const PORTS = refuse("NodePorts", true, "node(s) didn't have free ports for the requested pod ports");

/** A pod that names its node without being bound to it. */
export const nodeName: Plugin = {
  name: "NodeName",
  preFilter(info) {
    const wanted = info.pod.spec!.nodeName;
    return wanted ? { filter: (node) => (node.name === wanted ? undefined : NODE_NAME) } : undefined;
  },
  mayHelp: (_pod, event) => event.kind === "node" && event.action === "add",
};

/** https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ */
export function tolerates(tolerations: readonly k8s.Toleration[] | undefined, taint: k8s.Taint): boolean {
  if (!tolerations) return false;
  return tolerations.some(
    ({ key, operator, value, effect }) =>
      (!effect || effect === taint.effect) &&
      (!key || key === taint.key) &&
      (operator === "Exists" || (value ?? "") === (taint.value ?? "")),
  );
}

export const nodeUnschedulable: Plugin = {
  name: "NodeUnschedulable",
  preFilter: (info) => ({
    filter: (node) =>
      node.unschedulable && !tolerates(info.pod.spec!.tolerations, node.unschedulable) ? UNSCHEDULABLE : undefined,
  }),
  mayHelp(_pod, event) {
    if (event.kind !== "node" || event.action === "delete") return false;
    return !(event.object as Node).spec?.unschedulable;
  },
};

export const taintToleration: Plugin = {
  name: "TaintToleration",
  weight: 3,
  preFilter(info) {
    const { tolerations } = info.pod.spec!;
    return {
      filter(node) {
        for (const taint of node.hardTaints) {
          if (tolerates(tolerations, taint)) continue;
          return refuse("TaintToleration", false, `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ""}}`);
        }
        return undefined;
      },
    };
  },
  preScore(info, _cluster, nodes) {
    if (!nodes.some((node) => node.softTaints.length > 0)) return undefined;
    const tolerations = info.pod.spec!.tolerations?.filter(({ effect }) => !effect || effect === "PreferNoSchedule");
    return {
      score: (node) => node.softTaints.reduce((sum, taint) => sum + (tolerates(tolerations, taint) ? 0 : 1), 0),
      normalize: (scores) => normalizeToMax(scores, true),
    };
  },
  mayHelp(_pod, event) {
    if (event.kind !== "node" || event.action === "delete") return false;
    const { object, old } = event as { object: Node; old?: Node };
    return !old || JSON.stringify(old.spec?.taints) !== JSON.stringify(object.spec?.taints);
  },
};

export const nodePorts: Plugin = {
  name: "NodePorts",
  preFilter(info) {
    if (info.hostPorts.length === 0) return undefined;
    return { filter: (node) => (info.hostPorts.some((port) => node.hasPortConflict(port)) ? PORTS : undefined) };
  },
  mayHelp: (_pod, event) =>
    (event.kind === "assignedPod" && event.action === "delete") || (event.kind === "node" && event.action === "add"),
};

const MiB = 1024 * 1024;
const MIN_IMAGE_BYTES = 23 * MiB;
const MAX_IMAGE_BYTES_PER_CONTAINER = 1000 * MiB;

/** Prefers nodes that have the pod's images, weighted by size and by how widely each is spread already. */
export const imageLocality: Plugin = {
  name: "ImageLocality",
  weight: 1,
  preScore(info, cluster) {
    if (cluster.imageNodes.size === 0) return undefined;
    const { containers, initContainers = [] } = info.pod.spec!;
    const images = [...initContainers, ...containers].map(({ image = "" }) => normalizedImage(image));
    if (!images.some((image) => cluster.imageNodes.has(image))) return undefined;
    const highest = MAX_IMAGE_BYTES_PER_CONTAINER * images.length;
    const total = cluster.nodes.length;
    return {
      score(node) {
        let bytes = 0;
        for (const image of images) {
          const size = node.images.get(image);
          if (size !== undefined) bytes += Math.floor((size * (cluster.imageNodes.get(image) ?? 0)) / total);
        }
        const bounded = Math.min(Math.max(bytes, MIN_IMAGE_BYTES), highest);
        return Math.floor((100 * (bounded - MIN_IMAGE_BYTES)) / (highest - MIN_IMAGE_BYTES));
      },
    };
  },
};

function normalizedImage(name: string): string {
  return name.lastIndexOf(":") <= name.lastIndexOf("/") ? `${name}:latest` : name;
}
