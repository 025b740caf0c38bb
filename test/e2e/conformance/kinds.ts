/** The kinds whose whole set of API operations upstream's conformance tests walk through, and the least that each needs. */
export interface KindCase {
  /** `/api/v1` or `/apis/GROUP/VERSION`. */
  at: string;
  resource: string;
  kind: string;
  namespaced: boolean;
  /** Beside apiVersion, kind and metadata. */
  rest: (index: number) => Record<string, unknown>;
  /** A merge patch of `status` and where the change is then found; only kinds with a status of their own. */
  status?: Record<string, unknown>;
  /** Where names are not free. */
  name?: (index: number) => string;
  /** Status belongs to a controller that may write it again at once: only the answer is looked at. */
  contested?: boolean;
  /** A controller holds it back for a while, as upstream's does. */
  leavesSlowly?: boolean;
}

const container = { name: "main", image: "registry.k8s.io/pause:3.10" };
const labels = { app: "none" };
const template = { metadata: { labels }, spec: { containers: [container] } };
const noPods = { replicas: 0, selector: { matchLabels: labels }, template };
const jobTemplate = { metadata: { labels }, spec: { restartPolicy: "Never", containers: [container] } };
const condition = (type: string) => ({ type, status: "True", reason: "E2E", message: "Set from e2e test" });
const timedCondition = (type: string) => ({ ...condition(type), lastTransitionTime: "2026-01-02T03:04:05Z" });
const statusPatched = { conditions: [timedCondition("StatusPatched")] };
const loadBalancer = { ingress: [{ ip: "203.0.113.1" }] };
const webhook = {
  name: "conformance.example.com",
  sideEffects: "None",
  admissionReviewVersions: ["v1"],
  failurePolicy: "Ignore",
  objectSelector: { matchLabels: { nothing: "has-this" } },
  clientConfig: { url: "https://127.0.0.1:1/" },
  rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["configmaps"] }],
};

const core = "/api/v1";
const apps = "/apis/apps/v1";
const batch = "/apis/batch/v1";
const storage = "/apis/storage.k8s.io/v1";
const networking = "/apis/networking.k8s.io/v1";
const admission = "/apis/admissionregistration.k8s.io/v1";
const flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
const rbac = "/apis/rbac.authorization.k8s.io/v1";

const spaced = (
  at: string,
  resource: string,
  kind: string,
  rest: KindCase["rest"],
  status?: KindCase["status"],
  more: Partial<KindCase> = {},
): KindCase => ({ at, resource, kind, namespaced: true, rest, ...(status && { status }), ...more });
const whole: typeof spaced = (...args) => ({ ...spaced(...args), namespaced: false });

