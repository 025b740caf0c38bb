import type { k8s } from "../../api/index.ts";
import { adminRules, clusterRoleRules, editRules, viewRules } from "./cluster-roles.ts";
import { controllerRoleRules } from "./controller-roles.ts";
import { namespacedRoles } from "./namespace-roles.ts";
import { parseRule } from "./rules.ts";

const meta = (name: string, labels: Record<string, string> = {}, namespace?: string): k8s.ObjectMeta => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
  labels: { "kubernetes.io/bootstrapping": "rbac-defaults", ...labels },
  annotations: { "rbac.authorization.kubernetes.io/autoupdate": "true" },
});

const aggregateTo = (role: string) => `rbac.authorization.k8s.io/aggregate-to-${role}`;
const aggregated: Readonly<Record<string, { labels: Record<string, string>; parts: readonly string[] }>> = {
  admin: { labels: {}, parts: ["admin", "edit", "view"] },
  edit: { labels: { [aggregateTo("admin")]: "true" }, parts: ["edit", "view"] },
  view: { labels: { [aggregateTo("edit")]: "true" }, parts: ["view"] },
};
const rulesOfPart: Readonly<Record<string, readonly string[]>> = {
  admin: adminRules,
  edit: editRules,
  view: viewRules,
};

const controllers = (): [string, readonly string[]][] =>
  Object.entries(controllerRoleRules).map(([name, lines]) => [`system:controller:${name}`, lines]);

export function bootstrapClusterRoles(): k8s.ClusterRole[] {
  const type = { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole" };
  const plain = [...Object.entries(clusterRoleRules), ...controllers()].map(([name, lines]) => {
    const part = /^system:aggregate-to-(.+)$/.exec(name)?.[1];
    return {
      ...type,
      metadata: meta(name, part === undefined ? {} : { [aggregateTo(part)]: "true" }),
      rules: lines.map(parseRule),
    };
  });
  const sums = Object.entries(aggregated).map(([name, { labels, parts }]) => ({
    ...type,
    metadata: meta(name, labels),
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [aggregateTo(name)]: "true" } }] },
    // The aggregation controller keeps these; they hold from the start.
    rules: parts.flatMap((part) => rulesOfPart[part]!.map(parseRule)),
  }));
  return [...plain, ...sums];
}

const rbacGroup = "rbac.authorization.k8s.io";
const group = (name: string): k8s.Subject => ({ kind: "Group", apiGroup: rbacGroup, name });
const user = (name: string): k8s.Subject => ({ kind: "User", apiGroup: rbacGroup, name });
const account = (name: string): k8s.Subject => ({ kind: "ServiceAccount", name, namespace: "kube-system" });

const binding = (name: string, role: string, bound: readonly k8s.Subject[]): k8s.ClusterRoleBinding => ({
  apiVersion: `${rbacGroup}/v1`,
  kind: "ClusterRoleBinding",
  metadata: meta(name),
  roleRef: { apiGroup: rbacGroup, kind: "ClusterRole", name: role },
  ...(bound.length > 0 ? { subjects: [...bound] } : {}),
});

export function bootstrapClusterRoleBindings(): k8s.ClusterRoleBinding[] {
  const subjects: Record<string, k8s.Subject[]> = {
    "cluster-admin": [group("system:masters")],
    "system:monitoring": [group("system:monitoring")],
    "system:discovery": [group("system:authenticated")],
    "system:basic-user": [group("system:authenticated")],
    "system:public-info-viewer": [group("system:authenticated"), group("system:unauthenticated")],
    "system:node-proxier": [user("system:kube-proxy")],
    "system:kube-controller-manager": [user("system:kube-controller-manager")],
    "system:kube-dns": [account("kube-dns")],
    "system:kube-scheduler": [user("system:kube-scheduler")],
    "system:volume-scheduler": [user("system:kube-scheduler")],
    "system:node": [],
    "system:service-account-issuer-discovery": [group("system:serviceaccounts")],
  };
  for (const name of Object.keys(controllerRoleRules)) subjects[`system:controller:${name}`] = [account(name)];
  const upstream = Object.entries(subjects).map(([name, bound]) => binding(name, name, bound));
  // As installers make them: who joins may ask for a node's certificate, and who joins or is a node gets one.
  const requests = "system:certificates.k8s.io:certificatesigningrequests";
  return [
    ...upstream,
    binding("berth:kubelet-bootstrap", "system:node-bootstrapper", [group("system:bootstrappers")]),
    binding("berth:node-autoapprove-bootstrap", `${requests}:nodeclient`, [group("system:bootstrappers")]),
    binding("berth:node-autoapprove-certificate-rotation", `${requests}:selfnodeclient`, [group("system:nodes")]),
  ];
}

/** Roles that hold in kube-system or kube-public alone. */
export function bootstrapRoles(): k8s.Role[] {
  return namespacedRoles.map(({ name, namespace, rules }) => ({
    apiVersion: `${rbacGroup}/v1`,
    kind: "Role",
    metadata: meta(name, {}, namespace),
    rules: rules.map(parseRule),
  }));
}

export function bootstrapRoleBindings(): k8s.RoleBinding[] {
  return namespacedRoles.map(({ name, namespace, binding = name, users = [], accounts = [] }) => ({
    apiVersion: `${rbacGroup}/v1`,
    kind: "RoleBinding",
    metadata: meta(binding, {}, namespace),
    roleRef: { apiGroup: rbacGroup, kind: "Role", name },
    subjects: [...users.map(user), ...accounts.map(account)],
  }));
}
