import type { k8s } from "../../api/index.ts";
import {
  formatSelector,
  labelPredicate,
  matchesLabels,
  type LabelPredicate,
  type LabelSelectorLike,
} from "../../client/index.ts";
import type { Cluster, PodCounter } from "../cluster.ts";
import { MAX_SCORE, refuse, type FilterRun, type Plugin, type ScoreRun } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import { withLabelKeys, type PodInfo } from "../pod-info.ts";
import { nodePredicate, nodeLabelsChanged } from "./node-affinity.ts";
import { tolerates } from "./node-basics.ts";

const NAME = "PodTopologySpread";
const MISSING_LABEL = refuse(
  NAME,
  false,
  "node(s) didn't match pod topology spread constraints (missing required label)",
);
const SKEWED = refuse(NAME, true, "node(s) didn't match pod topology spread constraints");
const HOSTNAME = "kubernetes.io/hostname";

/** Pods of a workload that say nothing are spread softly (upstream's system defaults). */
const DEFAULTS = [
  { topologyKey: HOSTNAME, whenUnsatisfiable: "ScheduleAnyway", maxSkew: 3 },
  { topologyKey: "topology.kubernetes.io/zone", whenUnsatisfiable: "ScheduleAnyway", maxSkew: 5 },
] as const;

interface Constraint {
  readonly topologyKey: string;
  readonly maxSkew: number;
  readonly minDomains: number;
  readonly counter: PodCounter;
  readonly matchesSelf: boolean;
  /** Whether a node's pods and domain count at all; undefined: those of every node do. */
  readonly includes: ((node: NodeInfo) => boolean) | undefined;
}

function compile(
  info: PodInfo,
  cluster: Cluster,
  raw: k8s.TopologySpreadConstraint,
  selector: LabelSelectorLike | undefined,
): Constraint {
  const whole = withLabelKeys(info.pod, selector, raw.matchLabelKeys);
  const matches: LabelPredicate = labelPredicate(whole);
  const id = formatSelector(whole) || (whole ? "*" : "");
  return {
    topologyKey: raw.topologyKey,
    maxSkew: raw.maxSkew,
    minDomains: raw.minDomains ?? 1,
    counter: cluster.counter(new Set([info.namespace]), id, matches),
    matchesSelf: matches(info.pod.metadata.labels),
    includes: inclusion(info, raw),
  };
}

function inclusion(info: PodInfo, raw: k8s.TopologySpreadConstraint): Constraint["includes"] {
  const affinity = raw.nodeAffinityPolicy === "Ignore" ? undefined : nodePredicate(info.pod.spec!);
  const taints = raw.nodeTaintsPolicy === "Honor";
  const { tolerations } = info.pod.spec!;
  if (!affinity && !taints) return undefined;
  return (node) =>
    (!affinity || affinity(node.labels, node.name)) &&
    (!taints || node.hardTaints.every((taint) => tolerates(tolerations, taint)));
}

function hard(info: PodInfo, cluster: Cluster): Constraint[] {
  return (info.pod.spec!.topologySpreadConstraints ?? [])
    .filter(({ whenUnsatisfiable }) => whenUnsatisfiable === "DoNotSchedule")
    .map((raw) => compile(info, cluster, raw, raw.labelSelector));
}

function soft(info: PodInfo, cluster: Cluster): { constraints: Constraint[]; byDefault: boolean } {
  const own = info.pod.spec!.topologySpreadConstraints ?? [];
  if (own.length > 0) {
    const chosen = own.filter(({ whenUnsatisfiable }) => whenUnsatisfiable === "ScheduleAnyway");
    return { constraints: chosen.map((raw) => compile(info, cluster, raw, raw.labelSelector)), byDefault: false };
  }
  const selector = workloadSelector(info, cluster);
  return { constraints: selector ? DEFAULTS.map((raw) => compile(info, cluster, raw, selector)) : [], byDefault: true };
}

/** What the pod's services and its controller select together; undefined when nothing selects it. */
function workloadSelector(info: PodInfo, cluster: Cluster): LabelSelectorLike | undefined {
  const { services, replicaSets, statefulSets, replicationControllers } = cluster.listers;
  const matchLabels: Record<string, string> = {};
  for (const service of services.inNamespace(info.namespace)) {
    const selector = service.spec?.selector;
    if (selector && Object.keys(selector).length > 0 && matchesLabels(selector, info.pod.metadata.labels))
      Object.assign(matchLabels, selector);
  }
  const owner = info.pod.metadata.ownerReferences?.find(({ controller }) => controller);
  const key = `${info.namespace}/${owner?.name}`;
  let matchExpressions: LabelSelectorLike["matchExpressions"];
  if (owner?.kind === "ReplicationController")
    Object.assign(matchLabels, replicationControllers.get(key)?.spec?.selector);
  else {
    const lister =
      owner?.kind === "ReplicaSet" ? replicaSets : owner?.kind === "StatefulSet" ? statefulSets : undefined;
    const selector = lister?.get(key)?.spec?.selector;
    Object.assign(matchLabels, selector?.matchLabels);
    matchExpressions = selector?.matchExpressions;
  }
  return Object.keys(matchLabels).length > 0 || matchExpressions?.length
    ? { matchLabels, matchExpressions }
    : undefined;
}