export function kindCases(csr: string): KindCase[] {
  return [
    spaced(core, "configmaps", "ConfigMap", () => ({ data: { key: "value" } })),
    spaced(core, "secrets", "Secret", () => ({ data: { key: "dmFsdWU=" }, type: "Opaque" })),
    spaced(core, "serviceaccounts", "ServiceAccount", () => ({})),
    spaced(core, "podtemplates", "PodTemplate", () => ({ template })),
    spaced(core, "limitranges", "LimitRange", () => ({
      spec: { limits: [{ type: "PersistentVolumeClaim", max: { storage: "5Gi" } }] },
    })),
    spaced(
      core,
      "resourcequotas",
      "ResourceQuota",
      () => ({ spec: { hard: { "count/none.example.com": "5" } } }),
      { hard: { "count/none.example.com": "7" } },
      { contested: true },
    ),
    spaced(core, "events", "Event", () => ({
      involvedObject: { namespace: "NAMESPACE" },
      message: "m",
      reason: "r",
      type: "Normal",
    })),
    spaced("/apis/events.k8s.io/v1", "events", "Event", () => ({
      regarding: { namespace: "NAMESPACE" },
      note: "n",
      reason: "r",
      type: "Normal",
      action: "Do",
      reportingController: "test-controller",
      reportingInstance: "one",
      eventTime: "2026-01-02T03:04:05.000006Z",
    })),
    spaced(core, "endpoints", "Endpoints", () => ({
      subsets: [{ addresses: [{ ip: "10.0.0.24" }], ports: [{ name: "http", port: 80, protocol: "TCP" }] }],
    })),
    spaced(
      core,
      "services",
      "Service",
      () => ({ spec: { type: "ClusterIP", ports: [{ name: "http", port: 80, protocol: "TCP" }] } }),
      { loadBalancer, conditions: [timedCondition("StatusPatched")] },
    ),
    spaced(
      core,
      "persistentvolumeclaims",
      "PersistentVolumeClaim",
      () => ({
        spec: { storageClassName: "none", accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
      }),
      statusPatched,
    ),
    spaced(
      core,
      "replicationcontrollers",
      "ReplicationController",
      () => ({ spec: { replicas: 0, selector: labels, template } }),
      statusPatched,
    ),
    spaced(
      core,
      "pods",
      "Pod",
      () => ({ spec: { containers: [container], schedulerName: "nobody", terminationGracePeriodSeconds: 0 } }),
      { conditions: [{ type: "StatusPatched", status: "True" }], message: "Patched by e2e test", reason: "E2E" },
    ),
    whole(
      core,
      "persistentvolumes",
      "PersistentVolume",
      () => ({
        spec: {
          storageClassName: "none",
          capacity: { storage: "1Gi" },
          accessModes: ["ReadWriteOnce"],
          hostPath: { path: "/tmp/none" },
          persistentVolumeReclaimPolicy: "Retain",
        },
      }),
      { message: "StatusPatched", reason: "E2E patchStatus" },
    ),
    whole(core, "nodes", "Node", () => ({ spec: { unschedulable: true } }), {
      conditions: [timedCondition("StatusPatched")],
    }),
    spaced(apps, "deployments", "Deployment", () => ({ spec: noPods }), statusPatched),
    spaced(apps, "replicasets", "ReplicaSet", () => ({ spec: noPods }), statusPatched),
    spaced(apps, "statefulsets", "StatefulSet", () => ({ spec: { serviceName: "none", ...noPods } }), statusPatched),
    spaced(
      apps,
      "daemonsets",
      "DaemonSet",
      () => ({
        spec: {
          selector: { matchLabels: labels },
          template: { ...template, spec: { ...template.spec, nodeSelector: { no: "where" } } },
        },
      }),
      statusPatched,
    ),
    spaced(apps, "controllerrevisions", "ControllerRevision", (index) => ({ revision: index + 1, data: { spec: {} } })),
    spaced(
      batch,
      "jobs",
      "Job",
      () => ({ spec: { suspend: true, template: jobTemplate } }),
      { startTime: "2026-01-02T03:04:05Z", conditions: [{ ...timedCondition("CustomConditionType") }] },
      { contested: true },
    ),
    spaced(
      batch,
      "cronjobs",
      "CronJob",
      () => ({ spec: { suspend: true, schedule: "*/1 * * * *", jobTemplate: { spec: { template: jobTemplate } } } }),
      { lastScheduleTime: "2026-01-02T03:04:05Z" },
    ),
    spaced(
      "/apis/autoscaling/v2",
      "horizontalpodautoscalers",
      "HorizontalPodAutoscaler",
      () => ({
        spec: {
          minReplicas: 1,
          maxReplicas: 2,
          scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "none" },
        },
      }),
      { conditions: [timedCondition("StatusPatched")], currentMetrics: null, desiredReplicas: 1 },
      { contested: true },
    ),
    spaced(
      "/apis/autoscaling/v1",
      "horizontalpodautoscalers",
      "HorizontalPodAutoscaler",
      () => ({
        spec: {
          minReplicas: 1,
          maxReplicas: 2,
          scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "none" },
        },
      }),
      { currentReplicas: 1, desiredReplicas: 1 },
      { contested: true },
    ),
    spaced(
      "/apis/policy/v1",
      "poddisruptionbudgets",
      "PodDisruptionBudget",
      () => ({ spec: { minAvailable: 1, selector: { matchLabels: { no: "pod" } } } }),
      statusPatched,
      { contested: true },
    ),
    spaced("/apis/coordination.k8s.io/v1", "leases", "Lease", () => ({
      spec: {
        holderIdentity: "holder",
        leaseDurationSeconds: 30,
        acquireTime: "2026-01-02T03:04:05.000006Z",
        leaseTransitions: 0,
      },
    })),
    spaced("/apis/discovery.k8s.io/v1", "endpointslices", "EndpointSlice", () => ({
      addressType: "IPv4",
      endpoints: [{ addresses: ["1.2.3.4"] }],
      ports: [{ port: 80, protocol: "TCP" }],
    })),
    spaced(
      networking,
      "ingresses",
      "Ingress",
      () => ({
        spec: {
          ingressClassName: "none",
          defaultBackend: { service: { name: "default-backend", port: { number: 80 } } },
          rules: [
            {
              http: {
                paths: [
                  {
                    path: "/",
                    pathType: "Prefix",
                    backend: { service: { name: "test-backend", port: { number: 8080 } } },
                  },
                ],
              },
            },
          ],
        },
      }),
      { loadBalancer: { ingress: [{ ip: "169.1.1.1" }] } },
    ),
    whole(networking, "ingressclasses", "IngressClass", () => ({ spec: { controller: "example.com/controller" } })),
    spaced(networking, "networkpolicies", "NetworkPolicy", () => ({ spec: { podSelector: {} } })),
    whole(
      networking,
      "servicecidrs",
      "ServiceCIDR",
      (index) => ({ spec: { cidrs: [`10.25${index}.0.0/24`] } }),
      statusPatched,
      { contested: true, leavesSlowly: true },
    ),
    whole(
      networking,
      "ipaddresses",
      "IPAddress",
      () => ({ spec: { parentRef: { resource: "services", name: "none", namespace: "default" } } }),
      undefined,
      { name: (index) => `10.251.0.${index + 1}` },
    ),
    whole(storage, "storageclasses", "StorageClass", () => ({ provisioner: "e2e-fake-provisioner" })),
    whole(storage, "csidrivers", "CSIDriver", () => ({ spec: { volumeLifecycleModes: ["Ephemeral"] } })),
    whole(storage, "csinodes", "CSINode", () => ({ spec: { drivers: [] } })),
    spaced(storage, "csistoragecapacities", "CSIStorageCapacity", () => ({
      storageClassName: "none",
      capacity: "1Gi",
    })),
    whole(
      storage,
      "volumeattachments",
      "VolumeAttachment",
      () => ({
        spec: { attacher: "e2e-test.example.com", nodeName: "none", source: { persistentVolumeName: "none" } },
      }),
      { attached: true },
    ),
    whole(storage, "volumeattributesclasses", "VolumeAttributesClass", () => ({
      driverName: "e2e.example.com",
      parameters: { a: "b" },
    })),
    whole("/apis/node.k8s.io/v1", "runtimeclasses", "RuntimeClass", () => ({ handler: "handler" })),
    whole("/apis/scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", (index) => ({ value: index + 1 })),
    whole(
      "/apis/certificates.k8s.io/v1",
      "certificatesigningrequests",
      "CertificateSigningRequest",
      () => ({
        spec: {
          request: csr,
          signerName: "example.com/e2e-signer",
          expirationSeconds: 3600,
          usages: ["digital signature", "key encipherment", "server auth"],
        },
      }),
      {
        certificate: "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUNxRENDQVpBQ0NRQ2VWNDB4Cg==",
        conditions: [{ ...condition("ApprovalThing") }],
      },
    ),
    whole(admission, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", () => ({
      webhooks: [webhook],
    })),
    whole(admission, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", () => ({ webhooks: [webhook] })),
    whole(
      admission,
      "validatingadmissionpolicies",
      "ValidatingAdmissionPolicy",
      () => ({
        spec: {
          failurePolicy: "Ignore",
          matchConstraints: {
            objectSelector: { matchLabels: { nothing: "has-this" } },
            resourceRules: [
              { apiGroups: ["apps"], apiVersions: ["v1"], operations: ["CREATE"], resources: ["deployments"] },
            ],
          },
          validations: [{ expression: "object.spec.replicas <= 100" }],
        },
      }),
      statusPatched,
      { contested: true },
    ),
    whole(admission, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", () => ({
      spec: {
        policyName: "replicalimit-policy.example.com",
        validationActions: ["Deny"],
        matchResources: { objectSelector: { matchLabels: { nothing: "has-this" } } },
      },
    })),
    whole(
      flow,
      "flowschemas",
      "FlowSchema",
      () => ({
        spec: {
          matchingPrecedence: 9999,
          priorityLevelConfiguration: { name: "global-default" },
          distinguisherMethod: { type: "ByUser" },
          rules: [
            {
              subjects: [{ kind: "User", user: { name: "example-e2e-non-existent-user" } }],
              nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
            },
          ],
        },
      }),
      statusPatched,
      { contested: true },
    ),
    whole(
      flow,
      "prioritylevelconfigurations",
      "PriorityLevelConfiguration",
      () => ({
        spec: { type: "Limited", limited: { nominalConcurrencyShares: 2, limitResponse: { type: "Reject" } } },
      }),
      statusPatched,
      { contested: true },
    ),
    spaced(rbac, "roles", "Role", () => ({ rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }] })),
    spaced(rbac, "rolebindings", "RoleBinding", () => ({
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "none" },
      subjects: [],
    })),
    whole(rbac, "clusterroles", "ClusterRole", () => ({
      rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }],
    })),
    whole(rbac, "clusterrolebindings", "ClusterRoleBinding", () => ({
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "none" },
      subjects: [],
    })),
    whole(
      "/apis/apiregistration.k8s.io/v1",
      "apiservices",
      "APIService",
      (index) => ({
        spec: {
          group: "conformance.example.com",
          version: `v${index + 1}`,
          groupPriorityMinimum: 100,
          versionPriority: 10,
          insecureSkipTLSVerify: true,
          service: { namespace: "default", name: "none" },
        },
      }),
      statusPatched,
      { name: (index) => `v${index + 1}.conformance.example.com`, contested: true },
    ),
    spaced("/apis/resource.k8s.io/v1", "resourceclaims", "ResourceClaim", () => ({
      spec: { devices: { requests: [{ name: "one", exactly: { deviceClassName: "none" } }] } },
    })),
    whole("/apis/resource.k8s.io/v1", "deviceclasses", "DeviceClass", () => ({ spec: {} })),
  ];
}
