import type { Cluster } from "./cluster.ts";
import { MAX_SCORE, type FilterRun, type Plugin, type Refusal, type ScoreRun } from "./framework.ts";
import type { NodeInfo } from "./node-info.ts";
import type { PodInfo } from "./pod-info.ts";

/** Why no node would do. */
export interface Diagnosis {
  readonly nodeCount: number;
  /** Refusals per node; those of nodes that only a prefilter excluded share one object. */
  readonly refusals: ReadonlyMap<string, Refusal>;
  readonly preFilter?: Refusal;
}
export type Outcome = { readonly node: NodeInfo } | { readonly diagnosis: Diagnosis };

const MIN_FEASIBLE_NODES = 100;
const EXCLUDED: Refusal = {
  plugin: "NodeAffinity",
  reasons: ["node(s) didn't satisfy plugin(s) [NodeAffinity]"],
  resolvable: false,
};

/** How many fitting nodes are enough to choose from (upstream's numFeasibleNodesToFind). */
function enoughNodes(total: number, percentage: number | undefined): number {
  if (total < MIN_FEASIBLE_NODES) return total;
  const share = percentage || Math.max(5, 50 - Math.floor(total / 125));
  if (share >= 100) return total;
  return Math.max(MIN_FEASIBLE_NODES, Math.floor((total * share) / 100));
}

export interface Prepared {
  readonly runs: readonly FilterRun[];
  readonly nodes: ReadonlySet<string> | undefined;
}

export function prepare(plugins: readonly Plugin[], info: PodInfo, cluster: Cluster): Prepared | { refusal: Refusal } {
  const runs: FilterRun[] = [];
  let nodes: ReadonlySet<string> | undefined;
  for (const plugin of plugins) {
    const result = plugin.preFilter?.(info, cluster);
    if (!result) continue;
    if ("refusal" in result) return result;
    if ("nodes" in result) {
      nodes = nodes ? nodes.intersection(result.nodes) : result.nodes;
      if (result.run) runs.push(result.run);
    } else runs.push(result);
  }
  return { runs, nodes };
}

export function filterNode(runs: readonly FilterRun[], node: NodeInfo): Refusal | undefined {
  for (const run of runs) {
    const refusal = run.filter(node);
    if (refusal) return refusal;
  }
  return undefined;
}

/**
 * Nodes on which preemption has nominated pods of at least the same priority must fit the pod with and without them, for they may or may not
 * arrive first.
 */
function filterWithNominated(
  runs: readonly FilterRun[],
  info: PodInfo,
  node: NodeInfo,
  cluster: Cluster,
): Refusal | undefined {
  const without = filterNode(runs, node);
  if (without || !cluster.hasNominations) return without;
  const nominated = [...cluster.nominatedTo(node.name)].filter(
    (other) => other.uid !== info.uid && other.priority >= info.priority,
  );
  if (nominated.length === 0) return undefined;
  const fuller = node.clone();
  for (const other of nominated) {
    fuller.addPod(other);
    for (const run of runs) run.addPod?.(other, fuller);
  }
  const refusal = filterNode(runs, fuller);
  for (const other of nominated) for (const run of runs) run.removePod?.(other, fuller);
  return refusal;
}

/** Chooses nodes; remembers where it stopped looking, so that successive pods start at different nodes. */
export class Chooser {
  readonly #plugins: readonly Plugin[];
  readonly #percentage: number | undefined;
  readonly #pick: (count: number) => number;
  #start = 0;

  /** `pick(n)` chooses among n equally good nodes. */
  constructor(plugins: readonly Plugin[], percentage: number | undefined, pick: (count: number) => number) {
    this.#plugins = plugins;
    this.#percentage = percentage;
    this.#pick = pick;
  }

  choose(info: PodInfo, cluster: Cluster): Outcome {
    const all = cluster.nodes;
    const prepared = prepare(this.#plugins, info, cluster);
    if ("refusal" in prepared) {
      const refusals = new Map(all.map((node) => [node.name, prepared.refusal]));
      return { diagnosis: { nodeCount: all.length, refusals, preFilter: prepared.refusal } };
    }
    const nominated = this.#nominatedNode(info, prepared, cluster);
    if (nominated) return { node: nominated };
    const refusals = new Map<string, Refusal>();
    const feasible = this.#feasible(info, prepared, cluster, refusals);
    if (feasible.length === 0) return { diagnosis: { nodeCount: all.length, refusals } };
    return { node: feasible.length === 1 ? feasible[0]! : this.#best(info, cluster, feasible) };
  }

  /** Preemption made room there: taken if it fits, without looking further. */
  #nominatedNode(info: PodInfo, { runs }: Prepared, cluster: Cluster): NodeInfo | undefined {
    const name = info.pod.status?.nominatedNodeName;
    const node = name ? cluster.node(name) : undefined;
    return node?.node && !filterWithNominated(runs, info, node, cluster) ? node : undefined;
  }

  #feasible(info: PodInfo, prepared: Prepared, cluster: Cluster, refusals: Map<string, Refusal>): NodeInfo[] {
    const all = cluster.nodes;
    const { runs, nodes: only } = prepared;
    const feasible: NodeInfo[] = [];
    if (only) {
      for (const node of all) {
        const refusal = only.has(node.name) ? filterWithNominated(runs, info, node, cluster) : EXCLUDED;
        if (refusal) refusals.set(node.name, refusal);
        else feasible.push(node);
      }
      return feasible;
    }
    const enough = enoughNodes(all.length, this.#percentage);
    const nominations = cluster.hasNominations;
    let looked = 0;
    for (; looked < all.length && feasible.length < enough; looked++) {
      const node = all[(this.#start + looked) % all.length]!;
      const refusal = nominations ? filterWithNominated(runs, info, node, cluster) : filterNode(runs, node);
      if (refusal) refusals.set(node.name, refusal);
      else feasible.push(node);
    }
    this.#start = all.length > 0 ? (this.#start + looked) % all.length : 0;
    return feasible;
  }

  #best(info: PodInfo, cluster: Cluster, nodes: readonly NodeInfo[]): NodeInfo {
    const totals = new Float64Array(nodes.length);
    const scores = new Float64Array(nodes.length);
    for (const plugin of this.#plugins) {
      const run = plugin.preScore?.(info, cluster, nodes);
      if (run) addScores(run, plugin.weight ?? 1, nodes, scores, totals);
    }
    let best = Number.NEGATIVE_INFINITY;
    let ties = 0;
    for (const total of totals) {
      if (total > best) {
        best = total;
        ties = 1;
      } else if (total === best) ties++;
    }
    let skip = ties > 1 ? this.#pick(ties) : 0;
    for (let index = 0; index < totals.length; index++) {
      if (totals[index] === best && skip-- === 0) return nodes[index]!;
    }
    return nodes[0]!;
  }
}

function addScores(
  run: ScoreRun,
  weight: number,
  nodes: readonly NodeInfo[],
  scores: Float64Array,
  totals: Float64Array,
): void {
  for (let index = 0; index < nodes.length; index++) scores[index] = run.score(nodes[index]!);
  run.normalize?.(scores);
  for (let index = 0; index < nodes.length; index++) {
    totals[index] = totals[index]! + Math.min(MAX_SCORE, scores[index]!) * weight;
  }
}
