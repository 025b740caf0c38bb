import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { bootstrapClusterRoleBindings, bootstrapClusterRoles, bootstrapRoleBindings, bootstrapRoles } from "./roles.ts";

/** How many rules each default role of v1.34 has, with its feature gates as they come; controllers without their prefix. */
const ruleCounts: Readonly<Record<string, number>> = {
  "cluster-admin": 2,
  "system:aggregate-to-admin": 2,
  "system:aggregate-to-edit": 14,
  "system:aggregate-to-view": 11,
  "system:auth-delegator": 2,
  "system:basic-user": 2,
  "system:certificates.k8s.io:certificatesigningrequests:nodeclient": 1,
  "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": 1,
  "system:certificates.k8s.io:kube-apiserver-client-approver": 1,
  "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": 1,
  "system:certificates.k8s.io:kubelet-serving-approver": 1,
  "system:certificates.k8s.io:legacy-unknown-approver": 1,
  "system:discovery": 1,
  "system:heapster": 2,
  "system:kube-aggregator": 1,
  "system:kube-controller-manager": 11,
  "system:kube-dns": 1,
  "system:kube-scheduler": 24,
  "system:kubelet-api-admin": 4,
  "system:monitoring": 1,
  "system:node": 25,
  "system:node-bootstrapper": 1,
  "system:node-problem-detector": 3,
  "system:node-proxier": 5,
  "system:persistent-volume-provisioner": 5,
  "system:public-info-viewer": 1,
  "system:service-account-issuer-discovery": 1,
  "system:volume-scheduler": 3,
};
const controllerRuleCounts: Readonly<Record<string, number>> = {
  "attachdetach-controller": 8,
  "certificate-controller": 6,
  "clusterrole-aggregation-controller": 1,
  "cronjob-controller": 6,
  "daemon-set-controller": 8,
  "deployment-controller": 6,
  "disruption-controller": 9,
  "endpoint-controller": 4,
  "endpointslice-controller": 4,
  "endpointslicemirroring-controller": 5,
  "ephemeral-volume-controller": 4,
  "expand-controller": 7,
  "generic-garbage-collector": 2,
  "horizontal-pod-autoscaler": 8,
  "job-controller": 5,
  "legacy-service-account-token-cleaner": 2,
  "namespace-controller": 3,
  "node-controller": 5,
  "persistent-volume-binder": 12,
  "pod-garbage-collector": 3,
  "pv-protection-controller": 2,
  "pvc-protection-controller": 3,
  "replicaset-controller": 5,
  "replication-controller": 5,
  "resource-claim-controller": 6,
  "resourcequota-controller": 3,
  "root-ca-cert-publisher": 2,
  "route-controller": 3,
  "selinux-warning-controller": 5,
  "service-account-controller": 2,
  "service-cidrs-controller": 5,
  "service-controller": 5, // upstream's four and one of ours, see controller-roles.ts
  "statefulset-controller": 9,
  "ttl-after-finished-controller": 2,
  "ttl-controller": 2,
  "validatingadmissionpolicy-status-controller": 3,
  "volumeattributesclass-protection-controller": 4,
};

const roles = new Map(bootstrapClusterRoles().map((role) => [role.metadata!.name!, role]));
const sums = ["admin", "edit", "view"];

test("the default cluster roles are upstream's, with as many rules", () => {
  const controllers = Object.entries(controllerRuleCounts).map(([name, count]) => [`system:controller:${name}`, count]);
  const counts = [...roles].filter(([name]) => !sums.includes(name)).map(([name, { rules }]) => [name, rules!.length]);
  assert.deepEqual(Object.fromEntries(counts), { ...ruleCounts, ...Object.fromEntries(controllers) });
});

