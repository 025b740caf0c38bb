import type { k8s } from "../../api/index.ts";
import { labelPredicate, resources, type Stored } from "../../client/index.ts";
import { canonicalJson, sameJson } from "../common/index.ts";
import type { Controller } from "../controller.ts";

type ClusterRole = Stored<k8s.ClusterRole>;

/** The rules of the roles that an aggregating role selects, in order of their names, each once. */
function aggregateRules(role: ClusterRole, all: readonly ClusterRole[]): k8s.PolicyRule[] {
  const selectors = (role.aggregationRule?.clusterRoleSelectors ?? []).map(labelPredicate);
  const rules = new Map<string, k8s.PolicyRule>();
  for (const matches of selectors) {
    const selected = all.filter((other) => other !== role && matches(other.metadata.labels));
    for (const other of selected.sort((left, right) => (left.metadata.name < right.metadata.name ? -1 : 1))) {
      for (const rule of other.rules ?? []) rules.set(canonicalJson(rule), rule);
    }
  }
  return [...rules.values()];
}

/** https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles */
export const clusterRoleAggregationController: Controller = {
  name: "clusterrole-aggregation-controller",
  setup(context) {
    const roles = context.informer(resources.clusterRoles);
    const enqueueAll = () => {
      for (const role of roles.values()) if (role.aggregationRule) context.enqueue(role.metadata.name);
    };
    roles.onChange({ added: enqueueAll, updated: enqueueAll, deleted: enqueueAll });
    return {
      async reconcile(name, signal) {
        const role = roles.get(name);
        if (!role?.aggregationRule) return;
        const rules = aggregateRules(role, roles.list());
        if (!sameJson(rules, role.rules ?? []))
          await context.client.of(resources.clusterRoles).update({ ...role, rules }, { signal });
      },
    };
  },
};
