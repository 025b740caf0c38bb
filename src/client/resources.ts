import type { k8s } from "../api/index.ts";
import { defineResource } from "./resource.ts";

/** The built-in resources that berth's own programs use. */
export const resources = {
  configMaps: defineResource<k8s.ConfigMap>("v1", "configmaps", "ConfigMap"),
  endpoints: defineResource<k8s.Endpoints>("v1", "endpoints", "Endpoints"),
  coreEvents: defineResource<k8s.Event>("v1", "events", "Event"),
  limitRanges: defineResource<k8s.LimitRange>("v1", "limitranges", "LimitRange"),
  namespaces: defineResource<k8s.Namespace>("v1", "namespaces", "Namespace", false),
  nodes: defineResource<k8s.Node>("v1", "nodes", "Node", false),
  persistentVolumeClaims: defineResource<k8s.PersistentVolumeClaim>(
    "v1",
    "persistentvolumeclaims",
    "PersistentVolumeClaim",
  ),
  persistentVolumes: defineResource<k8s.PersistentVolume>("v1", "persistentvolumes", "PersistentVolume", false),
  pods: defineResource<k8s.Pod>("v1", "pods", "Pod"),
  replicationControllers: defineResource<k8s.ReplicationController>(
    "v1",
    "replicationcontrollers",
    "ReplicationController",
  ),
  resourceQuotas: defineResource<k8s.ResourceQuota>("v1", "resourcequotas", "ResourceQuota"),
  secrets: defineResource<k8s.Secret>("v1", "secrets", "Secret"),
  serviceAccounts: defineResource<k8s.ServiceAccount>("v1", "serviceaccounts", "ServiceAccount"),
  services: defineResource<k8s.Service>("v1", "services", "Service"),

  controllerRevisions: defineResource<k8s.ControllerRevision>("apps/v1", "controllerrevisions", "ControllerRevision"),
  daemonSets: defineResource<k8s.DaemonSet>("apps/v1", "daemonsets", "DaemonSet"),
  deployments: defineResource<k8s.Deployment>("apps/v1", "deployments", "Deployment"),
  replicaSets: defineResource<k8s.ReplicaSet>("apps/v1", "replicasets", "ReplicaSet"),
  statefulSets: defineResource<k8s.StatefulSet>("apps/v1", "statefulsets", "StatefulSet"),

  horizontalPodAutoscalers: defineResource<k8s.HorizontalPodAutoscaler>(
    "autoscaling/v2",
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
  ),
  cronJobs: defineResource<k8s.CronJob>("batch/v1", "cronjobs", "CronJob"),
  jobs: defineResource<k8s.Job>("batch/v1", "jobs", "Job"),
  certificateSigningRequests: defineResource<k8s.CertificateSigningRequest>(
    "certificates.k8s.io/v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
    false,
  ),
  leases: defineResource<k8s.Lease>("coordination.k8s.io/v1", "leases", "Lease"),
  endpointSlices: defineResource<k8s.EndpointSlice>("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
  events: defineResource<k8s.EventsEvent>("events.k8s.io/v1", "events", "Event"),
  ingresses: defineResource<k8s.Ingress>("networking.k8s.io/v1", "ingresses", "Ingress"),
  ipAddresses: defineResource<k8s.IPAddress>("networking.k8s.io/v1", "ipaddresses", "IPAddress", false),
  networkPolicies: defineResource<k8s.NetworkPolicy>("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
  serviceCidrs: defineResource<k8s.ServiceCIDR>("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", false),
  podDisruptionBudgets: defineResource<k8s.PodDisruptionBudget>(
    "policy/v1",
    "poddisruptionbudgets",
    "PodDisruptionBudget",
  ),
  clusterRoles: defineResource<k8s.ClusterRole>("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", false),
  clusterRoleBindings: defineResource<k8s.ClusterRoleBinding>(
    "rbac.authorization.k8s.io/v1",
    "clusterrolebindings",
    "ClusterRoleBinding",
    false,
  ),
  runtimeClasses: defineResource<k8s.RuntimeClass>("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", false),
  priorityClasses: defineResource<k8s.PriorityClass>("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", false),
  csiDrivers: defineResource<k8s.CSIDriver>("storage.k8s.io/v1", "csidrivers", "CSIDriver", false),
  csiNodes: defineResource<k8s.CSINode>("storage.k8s.io/v1", "csinodes", "CSINode", false),
  storageClasses: defineResource<k8s.StorageClass>("storage.k8s.io/v1", "storageclasses", "StorageClass", false),
  volumeAttachments: defineResource<k8s.VolumeAttachment>(
    "storage.k8s.io/v1",
    "volumeattachments",
    "VolumeAttachment",
    false,
  ),
} as const;
