import type { k8s, KubeObject } from "../../api/index.ts";

/** https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes */
export function quotaCovers(spec: k8s.ResourceQuotaSpec | undefined, resource: string, object: KubeObject): boolean {
  const scopes: k8s.ScopedResourceSelectorRequirement[] = [
    ...(spec?.scopes ?? []).map((scopeName) => ({ scopeName, operator: "Exists" })),
    ...(spec?.scopeSelector?.matchExpressions ?? []),
  ];
  return scopes.every((scope) => holds(scope, resource, object));
}

function holds(scope: k8s.ScopedResourceSelectorRequirement, resource: string, object: KubeObject): boolean {
  if (resource === "pods") return podHolds(scope, (object as k8s.Pod).spec);
  if (resource !== "persistentvolumeclaims" || scope.scopeName !== "VolumeAttributesClass") return false;
  return matches(scope, (object as k8s.PersistentVolumeClaim).spec?.volumeAttributesClassName);
}

function podHolds(scope: k8s.ScopedResourceSelectorRequirement, spec: k8s.PodSpec | undefined): boolean {
  switch (scope.scopeName) {
    case "Terminating":
      return spec?.activeDeadlineSeconds !== undefined;
    case "NotTerminating":
      return spec?.activeDeadlineSeconds === undefined;
    case "BestEffort":
      return isBestEffort(spec);
    case "NotBestEffort":
      return !isBestEffort(spec);
    case "PriorityClass":
      return matches(scope, spec?.priorityClassName);
    case "CrossNamespacePodAffinity":
      return reachesOtherNamespaces(spec?.affinity);
    default:
      return false;
  }
}

function matches({ operator, values = [] }: k8s.ScopedResourceSelectorRequirement, value: string | undefined): boolean {
  const isSet = value !== undefined && value !== "";
  if (operator === "Exists") return isSet;
  if (operator === "DoesNotExist") return !isSet;
  return values.includes(value ?? "") === (operator === "In");
}

function isBestEffort(spec: k8s.PodSpec | undefined): boolean {
  const given = (all: Record<string, unknown> | undefined) =>
    all?.["cpu"] !== undefined || all?.["memory"] !== undefined;
  const containers = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  return !containers.some(({ resources }) => given(resources?.requests) || given(resources?.limits));
}

function reachesOtherNamespaces(affinity: k8s.Affinity | undefined): boolean {
  return [affinity?.podAffinity, affinity?.podAntiAffinity].some((one) => {
    const preferred = (one?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((term) => term.podAffinityTerm);
    const terms = [...(one?.requiredDuringSchedulingIgnoredDuringExecution ?? []), ...preferred];
    return terms.some(({ namespaces, namespaceSelector }) => namespaces?.length || namespaceSelector !== undefined);
  });
}
