import type { k8s } from "../api/index.ts";
import { labelPredicate, type Stored } from "../client/index.ts";
import type { Cluster } from "./cluster.ts";
import { filterNode, prepare, type Diagnosis } from "./cycle.ts";
import type { Plugin, FilterRun, Refusal } from "./framework.ts";
import type { NodeInfo } from "./node-info.ts";
import type { PodInfo } from "./pod-info.ts";

export interface Preemption {
  readonly node: string;
  readonly victims: readonly PodInfo[];
  readonly budgetViolations: number;
}
export type PreemptionResult = { readonly chosen: Preemption } | { readonly message: string };

/** Candidates are looked for on a tenth of the nodes, at least so many (upstream's defaults). */
const MIN_CANDIDATES = 100;
const CANDIDATE_SHARE = 0.1;

/** Which pods of lower priority would have to go for `info` to fit. https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/ */
export function planPreemption(
  plugins: readonly Plugin[],
  info: PodInfo,
  cluster: Cluster,
  diagnosis: Diagnosis,
  offset: number,
): PreemptionResult {
  const ineligible = whyNotEligible(info, cluster);
  if (ineligible) return { message: `preemption: ${ineligible}` };
  const total = diagnosis.nodeCount;
  const possible = cluster.nodes.filter((node) => diagnosis.refusals.get(node.name)?.resolvable !== false);
  const histogram = new Map<string, number>();
  if (total > possible.length) histogram.set("Preemption is not helpful for scheduling.", total - possible.length);
  const wanted = Math.max(MIN_CANDIDATES, Math.floor(total * CANDIDATE_SHARE));
  const candidates: Preemption[] = [];
  for (let index = 0; index < possible.length && candidates.length < wanted; index++) {
    const node = possible[(index + offset) % possible.length]!;
    const result = victimsOn(plugins, info, cluster, node);
    if ("victims" in result) candidates.push(result);
    else for (const reason of result.reasons) histogram.set(reason, (histogram.get(reason) ?? 0) + 1);
  }
  const chosen = pickBest(candidates);
  return chosen ? { chosen } : { message: `preemption: ${explain(total, histogram)}` };
}

function explain(total: number, histogram: ReadonlyMap<string, number>): string {
  const parts = [...histogram].map(([reason, count]) => `${count} ${reason.replace(/\.$/, "")}`).sort();
  return `0/${total} nodes are available: ${parts.join(", ")}.`;
}

function whyNotEligible(info: PodInfo, cluster: Cluster): string | undefined {
  if (info.pod.spec!.preemptionPolicy === "Never") return "not eligible due to preemptionPolicy=Never.";
  const nominated = info.pod.status?.nominatedNodeName;
  const node = nominated ? cluster.node(nominated) : undefined;
  for (const other of node?.pods.values() ?? []) {
    if (other.priority < info.priority && other.pod.metadata.deletionTimestamp) {
      return "not eligible due to a terminating pod on the nominated node.";
    }
  }
  return undefined;
}

function victimsOn(
  plugins: readonly Plugin[],
  info: PodInfo,
  cluster: Cluster,
  node: NodeInfo,
): Preemption | { reasons: readonly string[] } {
  const lower = [...node.pods.values()].filter((other) => other.priority < info.priority);
  if (lower.length === 0) return { reasons: ["No preemption victims found for incoming pod"] };
  const prepared = prepare(plugins, info, cluster);
  if ("refusal" in prepared) return prepared.refusal;
  const trial = node.clone();
  for (const other of lower) remove(prepared.runs, trial, other);
  const stillRefused: Refusal | undefined = filterNode(prepared.runs, trial);
  if (stillRefused) return stillRefused;
  const { violating, others } = splitByBudget(lower, cluster);
  const victims: PodInfo[] = [];
  let budgetViolations = 0;
  // The most important pods are spared first; those whose budget would be broken before all others.
  for (const [group, violates] of [
    [violating, true],
    [others, false],
  ] as const) {
    for (const other of group.sort(moreImportant)) {
      add(prepared.runs, trial, other);
      if (!filterNode(prepared.runs, trial)) continue;
      remove(prepared.runs, trial, other);
      victims.push(other);
      if (violates) budgetViolations++;
    }
  }
  return { node: node.name, victims: victims.sort(moreImportant), budgetViolations };
}

function add(runs: readonly FilterRun[], node: NodeInfo, other: PodInfo): void {
  node.addPod(other);
  for (const run of runs) run.addPod?.(other, node);
}
function remove(runs: readonly FilterRun[], node: NodeInfo, other: PodInfo): void {
  node.removePod(other);
  for (const run of runs) run.removePod?.(other, node);
}

const startOf = ({ pod }: PodInfo) => pod.status?.startTime ?? pod.metadata.creationTimestamp ?? "";

function moreImportant(left: PodInfo, right: PodInfo): number {
  if (left.priority !== right.priority) return right.priority - left.priority;
  return startOf(left) < startOf(right) ? -1 : startOf(left) > startOf(right) ? 1 : 0;
}

function splitByBudget(pods: readonly PodInfo[], cluster: Cluster): { violating: PodInfo[]; others: PodInfo[] } {
  const violating: PodInfo[] = [];
  const others: PodInfo[] = [];
  const allowed = new Map<Stored<k8s.PodDisruptionBudget>, number>();
  for (const info of [...pods].sort(moreImportant)) {
    const budgets = cluster.listers.budgets.inNamespace(info.namespace).filter((budget) => covers(budget, info));
    let violates = false;
    for (const budget of budgets) {
      if (budget.status?.disruptedPods?.[info.pod.metadata.name]) continue;
      const left = (allowed.get(budget) ?? budget.status?.disruptionsAllowed ?? 0) - 1;
      allowed.set(budget, left);
      if (left < 0) violates = true;
    }
    (violates ? violating : others).push(info);
  }
  return { violating, others };
}

function covers(budget: k8s.PodDisruptionBudget, info: PodInfo): boolean {
  const { labels } = info.pod.metadata;
  return labels !== undefined && labelPredicate(budget.spec?.selector)(labels);
}

/** Upstream's pickOneNodeForPreemption: each criterion decides only among those the ones before left equal. */
function pickBest(candidates: readonly Preemption[]): Preemption | undefined {
  const offset = 2 ** 31;
  const criteria: ((candidate: Preemption) => number)[] = [
    ({ budgetViolations }) => budgetViolations,
    ({ victims }) => victims[0]?.priority ?? Number.NEGATIVE_INFINITY,
    ({ victims }) => victims.reduce((sum, { priority }) => sum + priority + offset, 0),
    ({ victims }) => victims.length,
    // The latest start among the most important victims is best.
    ({ victims }) => -Date.parse(earliestStart(victims) || "1970-01-01T00:00:00Z"),
  ];
  let left = candidates;
  for (const criterion of criteria) {
    if (left.length <= 1) break;
    const lowest = Math.min(...left.map(criterion));
    left = left.filter((candidate) => criterion(candidate) === lowest);
  }
  return left[0];
}

function earliestStart(victims: readonly PodInfo[]): string {
  const highest = victims[0]?.priority;
  return (
    victims
      .filter(({ priority }) => priority === highest)
      .map(startOf)
      .sort()[0] ?? ""
  );
}
