import { labelPredicate } from "../../client/index.ts";
import type { Cluster, PodCounter, TermGroup } from "../cluster.ts";
import { MAX_SCORE, refuse, type FilterRun, type Plugin, type ScoreRun } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { AffinityTerm, PodInfo } from "../pod-info.ts";
import { nodeLabelsChanged } from "./node-affinity.ts";

const NAME = "InterPodAffinity";
const AFFINITY = refuse(NAME, false, "node(s) didn't match pod affinity rules");
const ANTI_AFFINITY = refuse(NAME, true, "node(s) didn't match pod anti-affinity rules");
const EXISTING = refuse(NAME, true, "node(s) didn't satisfy existing pods anti-affinity rules");
/** How much an existing pod's required affinity to the incoming one weighs when nodes are scored. */
const HARD_AFFINITY_WEIGHT = 1;

/** How many relevant pods are in each domain of one topology key. */
class Domains {
  readonly topologyKey: string;
  readonly counts = new Map<string, number>();
  total = 0;
  constructor(topologyKey: string) {
    this.topologyKey = topologyKey;
  }
  addNode(labels: Readonly<Record<string, string>>, by: number): void {
    const value = labels[this.topologyKey];
    if (value === undefined) return;
    this.counts.set(value, (this.counts.get(value) ?? 0) + by);
    this.total += by;
  }
  at(node: NodeInfo): number {
    const value = node.labels[this.topologyKey];
    return value === undefined ? 0 : (this.counts.get(value) ?? 0);
  }
}

function spread(cluster: Cluster, topologyKey: string, perNode: ReadonlyMap<string, number>): Domains {
  const domains = new Domains(topologyKey);
  for (const [name, count] of perNode) {
    const node = cluster.node(name);
    if (node?.node && count !== 0) domains.addNode(node.labels, count);
  }
  return domains;
}

/** The pods that a term of the incoming pod speaks about. */
function counterOf(cluster: Cluster, term: AffinityTerm): PodCounter {
  if (!term.namespaceSelector) return cluster.counter(term.namespaces, term.selectorId, term.labelsMatch);
  const chosen = labelPredicate(term.namespaceSelector);
  const names = cluster.listers.namespaces.list().filter((namespace) => chosen(namespace.metadata.labels));
  const all = new Set([...term.namespaces, ...names.map((namespace) => namespace.metadata.name)]);
  return cluster.counter(all, term.selectorId, term.labelsMatch);
}

function filterRun(info: PodInfo, cluster: Cluster): FilterRun | undefined {
  const { labels } = info.pod.metadata;
  const existing = [...cluster.termGroups("requiredAntiAffinity").values()]
    .filter(({ term }) => cluster.termMatches(term, info.namespace, labels))
    .map((group) => ({ term: group.term, domains: spread(cluster, group.term.topologyKey, group.perNode) }));
  const own = (terms: readonly AffinityTerm[]) =>
    terms.map((term) => ({ term, domains: spread(cluster, term.topologyKey, counterOf(cluster, term).perNode) }));
  const affinity = own(info.requiredAffinity);
  const anti = own(info.requiredAntiAffinity);
  if (existing.length + affinity.length + anti.length === 0) return undefined;
  const matchesAll = (other: PodInfo) =>
    info.requiredAffinity.every((term) => cluster.termMatches(term, other.namespace, other.pod.metadata.labels));
  const selfMatches = matchesAll(info);
  const shift = (other: PodInfo, node: NodeInfo, by: number) => {
    for (const { term, domains } of existing) {
      if (other.requiredAntiAffinity.some(({ id }) => id === term.id)) domains.addNode(node.labels, by);
    }
    for (const { term, domains } of [...affinity, ...anti]) {
      if (cluster.termMatches(term, other.namespace, other.pod.metadata.labels)) domains.addNode(node.labels, by);
    }
  };
  return {
    filter(node) {
      if (affinity.some(({ term }) => node.labels[term.topologyKey] === undefined)) return AFFINITY;
      const together = affinity.every(({ domains }) => domains.at(node) > 0);
      // The first pod of a group that wants to be together may go anywhere.
      const first = selfMatches && affinity.every(({ domains }) => domains.total === 0);
      if (!together && !first) return AFFINITY;
      if (anti.some(({ domains }) => domains.at(node) > 0)) return ANTI_AFFINITY;
      if (existing.some(({ domains }) => domains.at(node) > 0)) return EXISTING;
      return undefined;
    },
    addPod: (other, node) => shift(other, node, 1),
    removePod: (other, node) => shift(other, node, -1),
  };
}

function scoreRun(info: PodInfo, cluster: Cluster): ScoreRun | undefined {
  const { labels } = info.pod.metadata;
  const parts: { domains: Domains; weight: number }[] = [];
  const take = (terms: readonly AffinityTerm[], sign: 1 | -1) => {
    for (const term of terms) {
      const { perNode } = counterOf(cluster, term);
      if (perNode.size > 0)
        parts.push({ domains: spread(cluster, term.topologyKey, perNode), weight: sign * term.weight });
    }
  };
  const takeGroups = (groups: ReadonlyMap<string, TermGroup>, weightOf: (term: AffinityTerm) => number) => {
    for (const { term, perNode } of groups.values()) {
      if (!cluster.termMatches(term, info.namespace, labels)) continue;
      parts.push({ domains: spread(cluster, term.topologyKey, perNode), weight: weightOf(term) });
    }
  };
  take(info.preferredAffinity, 1);
  take(info.preferredAntiAffinity, -1);
  takeGroups(cluster.termGroups("requiredAffinity"), () => HARD_AFFINITY_WEIGHT);
  takeGroups(cluster.termGroups("preferredAffinity"), (term) => term.weight);
  takeGroups(cluster.termGroups("preferredAntiAffinity"), (term) => -term.weight);
  if (parts.length === 0) return undefined;
  return {
    score: (node) => parts.reduce((sum, { domains, weight }) => sum + weight * domains.at(node), 0),
    normalize: spreadOverRange,
  };
}

function spreadOverRange(scores: Float64Array): void {
  let lowest = Number.POSITIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  for (const score of scores) {
    if (score < lowest) lowest = score;
    if (score > highest) highest = score;
  }
  const range = highest - lowest;
  for (let index = 0; index < scores.length; index++) {
    scores[index] = range > 0 ? Math.floor((MAX_SCORE * (scores[index]! - lowest)) / range) : 0;
  }
}

/** https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity */
export const interPodAffinity: Plugin = {
  name: NAME,
  weight: 2,
  preFilter: filterRun,
  preScore: scoreRun,
  mayHelp: (_pod, event) => event.kind === "assignedPod" || nodeLabelsChanged(event),
};
