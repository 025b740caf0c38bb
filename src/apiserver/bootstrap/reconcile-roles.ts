import type { k8s } from "../../api/index.ts";
import { defineResource, resources, type AnyObject, type ResourceClient } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import { bootstrapClusterRoleBindings, bootstrapClusterRoles } from "./roles.ts";

const AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate";
const clusterRoleBindings = defineResource<k8s.ClusterRoleBinding>(
  "rbac.authorization.k8s.io/v1",
  "clusterrolebindings",
  "ClusterRoleBinding",
  false,
);

/**
 * Default roles and bindings of an older berth (or ones that somebody cut down) get the rules and subjects they lack; what somebody added stays. Those annotated
 * `rbac.authorization.kubernetes.io/autoupdate: "false"` are left alone
 * (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation).
 */
export async function reconcileRoles(state: ClusterState): Promise<void> {
  await reconcile(state.client.of(resources.clusterRoles), bootstrapClusterRoles(), "rules");
  await reconcile(state.client.of(clusterRoleBindings), bootstrapClusterRoleBindings(), "subjects");
}

async function reconcile<T extends AnyObject, F extends keyof T>(
  client: ResourceClient<T>,
  wanted: readonly T[],
  field: F,
): Promise<void> {
  const there = new Map((await client.list()).items.map((item) => [item.metadata.name, item]));
  const changed = wanted.map((one) => withMissing<T, F>(there.get(one.metadata!.name!), one, field));
  await Promise.all(changed.flatMap((object) => (object ? [client.update(object)] : [])));
}

/** What is there with the wanted entries it lacks; undefined when it lacks none, or is to be left alone. */
export function withMissing<T extends { metadata?: k8s.ObjectMeta }, F extends keyof T>(
  there: T | undefined,
  wanted: T,
  field: F,
): T | undefined {
  // An aggregated role's rules are the aggregation controller's.
  if (!there || "aggregationRule" in there || there.metadata?.annotations?.[AUTO_UPDATE] === "false") return undefined;
  const entries = (there[field] ?? []) as object[];
  const known = new Set(entries.map(canonical));
  const missing = ((wanted[field] ?? []) as object[]).filter((entry) => !known.has(canonical(entry)));
  return missing.length === 0 ? undefined : { ...there, [field]: [...entries, ...missing] };
}

/** The same for the same entry, whatever the order of its fields and lists. */
function canonical(entry: object): string {
  return JSON.stringify(
    Object.entries(entry)
      .map(([key, value]) => [
        key,
        Array.isArray(value) ? value.map(String).toSorted((one, other) => (one < other ? -1 : 1)) : value,
      ])
      .toSorted(([one], [other]) => (String(one) < String(other) ? -1 : 1)),
  );
}
