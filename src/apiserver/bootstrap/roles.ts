import type { k8s } from "../../api/index.ts";

/**
 * The roles every cluster begins with (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings),
 * one line per rule: `verbs groups resources [names]`, lists by comma, `-` for the core group; `verbs url URLs` for other paths.
 */
const read = "get,list,watch";
const write = "create,delete,deletecollection,patch,update";
const all = `create,delete,deletecollection,${read},patch,update`;

const discoveryUrls = "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/";
const eventRules = "create,patch,update -,events.k8s.io events";

const viewRules = [
  `${read} - configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status`,
  `${read} - bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status`,
  `${read} - namespaces`,
  `${read} discovery.k8s.io endpointslices`,
  `${read} apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status`,
  `${read} autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status`,
  `${read} batch cronjobs,cronjobs/status,jobs,jobs/status`,
  `${read} policy poddisruptionbudgets,poddisruptionbudgets/status`,
  `${read} networking.k8s.io ingresses,ingresses/status,networkpolicies`,
];
const editRules = [
  `${read} - pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy`,
  `impersonate - serviceaccounts`,
  `${write} - pods,pods/attach,pods/exec,pods/portforward,pods/proxy`,
  `create - pods/eviction`,
  `${write} - configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy`,
  `create - serviceaccounts/token`,
  `${write} apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale`,
  `${write} autoscaling horizontalpodautoscalers`,
  `${write} batch cronjobs,jobs`,
  `${write} policy poddisruptionbudgets`,
  `${write} networking.k8s.io ingresses,networkpolicies`,
  `${all} coordination.k8s.io leases`,
];
const adminRules = [
  "create authorization.k8s.io localsubjectaccessreviews",
  `${all} rbac.authorization.k8s.io rolebindings,roles`,
];

/** By name; a controller's is `system:controller:NAME`. */
const clusterRoleRules: Readonly<Record<string, readonly string[]>> = {
  "cluster-admin": ["* * *", "* url *"],
  "system:discovery": [`get url ${discoveryUrls}`],
  "system:basic-user": [
    "create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews",
    "create authentication.k8s.io selfsubjectreviews",
  ],
  "system:public-info-viewer": ["get url /healthz,/livez,/readyz,/version,/version/"],
  "system:monitoring": ["get url /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"],
  "system:service-account-issuer-discovery": [
    "get url /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
  ],
  "system:aggregate-to-admin": adminRules,
  "system:aggregate-to-edit": editRules,
  "system:aggregate-to-view": viewRules,
  "system:heapster": [`${read} - events,namespaces,nodes,pods`, `${read} apps deployments`],
  "system:node": [],
  "system:node-problem-detector": ["get - nodes", "patch - nodes/status", eventRules],
  "system:node-proxier": [
    `list,watch - services,endpoints`,
    `${read} - nodes`,
    eventRules,
    `list,watch discovery.k8s.io endpointslices`,
    "list,watch networking.k8s.io servicecidrs",
  ],
  "system:kubelet-api-admin": [
    `${read},proxy - nodes`,
    "* - nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats",
  ],
  "system:node-bootstrapper": ["create,get,list,watch certificates.k8s.io certificatesigningrequests"],
  "system:auth-delegator": [
    "create authentication.k8s.io tokenreviews",
    "create authorization.k8s.io subjectaccessreviews",
  ],
  "system:kube-aggregator": [`${read} - endpoints,services`],
  "system:kube-controller-manager": [
    eventRules,
    "create coordination.k8s.io leases",
    "get,update coordination.k8s.io leases kube-controller-manager",
    "create - secrets,serviceaccounts",
    "delete - secrets",
    "get - configmaps,namespaces,secrets,serviceaccounts",
    "update - secrets,serviceaccounts",
    "create authentication.k8s.io tokenreviews",
    "create authorization.k8s.io subjectaccessreviews",
    "list,watch * *",
    "create - serviceaccounts/token",
  ],
  "system:kube-scheduler": [
    eventRules,
    "create coordination.k8s.io leases",
    "get,list,update,watch coordination.k8s.io leases kube-scheduler",
    `${read} - nodes`,
    `delete,${read} - pods`,
    "create - bindings,pods/binding",
    "patch,update - pods/status",
    `${read} - replicationcontrollers,services`,
    `${read} apps replicasets,statefulsets`,
    `${read} policy poddisruptionbudgets`,
    `${read},patch,update - persistentvolumeclaims,persistentvolumes`,
    "create authentication.k8s.io tokenreviews",
    "create authorization.k8s.io subjectaccessreviews",
    `${read} storage.k8s.io csidrivers,csinodes,csistoragecapacities,storageclasses,volumeattachments`,
    `${read} resource.k8s.io deviceclasses,resourceclaims,resourceslices`,
    "patch,update resource.k8s.io resourceclaims/status",
    `${read} - namespaces`,
  ],
  "system:volume-scheduler": [
    `${read},patch,update - persistentvolumes`,
    `${read} storage.k8s.io storageclasses`,
    `${read},patch,update - persistentvolumeclaims`,
  ],
  "system:kube-dns": ["list,watch - endpoints,services"],
  "system:persistent-volume-provisioner": [
    `create,delete,${read} - persistentvolumes`,
    `${read},update - persistentvolumeclaims`,
    `${read} storage.k8s.io storageclasses`,
    "watch - events",
    eventRules,
  ],
  "system:certificates.k8s.io:certificatesigningrequests:nodeclient": [
    "create certificates.k8s.io certificatesigningrequests/nodeclient",
  ],
  "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": [
    "create certificates.k8s.io certificatesigningrequests/selfnodeclient",
  ],
  ...approvers(),
  ...controllers(),
};

