import type { k8s } from "../../api/index.ts";
import { normalizeToMax, refuse, type Plugin } from "../framework.ts";
import type { Node, NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";

const NAME = "NodeAffinity";
const REFUSAL = refuse(NAME, false, "node(s) didn't match Pod's node affinity/selector");

/** https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity */
export function matchesTerm(
  term: k8s.NodeSelectorTerm,
  labels: Readonly<Record<string, string>>,
  name: string,
): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length + matchFields.length === 0) return false;
  return (
    matchExpressions.every((rule) => matchesRule(rule, labels[rule.key])) &&
    matchFields.every((rule) => matchesRule(rule, rule.key === "metadata.name" ? name : undefined))
  );
}

function matchesRule(rule: k8s.NodeSelectorRequirement, value: string | undefined): boolean {
  const { operator, values = [] } = rule;
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return value !== undefined && Number(value) > Number(values[0]);
    case "Lt":
      return value !== undefined && Number(value) < Number(values[0]);
    default:
      return false;
  }
}

/** nodeSelector and required node affinity together; undefined when the pod has neither. */
export function nodePredicate(
  spec: k8s.PodSpec,
): ((labels: Readonly<Record<string, string>>, name: string) => boolean) | undefined {
  const wanted = Object.entries(spec.nodeSelector ?? {});
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (wanted.length === 0 && !required) return undefined;
  return (labels, name) =>
    wanted.every(([key, value]) => labels[key] === value) &&
    (!required || required.nodeSelectorTerms.some((term) => matchesTerm(term, labels, name)));
}

/** The only nodes a pod can mean, when each of its terms names one by metadata.name (DaemonSet pods). */
function namedNodes(spec: k8s.PodSpec): Set<string> | undefined {
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  if (!terms || terms.length === 0) return undefined;
  const names = new Set<string>();
  for (const { matchFields = [] } of terms) {
    const rule = matchFields.find(({ key, operator }) => key === "metadata.name" && operator === "In");
    if (!rule) return undefined;
    for (const name of rule.values ?? []) names.add(name);
  }
  return names;
}

export const nodeAffinity: Plugin = {
  name: NAME,
  weight: 2,
  preFilter(info) {
    const matches = nodePredicate(info.pod.spec!);
    if (!matches) return undefined;
    const run = { filter: (node: NodeInfo) => (matches(node.labels, node.name) ? undefined : REFUSAL) };
    const nodes = namedNodes(info.pod.spec!);
    return nodes ? { nodes, run } : run;
  },
  preScore(info) {
    const preferred = info.pod.spec!.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution;
    if (!preferred || preferred.length === 0) return undefined;
    return {
      score: (node) =>
        preferred.reduce(
          (sum, { weight, preference }) => sum + (matchesTerm(preference, node.labels, node.name) ? weight : 0),
          0,
        ),
      normalize: normalizeToMax,
    };
  },
  mayHelp: (_pod, event) => nodeLabelsChanged(event),
};

export function nodeLabelsChanged(event: { kind: string; action: string; object?: unknown; old?: unknown }): boolean {
  if (event.kind !== "node" || event.action === "delete") return false;
  const { object, old } = event as { object: Node; old?: Node };
  return !old || JSON.stringify(old.metadata.labels) !== JSON.stringify(object.metadata.labels);
}

export type { PodInfo };
