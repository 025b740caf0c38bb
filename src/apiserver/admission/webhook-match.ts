import type { k8s } from "../../api/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Kind } from "../machinery/kind.ts";
import type { AdmissionRequest } from "../machinery/pipeline.ts";
import { selects } from "../resources/shared/object-meta.ts";
import { asItIs, asVersion, equivalentKinds } from "./equivalents.ts";
import type { Matched } from "./equivalents.ts";

/** Rules of webhooks have no names. */
type Rule = k8s.NamedRuleWithOperations;

const has = (list: readonly string[] | undefined, value: string): boolean =>
  list !== undefined && (list.includes("*") || list.includes(value));

/** Whether a rule of a webhook or policy speaks of the request, were it about that resource. */
function ruleMatches(
  rule: Rule,
  { operation, subresource, namespace, name }: AdmissionRequest,
  resource: AdmissionRequest["resource"],
): boolean {
  if (
    !has(rule.operations, operation) ||
    !has(rule.apiGroups, resource.group) ||
    !has(rule.apiVersions, resource.version)
  )
    return false;
  if (rule.scope === "Cluster" && namespace !== "") return false;
  if (rule.scope === "Namespaced" && namespace === "") return false;
  if (rule.resourceNames?.length && !rule.resourceNames.includes(name)) return false;
  return (rule.resources ?? []).some((pattern) => {
    const [wanted = "", sub = ""] = pattern.split("/");
    if (wanted !== "*" && wanted !== resource.resource) return false;
    if (pattern === "*/*" || sub === "*") return true;
    return sub === subresource;
  });
}

/**
 * The request as the first rule that speaks of it wants to see it, undefined when none does. With `Equivalent`, a rule that names another
 * group or version of the same objects speaks of it too
 * (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchpolicy).
 */
export async function matchRules(
  kinds: () => readonly Kind[],
  request: AdmissionRequest,
  rules: readonly Rule[],
  matchPolicy: string | undefined,
): Promise<Matched | undefined> {
  if (rules.some((rule) => ruleMatches(rule, request, request.resource))) return asItIs(request);
  if (matchPolicy !== "Equivalent" || rules.length === 0) return undefined;
  const all = kinds();
  const equivalents = equivalentKinds(all, request);
  for (const rule of rules) {
    const found = equivalents.find(({ group, version, plural }) =>
      ruleMatches(rule, request, { group, version, resource: plural }),
    );
    if (found !== undefined) return asVersion(all, request, found);
  }
  return undefined;
}

/** The namespace's labels for what is in one, a Namespace's own for itself, none for the rest of the cluster. */
async function namespaceLabels(
  state: ClusterState,
  request: AdmissionRequest,
): Promise<Record<string, string> | undefined> {
  const { resource, object, oldObject, namespace } = request;
  if (resource.group === "" && resource.resource === "namespaces") return (object ?? oldObject)?.metadata.labels ?? {};
  if (namespace === "") return undefined;
  return (await state.namespaces.find(namespace))?.metadata.labels ?? {};
}

export async function selectorsMatch(
  state: ClusterState,
  request: AdmissionRequest,
  { namespaceSelector, objectSelector }: { namespaceSelector?: k8s.LabelSelector; objectSelector?: k8s.LabelSelector },
): Promise<boolean> {
  if (!isEverything(namespaceSelector)) {
    const labels = await namespaceLabels(state, request);
    if (labels !== undefined && !selects(namespaceSelector, labels)) return false;
  }
  if (isEverything(objectSelector)) return true;
  return [request.object, request.oldObject].some(
    (object) => object !== undefined && selects(objectSelector, object.metadata.labels),
  );
}

const isEverything = (selector: k8s.LabelSelector | undefined): boolean =>
  Object.keys(selector?.matchLabels ?? {}).length === 0 && (selector?.matchExpressions ?? []).length === 0;
