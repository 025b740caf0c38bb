import type { k8s } from "../../api/index.ts";

/** Rules of RBAC, one line each: `verbs groups resources [names]`, lists by comma, `-` for the core group; `verbs url URLs` for other paths. */
export type RuleTable = Readonly<Record<string, readonly string[]>>;

export const read = "get,list,watch";
export const write = "create,delete,deletecollection,patch,update";
export const readWrite = `create,delete,deletecollection,${read},patch,update`;
export const readUpdate = `${read},patch,update`;
export const eventsRule = "create,patch,update -,events.k8s.io events";

export function parseRule(line: string): k8s.PolicyRule {
  const [verbs = "", groups = "", resources = "", names] = line.split(" ");
  if (groups === "url") return { verbs: verbs.split(","), nonResourceURLs: resources.split(",") };
  const rule: k8s.PolicyRule = {
    verbs: verbs.split(","),
    apiGroups: groups.split(",").map((group) => (group === "-" ? "" : group)),
    resources: resources.split(","),
  };
  if (names !== undefined) rule.resourceNames = names.split(",");
  return rule;
}