/** Matching pods per domain. Only nodes that bear every constraint's label count. */
function domainsOf(constraint: Constraint, keys: readonly string[], cluster: Cluster): ReadonlyMap<string, number> {
  const { counter, topologyKey, includes } = constraint;
  if (!includes && keys.length <= 1) return counter.perDomain(topologyKey, cluster);
  const domains = new Map<string, number>();
  const { perNode } = counter;
  for (const node of cluster.nodes) {
    const value = node.labels[topologyKey];
    if (value === undefined || includes?.(node) === false) continue;
    if (keys.length > 1 && !keys.every((key) => node.labels[key] !== undefined)) continue;
    domains.set(value, (domains.get(value) ?? 0) + (perNode.get(node.name) ?? 0));
  }
  return domains;
}

function filterRun(constraints: readonly Constraint[], cluster: Cluster): FilterRun {
  const keys = constraints.map(({ topologyKey }) => topologyKey);
  const states = constraints.map((constraint) => {
    const domains = domainsOf(constraint, keys, cluster);
    return { constraint, domains, lowest: lowestOf(domains, constraint.minDomains) };
  });
  const shift = (other: PodInfo, node: NodeInfo, by: number) => {
    for (const state of states) {
      const value = node.labels[state.constraint.topologyKey];
      const { counter, includes } = state.constraint;
      if (value === undefined || !counter.counts(other) || includes?.(node) === false) continue;
      // What-if: the counter's own figures stay as they are.
      state.domains = new Map(state.domains).set(value, (state.domains.get(value) ?? 0) + by);
      state.lowest = lowestOf(state.domains, state.constraint.minDomains);
    }
  };
  return {
    filter(node) {
      for (const { constraint, domains, lowest } of states) {
        const value = node.labels[constraint.topologyKey];
        if (value === undefined) return MISSING_LABEL;
        const count = (domains.get(value) ?? 0) + (constraint.matchesSelf ? 1 : 0);
        if (count - lowest > constraint.maxSkew) return SKEWED;
      }
      return undefined;
    },
    addPod: (other, node) => shift(other, node, 1),
    removePod: (other, node) => shift(other, node, -1),
  };
}

function lowestOf(domains: ReadonlyMap<string, number>, minDomains: number): number {
  if (domains.size < minDomains) return 0;
  let lowest = Number.POSITIVE_INFINITY;
  for (const count of domains.values()) if (count < lowest) lowest = count;
  return lowest === Number.POSITIVE_INFINITY ? 0 : lowest;
}

/** Each constraint's count, weighted by the logarithm of its number of domains; then turned round: few is good. */
function scoreRun(
  constraints: readonly Constraint[],
  byDefault: boolean,
  cluster: Cluster,
  nodes: readonly NodeInfo[],
): ScoreRun {
  const keys = constraints.map(({ topologyKey }) => topologyKey);
  // Nodes that lack a label are left out, unless the constraints are only defaults.
  const ignored = new Set<NodeInfo>(
    byDefault ? [] : nodes.filter((node) => keys.some((key) => node.labels[key] === undefined)),
  );
  const parts = constraints.map((constraint) => {
    const perHost = constraint.topologyKey === HOSTNAME;
    const domains = perHost ? undefined : domainsOf(constraint, byDefault ? [] : keys, cluster);
    const size = perHost ? nodes.length - ignored.size : (domains?.size ?? 0);
    return { constraint, domains, weight: Math.log(size + 2) };
  });
  let lowest = Number.POSITIVE_INFINITY;
  let highest = 0;
  return {
    score(node) {
      if (ignored.has(node)) return -1;
      let sum = 0;
      for (const { constraint, domains, weight } of parts) {
        const value = node.labels[constraint.topologyKey];
        if (value === undefined) continue;
        const count = domains ? (domains.get(value) ?? 0) : (constraint.counter.perNode.get(node.name) ?? 0);
        sum += count * weight + (constraint.maxSkew - 1);
      }
      const score = Math.round(sum);
      if (score < lowest) lowest = score;
      if (score > highest) highest = score;
      return score;
    },
    normalize(scores) {
      for (let index = 0; index < scores.length; index++) {
        const score = scores[index]!;
        if (score < 0) scores[index] = 0;
        else scores[index] = highest === 0 ? MAX_SCORE : Math.floor((MAX_SCORE * (highest + lowest - score)) / highest);
      }
    },
  };
}

/** https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/ */
export const podTopologySpread: Plugin = {
  name: NAME,
  weight: 2,
  preFilter(info, cluster) {
    const constraints = hard(info, cluster);
    return constraints.length > 0 ? filterRun(constraints, cluster) : undefined;
  },
  preScore(info, cluster, nodes) {
    const { constraints, byDefault } = soft(info, cluster);
    return constraints.length > 0 ? scoreRun(constraints, byDefault, cluster, nodes) : undefined;
  },
  mayHelp: (_pod, event) =>
    event.kind === "assignedPod" || (event.kind === "node" && event.action === "delete") || nodeLabelsChanged(event),
};
