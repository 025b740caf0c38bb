import type { k8s } from "../../api/index.ts";

/** Whether a pod's selector and required affinity allow the node. */
export function nodeAffinityAllows(spec: k8s.PodSpec, node: k8s.Node): boolean {
  const labels = node.metadata.labels ?? {};
  for (const [key, value] of Object.entries(spec.nodeSelector ?? {})) if (labels[key] !== value) return false;
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return !required || required.nodeSelectorTerms.some((term) => termAllows(term, labels, node.metadata.name ?? ""));
}

function termAllows(term: k8s.NodeSelectorTerm, labels: Readonly<Record<string, string>>, name: string): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length + matchFields.length === 0) return false;
  return (
    matchExpressions.every((rule) => ruleAllows(rule, labels[rule.key])) &&
    matchFields.every((rule) => ruleAllows(rule, rule.key === "metadata.name" ? name : undefined))
  );
}

function ruleAllows({ operator, values = [] }: k8s.NodeSelectorRequirement, value: string | undefined): boolean {
  if (operator === "Exists") return value !== undefined;
  if (operator === "DoesNotExist") return value === undefined;
  if (operator === "NotIn") return value === undefined || !values.includes(value);
  if (value === undefined) return false;
  if (operator === "In") return values.includes(value);
  return operator === "Gt" ? Number(value) > Number(values[0]) : Number(value) < Number(values[0]);
}

export function tolerates(tolerations: readonly k8s.Toleration[], taint: k8s.Taint): boolean {
  return tolerations.some(
    ({ key, operator, value, effect }) =>
      (!effect || effect === taint.effect) &&
      (!key || key === taint.key) &&
      (operator === "Exists" || (value ?? "") === (taint.value ?? "")),
  );
}