test("admin, edit and view are sums by label, and every role says that it is kept", () => {
  const labels = (name: string) =>
    Object.keys(roles.get(name)!.metadata!.labels!).filter((label) => label.startsWith("rbac."));
  assert.deepEqual(sums.map(labels), [
    [],
    ["rbac.authorization.k8s.io/aggregate-to-admin"],
    ["rbac.authorization.k8s.io/aggregate-to-edit"],
  ]);
  for (const [name, { metadata }] of roles) {
    assert.equal(metadata!.labels!["kubernetes.io/bootstrapping"], "rbac-defaults", name);
    assert.equal(metadata!.annotations!["rbac.authorization.kubernetes.io/autoupdate"], "true", name);
  }
});

const allows = (role: k8s.ClusterRole, verb: string, resource: string, group = ""): boolean =>
  role.rules!.some(
    (rule) =>
      rule.verbs.includes(verb) &&
      rule.apiGroups?.includes(group) === true &&
      rule.resources?.includes(resource) === true,
  );

test("what may escalate is with those alone who may: secrets, exec, endpoints, roles", () => {
  const [admin, edit, view] = sums.map((name) => roles.get(name)!);
  assert.deepEqual(
    [view!, edit!, admin!].map((role) => [
      allows(role, "get", "secrets"),
      allows(role, "create", "pods/exec"),
      allows(role, "impersonate", "serviceaccounts"),
      allows(role, "update", "endpoints"),
      allows(role, "create", "rolebindings", "rbac.authorization.k8s.io"),
      allows(role, "create", "resourceclaims", "resource.k8s.io"),
      allows(role, "list", "deployments", "extensions"),
    ]),
    [
      [false, false, false, false, false, false, true],
      [true, true, true, false, false, true, true],
      [true, true, true, false, true, true, true],
    ],
  );
});

test("bindings: a controller's to its account, the node's to nobody, anonymous users learn what is public", () => {
  const bindings = new Map(bootstrapClusterRoleBindings().map((binding) => [binding.metadata!.name!, binding]));
  assert.equal(bindings.size, 15 + Object.keys(controllerRuleCounts).length);
  assert.deepEqual(
    ["bootstrap", "certificate-rotation"].map((what) => {
      const { roleRef, subjects } = bindings.get(`berth:node-autoapprove-${what}`)!;
      return [roleRef.name.split(":").at(-1), subjects![0]!.name];
    }),
    [
      ["nodeclient", "system:bootstrappers"],
      ["selfnodeclient", "system:nodes"],
    ],
  );
  assert.equal(bindings.get("system:node")!.subjects, undefined);
  assert.deepEqual(bindings.get("system:controller:ttl-controller")!.subjects, [
    { kind: "ServiceAccount", name: "ttl-controller", namespace: "kube-system" },
  ]);
  assert.deepEqual(
    bindings.get("system:public-info-viewer")!.subjects!.map(({ name }) => name),
    ["system:authenticated", "system:unauthenticated"],
  );
});

test("roles within kube-system and kube-public, and whom they are bound to", () => {
  const lines = bootstrapRoleBindings().map(
    ({ metadata, roleRef, subjects }) =>
      `${metadata!.namespace}/${metadata!.name} ${roleRef.name}: ${subjects!.map(({ name }) => name).join(",")}`,
  );
  assert.deepEqual(lines, [
    "kube-system/system::extension-apiserver-authentication-reader extension-apiserver-authentication-reader: system:kube-controller-manager,system:kube-scheduler",
    "kube-system/system:controller:bootstrap-signer system:controller:bootstrap-signer: bootstrap-signer",
    "kube-system/system:controller:cloud-provider system:controller:cloud-provider: cloud-provider",
    "kube-system/system:controller:token-cleaner system:controller:token-cleaner: token-cleaner",
    "kube-system/system::leader-locking-kube-controller-manager system::leader-locking-kube-controller-manager: system:kube-controller-manager,kube-controller-manager",
    "kube-system/system::leader-locking-kube-scheduler system::leader-locking-kube-scheduler: system:kube-scheduler,kube-scheduler",
    "kube-public/system:controller:bootstrap-signer system:controller:bootstrap-signer: bootstrap-signer",
  ]);
  assert.equal(bootstrapRoles().length, lines.length);
});
