import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, named } from "../../shared/checks.ts";
import { forbidden, invalid, required } from "../../shared/field-errors.ts";
import { isDns1123Label, isDns1123Subdomain, isQualifiedName } from "../../shared/names.ts";
import { validateLabelSelector, validateSetOperator } from "../../shared/object-meta.ts";

/** Where a Pod may run beside what, and on which nodes. */

function validateRequirement({ key, operator, values = [] }: k8s.NodeSelectorRequirement, at: string): FieldError[] {
  const isOrder = operator === "Gt" || operator === "Lt";
  const errors = isOrder ? [] : validateSetOperator(operator, values, at);
  if (isOrder && values.length !== 1)
    errors.push(required(`${at}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
  return [...errors, ...named(`${at}.key`, key ?? "", isQualifiedName)];
}

function validateFieldRequirement(
  { key, operator, values = [] }: k8s.NodeSelectorRequirement,
  at: string,
): FieldError[] {
  const errors: FieldError[] = [];
  if (operator !== "In" && operator !== "NotIn")
    errors.push(invalid(`${at}.operator`, operator ?? "", "not a valid selector operator"));
  else if (values.length !== 1)
    errors.push(
      required(`${at}.values`, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"),
    );
  if (key !== "metadata.name") errors.push(invalid(`${at}.key`, key ?? "", "not a valid field selector key"));
  else errors.push(...each(values, `${at}.values`, (value, here) => named(here, value, isDns1123Subdomain)));
  return errors;
}

const validateNodeSelectorTerm = (term: k8s.NodeSelectorTerm, at: string): FieldError[] => [
  ...each(term.matchExpressions, `${at}.matchExpressions`, validateRequirement),
  ...each(term.matchFields, `${at}.matchFields`, validateFieldRequirement),
];

export function validateNodeSelector(selector: k8s.NodeSelector, at: string): FieldError[] {
  const terms = selector.nodeSelectorTerms ?? [];
  if (terms.length === 0) return [required(`${at}.nodeSelectorTerms`, "must have at least one node selector term")];
  return each(terms, `${at}.nodeSelectorTerms`, validateNodeSelectorTerm);
}

const weight = (at: string, value: number): FieldError[] =>
  value > 0 && value <= 100 ? [] : [invalid(`${at}.weight`, value ?? 0, "must be in the range 1-100")];

function validateNodeAffinity(affinity: k8s.NodeAffinity, at: string): FieldError[] {
  const needed = affinity.requiredDuringSchedulingIgnoredDuringExecution;
  return [
    ...(needed ? validateNodeSelector(needed, `${at}.requiredDuringSchedulingIgnoredDuringExecution`) : []),
    ...each(
      affinity.preferredDuringSchedulingIgnoredDuringExecution,
      `${at}.preferredDuringSchedulingIgnoredDuringExecution`,
      (term, here) => [
        ...weight(here, term.weight),
        ...validateNodeSelectorTerm(term.preference ?? {}, `${here}.preference`),
      ],
    ),
  ];
}

function validateLabelKeys(
  keys: readonly string[] | undefined,
  selector: k8s.LabelSelector | undefined,
  at: string,
): FieldError[] {
  if ((keys ?? []).length === 0) return [];
  if (selector === undefined) return [forbidden(at, "must not be specified when labelSelector is not set")];
  return each(keys, at, (key, here) => named(here, key, isQualifiedName));
}

/** A key that stands twice: in the selector and among the keys from which admission has added to the selector. */
function validateKeysNotInSelector(term: k8s.PodAffinityTerm, at: string): FieldError[] {
  const keys = term.matchLabelKeys ?? [];
  const seen = new Set(Object.keys(term.labelSelector?.matchLabels ?? {}));
  const errors: FieldError[] = [];
  for (const { key } of term.labelSelector?.matchExpressions ?? []) {
    if (keys.includes(key) && seen.has(key))
      errors.push(invalid(`${at}[${keys.indexOf(key)}]`, key, "exists in both matchLabelKeys and labelSelector"));
    seen.add(key);
  }
  for (const [index, key] of keys.entries())
    if (term.mismatchLabelKeys?.includes(key))
      errors.push(
        invalid(`${at}.matchLabelKeys[${index}]`, key, "exists in both matchLabelKeys and mismatchLabelKeys"),
      );
  return errors;
}

function validatePodTerm(term: k8s.PodAffinityTerm, at: string): FieldError[] {
  return [
    ...validateLabelSelector(term.labelSelector, `${at}.labelSelector`),
    ...validateLabelSelector(term.namespaceSelector, `${at}.namespaceSelector`),
    ...(term.namespaces ?? []).flatMap((name) => named(`${at}.namespace`, name, isDns1123Label)),
    ...validateLabelKeys(term.matchLabelKeys, term.labelSelector, `${at}.matchLabelKeys`),
    ...validateLabelKeys(term.mismatchLabelKeys, term.labelSelector, `${at}.mismatchLabelKeys`),
    ...validateKeysNotInSelector(term, at),
    ...(term.topologyKey ? [] : [required(`${at}.topologyKey`, "can not be empty")]),
    ...named(`${at}.topologyKey`, term.topologyKey ?? "", isQualifiedName),
  ];
}

const validatePodTerms = (affinity: k8s.PodAffinity | k8s.PodAntiAffinity, at: string): FieldError[] => [
  ...each(
    affinity.requiredDuringSchedulingIgnoredDuringExecution,
    `${at}.requiredDuringSchedulingIgnoredDuringExecution`,
    validatePodTerm,
  ),
  ...each(
    affinity.preferredDuringSchedulingIgnoredDuringExecution,
    `${at}.preferredDuringSchedulingIgnoredDuringExecution`,
    (term, here) => [
      ...weight(here, term.weight),
      ...validatePodTerm(term.podAffinityTerm ?? ({} as k8s.PodAffinityTerm), `${here}.podAffinityTerm`),
    ],
  ),
];

export const validateAffinity = (affinity: k8s.Affinity | undefined, at: string): FieldError[] => [
  ...(affinity?.nodeAffinity ? validateNodeAffinity(affinity.nodeAffinity, `${at}.nodeAffinity`) : []),
  ...(affinity?.podAffinity ? validatePodTerms(affinity.podAffinity, `${at}.podAffinity`) : []),
  ...(affinity?.podAntiAffinity ? validatePodTerms(affinity.podAntiAffinity, `${at}.podAntiAffinity`) : []),
];
