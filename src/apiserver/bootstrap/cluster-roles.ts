import { eventsRule, read, readUpdate, readWrite, write, type RuleTable } from "./rules.ts";

/**
 * The roles every cluster begins with (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings),
 * rule by rule as v1.34 has them with its feature gates as they come.
 */
const discoveryUrls = "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/";

export const viewRules = [
  `${read} - configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status`,
  `${read} - bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status`,
  `${read} - namespaces`,
  `${read} discovery.k8s.io endpointslices`,
  `${read} apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status`,
  `${read} autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status`,
  `${read} batch cronjobs,cronjobs/status,jobs,jobs/status`,
  `${read} extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale`,
  `${read} policy poddisruptionbudgets,poddisruptionbudgets/status`,
  `${read} networking.k8s.io ingresses,ingresses/status,networkpolicies`,
  `${read} resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates`,
];
export const editRules = [
  `${read} - pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy`,
  "impersonate - serviceaccounts",
  `${write} - pods,pods/attach,pods/exec,pods/portforward,pods/proxy`,
  "create - pods/eviction",
  `${write} - configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy`,
  "create - serviceaccounts/token",
  `${write} apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale`,
  `${write} autoscaling horizontalpodautoscalers`,
  `${write} batch cronjobs,jobs`,
  `${write} extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale`,
  `${write} policy poddisruptionbudgets`,
  `${write} networking.k8s.io ingresses,networkpolicies`,
  `${readWrite} coordination.k8s.io leases`,
  `${write} resource.k8s.io resourceclaims,resourceclaimtemplates`,
];
export const adminRules = [
  "create authorization.k8s.io localsubjectaccessreviews",
  `${readWrite} rbac.authorization.k8s.io rolebindings,roles`,
];

/** The Node authorizer is who lets kubelets in; upstream's role for them is bound to nobody, and so is ours. */
const nodeRules = [
  "create authentication.k8s.io tokenreviews",
  "create authorization.k8s.io localsubjectaccessreviews,subjectaccessreviews",
  `${read} - services`,
  `create,${read} - nodes`,
  "patch,update - nodes/status",
  "patch,update - nodes",
  "create,patch,update - events",
  `${read} - pods`,
  "create,delete - pods",
  "patch,update - pods/status",
  "create - pods/eviction",
  `${read} - configmaps,secrets`,
  "get - persistentvolumeclaims,persistentvolumes",
  "get - endpoints",
  `create,${read} certificates.k8s.io certificatesigningrequests`,
  "create,delete,get,patch,update coordination.k8s.io leases",
  "get storage.k8s.io volumeattachments",
  "create - serviceaccounts/token",
  "get,patch,update - persistentvolumeclaims/status",
  `${read} storage.k8s.io csidrivers`,
  "create,delete,get,patch,update storage.k8s.io csinodes",
  `${read} node.k8s.io runtimeclasses`,
  "get resource.k8s.io resourceclaims",
  "deletecollection resource.k8s.io resourceslices",
  "get - serviceaccounts",
];

const controllerManagerRules = [
  eventsRule,
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
];

const schedulerRules = [
  eventsRule,
  "create coordination.k8s.io leases",
  `${read},update coordination.k8s.io leases kube-scheduler`,
  `${read} - nodes`,
  `delete,${read} - pods`,
  "create - bindings,pods/binding",
  "patch,update - pods/status",
  `${read} - replicationcontrollers,services`,
  `${read} apps,extensions replicasets`,
  `${read} apps statefulsets`,
  `${read} policy poddisruptionbudgets`,
  `${read} - persistentvolumeclaims,persistentvolumes`,
  "create authentication.k8s.io tokenreviews",
  "create authorization.k8s.io subjectaccessreviews",
  `${read} storage.k8s.io csinodes`,
  `${read} storage.k8s.io volumeattachments`,
  `${read} - namespaces`,
  `${read} storage.k8s.io csidrivers`,
  `${read} storage.k8s.io csistoragecapacities`,
  `${read} resource.k8s.io deviceclasses`,
  `${readUpdate} resource.k8s.io resourceclaims`,
  `${readUpdate} resource.k8s.io resourceclaims/status`,
  `${readUpdate} - pods/finalizers`,
  `${read} resource.k8s.io resourceslices`,
];

/** By name. The three that are sums of others (admin, edit, view) are made in roles.ts. */
export const clusterRoleRules: RuleTable = {
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
  "system:heapster": [`${read} - events,namespaces,nodes,pods`, `${read} extensions deployments`],
  "system:node": nodeRules,
  "system:node-problem-detector": ["get - nodes", "patch - nodes/status", eventsRule],
  "system:node-proxier": [
    "list,watch - endpoints,services",
    `${read} - nodes`,
    eventsRule,
    "list,watch networking.k8s.io servicecidrs",
    "list,watch discovery.k8s.io endpointslices",
  ],
  "system:kubelet-api-admin": [
    `${read} - nodes`,
    "proxy - nodes",
    "* - nodes/log,nodes/metrics,nodes/proxy,nodes/stats",
    "* - nodes/configz,nodes/healthz,nodes/pods",
  ],
  "system:node-bootstrapper": [`create,${read} certificates.k8s.io certificatesigningrequests`],
  "system:auth-delegator": [
    "create authentication.k8s.io tokenreviews",
    "create authorization.k8s.io subjectaccessreviews",
  ],
  "system:kube-aggregator": [`${read} - endpoints,services`],
  "system:kube-controller-manager": controllerManagerRules,
  "system:kube-scheduler": schedulerRules,
  "system:volume-scheduler": [
    `${readUpdate} - persistentvolumes`,
    `${read} storage.k8s.io storageclasses`,
    `${readUpdate} - persistentvolumeclaims`,
  ],
  "system:kube-dns": ["list,watch - endpoints,services"],
  "system:persistent-volume-provisioner": [
    `create,delete,${read} - persistentvolumes`,
    `${read},update - persistentvolumeclaims`,
    `${read} storage.k8s.io storageclasses`,
    "watch - events",
    eventsRule,
  ],
  "system:certificates.k8s.io:certificatesigningrequests:nodeclient": [
    "create certificates.k8s.io certificatesigningrequests/nodeclient",
  ],
  "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": [
    "create certificates.k8s.io certificatesigningrequests/selfnodeclient",
  ],
  ...approvers(),
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
