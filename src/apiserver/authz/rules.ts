import type { k8s } from "../../api/index.ts";
import type { AuthorizationAttributes } from "../machinery/pipeline.ts";

const has = (list: readonly string[] | undefined, value: string): boolean =>
  list !== undefined && (list.includes("*") || list.includes(value));

/** Whether one RBAC rule covers what is asked. */
export function ruleAllows(rule: k8s.PolicyRule, asked: AuthorizationAttributes): boolean {
  if (!has(rule.verbs, asked.verb)) return false;
  if (!asked.isResource) return (rule.nonResourceURLs ?? []).some((pattern) => pathMatches(pattern, asked.path));
  if (!has(rule.apiGroups, asked.group) || !coversResource(rule.resources, asked)) return false;
  return (rule.resourceNames ?? []).length === 0 || rule.resourceNames!.includes(asked.name);
}

/** `pods`, `pods/log`, `*`, and every resource's subresource as `(any)/scale`. */
function coversResource(
  resources: readonly string[] = [],
  { resource, subresource }: AuthorizationAttributes,
): boolean {
  const wanted = subresource === "" ? resource : `${resource}/${subresource}`;
  return (
    resources.includes("*") ||
    resources.includes(wanted) ||
    (subresource !== "" && resources.includes(`*/${subresource}`))
  );
}

function pathMatches(pattern: string, path: string): boolean {
  if (pattern === "*" || pattern === path) return true;
  return pattern.endsWith("*") && path.startsWith(pattern.slice(0, -1));
}

/** What of `wanted` the rules do not cover: nobody may grant more than they have. */
export function uncovered(wanted: readonly k8s.PolicyRule[], held: readonly k8s.PolicyRule[]): k8s.PolicyRule[] {
  return wanted.flatMap(breakDown).filter((rule) => !held.some((owner) => covers(owner, rule)));
}

/** One rule for each verb, group, resource and name. */
function breakDown(rule: k8s.PolicyRule): k8s.PolicyRule[] {
  const urls = (rule.nonResourceURLs ?? []).flatMap((url) =>
    rule.verbs.map((verb) => ({ verbs: [verb], nonResourceURLs: [url] })),
  );
  const names = rule.resourceNames?.length ? rule.resourceNames : [undefined];
  const resources = (rule.apiGroups ?? []).flatMap((group) =>
    (rule.resources ?? []).flatMap((resource) =>
      rule.verbs.flatMap((verb) =>
        names.map((name) => ({
          verbs: [verb],
          apiGroups: [group],
          resources: [resource],
          ...(name === undefined ? {} : { resourceNames: [name] }),
        })),
      ),
    ),
  );
  return [...urls, ...resources];
}

/** `single` has one of each, as breakDown makes them. */
function covers(owner: k8s.PolicyRule, single: k8s.PolicyRule): boolean {
  if (!has(owner.verbs, single.verbs[0]!)) return false;
  const [url] = single.nonResourceURLs ?? [];
  if (url !== undefined) return (owner.nonResourceURLs ?? []).some((pattern) => pathMatches(pattern, url));
  if (!has(owner.apiGroups, single.apiGroups![0]!)) return false;
  const resource = single.resources![0]!;
  const subresource = resource.split("/")[1];
  const covered =
    has(owner.resources, resource) ||
    (subresource !== undefined && owner.resources?.includes(`*/${subresource}`) === true);
  if (!covered) return false;
  if (!owner.resourceNames?.length) return true;
  const [name] = single.resourceNames ?? [];
  return name !== undefined && owner.resourceNames.includes(name);
}
