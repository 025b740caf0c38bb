import type { k8s, UserInfo } from "../../../api/index.ts";
import type { RequestInfo } from "../pipeline.ts";

type Rule = k8s.PolicyRulesWithSubjects;

const ALL = "*";
const ACCOUNT_PREFIX = "system:serviceaccount:";

/** The first by precedence, then by name, of which a rule fits. https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#flowschema */
export function matchFlow(
  schemas: readonly k8s.FlowSchema[],
  info: RequestInfo,
  user: UserInfo,
): k8s.FlowSchema | undefined {
  return schemas.find(({ spec }) => spec?.rules?.some((rule) => fits(rule, info, user)));
}

/** In the order in which they are tried. */
export function byPrecedence(schemas: readonly k8s.FlowSchema[]): k8s.FlowSchema[] {
  const precedence = ({ spec }: k8s.FlowSchema) => spec?.matchingPrecedence ?? 1000;
  const name = ({ metadata }: k8s.FlowSchema) => metadata?.name ?? "";
  return schemas.toSorted((a, b) => precedence(a) - precedence(b) || (name(a) < name(b) ? -1 : 1));
}

/** What tells the flows of a schema apart. */
export function distinguisher({ spec }: k8s.FlowSchema, { namespace }: RequestInfo, { name }: UserInfo): string {
  const type = spec?.distinguisherMethod?.type;
  return type === "ByUser" ? name : type === "ByNamespace" ? namespace : "";
}

function fits(rule: Rule, info: RequestInfo, user: UserInfo): boolean {
  if (!rule.subjects?.some((subject) => isSubject(subject, user))) return false;
  if (info.isResource) return rule.resourceRules?.some((one) => fitsResource(one, info)) ?? false;
  return rule.nonResourceRules?.some((one) => fitsPath(one, info)) ?? false;
}

function isSubject(subject: k8s.FlowcontrolSubject, { name, groups }: UserInfo): boolean {
  switch (subject.kind) {
    case "User":
      return includes([subject.user?.name ?? ""], name);
    case "Group":
      return subject.group?.name === ALL || groups.includes(subject.group?.name ?? "");
    case "ServiceAccount": {
      if (!name.startsWith(ACCOUNT_PREFIX)) return false;
      const [namespace, account = ""] = name.slice(ACCOUNT_PREFIX.length).split(":");
      const wanted = subject.serviceAccount;
      if (wanted === undefined) return false;
      return (wanted.namespace === ALL || wanted.namespace === namespace) && includes([wanted.name], account);
    }
    default:
      return false;
  }
}

function fitsResource(rule: k8s.ResourcePolicyRule, info: RequestInfo): boolean {
  const resource = info.subresource === "" ? info.resource : `${info.resource}/${info.subresource}`;
  return (
    includes(rule.verbs, info.verb) &&
    includes(rule.apiGroups, info.group) &&
    includes(rule.resources, resource) &&
    (info.namespace === "" ? rule.clusterScope === true : includes(rule.namespaces ?? [], info.namespace))
  );
}

function fitsPath({ verbs, nonResourceURLs }: k8s.NonResourcePolicyRule, { verb, path }: RequestInfo): boolean {
  const isIn = (url: string) => url === path || (url.endsWith("/*") && path.startsWith(url.slice(0, -1)));
  return includes(verbs, verb) && (nonResourceURLs.includes(ALL) || nonResourceURLs.some(isIn));
}

const includes = (list: readonly string[] | undefined, value: string): boolean =>
  list?.includes(value) === true || list?.includes(ALL) === true;