function approvers(): Record<string, string[]> {
  const signers = ["kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown"];
  return Object.fromEntries(
    signers.map((signer) => [
      `system:certificates.k8s.io:${signer}-approver`,
      [`approve certificates.k8s.io signers kubernetes.io/${signer}`],
    ]),
  );
}

function controllers(): Record<string, string[]> {
  const owned = "update apps deployments/finalizers";
  const rules: Record<string, string[]> = {
    "attachdetach-controller": [
      `list,watch - persistentvolumeclaims,persistentvolumes,pods`,
      `${read} - nodes`,
      "patch,update - nodes/status",
      eventRules,
      `create,delete,${read},patch,update storage.k8s.io volumeattachments`,
      `${read} storage.k8s.io csidrivers,csinodes`,
    ],
    "clusterrole-aggregation-controller": [`${read},escalate,patch,update rbac.authorization.k8s.io clusterroles`],
    "cronjob-controller": [
      `${read},update batch cronjobs`,
      `create,delete,${read},patch,update batch jobs`,
      "update batch cronjobs/status",
      "update batch cronjobs/finalizers",
      "delete,list - pods",
      eventRules,
    ],
    "daemon-set-controller": [
      `${read} apps daemonsets`,
      "update apps daemonsets/status,daemonsets/finalizers",
      "list,watch - nodes",
      "create,delete,list,patch,watch - pods",
      "create - pods/binding",
      `create,delete,${read},patch,update apps controllerrevisions`,
      eventRules,
    ],
    "deployment-controller": [
      `${read},update apps deployments`,
      "update apps deployments/status",
      owned,
      `create,delete,${read},patch,update apps replicasets`,
      `${read},update - pods`,
      eventRules,
    ],
    "disruption-controller": [
      `${read} apps deployments,replicasets,statefulsets`,
      `${read} - replicationcontrollers`,
      `${read} policy poddisruptionbudgets`,
      "update policy poddisruptionbudgets/status",
      "patch,update - pods/status",
      "get * */scale",
      eventRules,
    ],
    "endpoint-controller": [
      `${read} - pods,services`,
      `create,delete,${read},update - endpoints`,
      "create - endpoints/restricted",
      eventRules,
    ],
    "endpointslice-controller": [
      `${read} - nodes,pods,services`,
      "update - services/finalizers",
      `create,delete,${read},update discovery.k8s.io endpointslices`,
      "create discovery.k8s.io endpointslices/restricted",
      eventRules,
    ],
    "endpointslicemirroring-controller": [
      `${read} - endpoints,services`,
      "update - endpoints/finalizers,services/finalizers",
      `create,delete,${read},update discovery.k8s.io endpointslices`,
      "create discovery.k8s.io endpointslices/restricted",
      eventRules,
    ],
    "ephemeral-volume-controller": [
      "update - pods/finalizers",
      `${read} - pods`,
      "create,get,list,watch - persistentvolumeclaims",
      eventRules,
    ],
    "expand-controller": [
      `${read},patch,update - persistentvolumes`,
      "patch,update - persistentvolumeclaims/status",
      `${read} - persistentvolumeclaims`,
      `${read} storage.k8s.io storageclasses`,
      eventRules,
    ],
    "generic-garbage-collector": ["delete,get,list,patch,update,watch * *", eventRules],
    "horizontal-pod-autoscaler": [
      `${read} autoscaling horizontalpodautoscalers`,
      "update autoscaling horizontalpodautoscalers/status",
      "get,update * */scale",
      "list - pods",
      "list metrics.k8s.io pods",
      "get,list custom.metrics.k8s.io *",
      "get,list external.metrics.k8s.io *",
      eventRules,
    ],
    "job-controller": [
      `${read},patch,update batch jobs`,
      "update batch jobs/status,jobs/finalizers",
      "create,delete,list,patch,watch - pods",
      eventRules,
    ],
    "legacy-service-account-token-cleaner": [
      "get - configmaps kube-apiserver-legacy-service-account-token-tracking",
      "delete,patch - secrets",
    ],
    "namespace-controller": [
      "delete,get,list,watch - namespaces",
      "update - namespaces/finalize,namespaces/status",
      "delete,deletecollection,get,list * *",
    ],
    "node-controller": [
      "delete,get,list,patch,update - nodes",
      "patch,update - nodes/status",
      "patch,update - pods/status",
      "delete,list,get - pods",
      eventRules,
    ],
    "persistent-volume-binder": [
      `create,delete,${read},update - persistentvolumes`,
      "update - persistentvolumes/status,persistentvolumeclaims/status",
      `${read},update - persistentvolumeclaims`,
      `${read} - nodes`,
      `create,delete,${read} - endpoints,pods,services`,
      "get,list - secrets",
      `${read} storage.k8s.io storageclasses`,
      eventRules,
    ],
    "pod-garbage-collector": ["delete,list,watch - pods", "get,list - nodes", "patch - pods/status"],
    "pv-protection-controller": [`${read},update - persistentvolumes`, eventRules],
    "pvc-protection-controller": [`${read},update - persistentvolumeclaims`, `${read} - pods`, eventRules],
    "replicaset-controller": [
      `${read},update apps replicasets`,
      "update apps replicasets/status,replicasets/finalizers",
      "create,delete,list,patch,watch - pods",
      eventRules,
    ],
    "replication-controller": [
      `${read},update - replicationcontrollers`,
      "update - replicationcontrollers/status,replicationcontrollers/finalizers",
      "create,delete,list,patch,watch - pods",
      eventRules,
    ],
    "resource-claim-controller": [
      "update - pods/finalizers",
      `${read} - pods`,
      `create,delete,${read} resource.k8s.io resourceclaims`,
      "patch,update resource.k8s.io resourceclaims/status",
      eventRules,
    ],
    "resourcequota-controller": ["list,watch * *", "update - resourcequotas/status", eventRules],
    "root-ca-cert-publisher": ["create,update - configmaps", eventRules],
    "route-controller": ["list,watch - nodes", "patch - nodes/status", eventRules],
    "selinux-warning-controller": [`${read} - persistentvolumeclaims,persistentvolumes,pods`, eventRules],
    "service-account-controller": ["create - serviceaccounts", eventRules],
    "service-cidrs-controller": [
      `${read},patch,update networking.k8s.io servicecidrs`,
      "patch,update networking.k8s.io servicecidrs/finalizers,servicecidrs/status",
      `${read} networking.k8s.io ipaddresses`,
      eventRules,
    ],
    // Beyond upstream's: upstream's cloud controller patches its finalizer through the status, ours updates the Service.
    "service-controller": [
      `${read} - services`,
      "patch,update - services,services/status",
      "list,watch - nodes",
      eventRules,
    ],
    "statefulset-controller": [
      "list,watch - pods",
      `${read} apps statefulsets`,
      "update apps statefulsets/status,statefulsets/finalizers",
      "create,delete,get,patch,update - pods",
      `create,delete,${read},patch,update apps controllerrevisions`,
      "create,get,update,delete - persistentvolumeclaims",
      eventRules,
    ],
    "storage-version-migrator-controller": [eventRules],
    "ttl-after-finished-controller": ["delete,get,list,watch batch jobs", eventRules],
    "ttl-controller": ["list,patch,update,watch - nodes", eventRules],
    "validatingadmissionpolicy-status-controller": [
      `${read} admissionregistration.k8s.io validatingadmissionpolicies`,
      "get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status",
      eventRules,
    ],
    "certificate-controller": [
      "delete,get,list,watch certificates.k8s.io certificatesigningrequests",
      "update certificates.k8s.io certificatesigningrequests/approval,certificatesigningrequests/status",
      "approve,sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet",
      "sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown",
      "create authorization.k8s.io subjectaccessreviews",
      eventRules,
    ],
  };
  return Object.fromEntries(Object.entries(rules).map(([name, lines]) => [`system:controller:${name}`, lines]));
}

function parseRule(line: string): k8s.PolicyRule {
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

export function bootstrapClusterRoles(): k8s.ClusterRole[] {
  const type = { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole" };
  const plain = Object.entries(clusterRoleRules).map(([name, lines]) => {
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
  for (const name of Object.keys(clusterRoleRules)) {
    const controller = /^system:controller:(.+)$/.exec(name)?.[1];
    if (controller !== undefined) subjects[name] = [account(controller)];
  }
  return Object.entries(subjects).map(([name, bound]) => ({
    apiVersion: `${rbacGroup}/v1`,
    kind: "ClusterRoleBinding",
    metadata: meta(name),
    roleRef: { apiGroup: rbacGroup, kind: "ClusterRole", name },
    ...(bound.length > 0 ? { subjects: bound } : {}),
  }));
}
