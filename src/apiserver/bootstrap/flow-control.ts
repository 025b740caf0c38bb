import type { k8s } from "../../api/index.ts";

/** The suggested priority levels and flow schemas (https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults). */
const apiVersion = "flowcontrol.apiserver.k8s.io/v1";
const annotations = { "apf.kubernetes.io/autoupdate-spec": "true" };

interface Limits {
  readonly shares: number;
  readonly lendable: number;
  readonly hand?: number;
  readonly queues?: number;
}

const limited: Readonly<Record<string, Limits>> = {
  system: { shares: 30, lendable: 33, hand: 6, queues: 64 },
  "node-high": { shares: 40, lendable: 25, hand: 6, queues: 64 },
  "leader-election": { shares: 10, lendable: 0, hand: 4, queues: 16 },
  "workload-high": { shares: 40, lendable: 50, hand: 6, queues: 128 },
  "workload-low": { shares: 100, lendable: 90, hand: 6, queues: 128 },
  "global-default": { shares: 20, lendable: 50, hand: 6, queues: 128 },
  "catch-all": { shares: 5, lendable: 0 },
};

export function priorityLevels(): k8s.PriorityLevelConfiguration[] {
  const make = (name: string, spec: k8s.PriorityLevelConfigurationSpec): k8s.PriorityLevelConfiguration => ({
    apiVersion,
    kind: "PriorityLevelConfiguration",
    metadata: { name, annotations },
    spec,
  });
  return [
    make("exempt", { type: "Exempt", exempt: { nominalConcurrencyShares: 0, lendablePercent: 0 } }),
    ...Object.entries(limited).map(([name, { shares, lendable, hand, queues }]) =>
      make(name, {
        type: "Limited",
        limited: {
          nominalConcurrencyShares: shares,
          lendablePercent: lendable,
          limitResponse:
            queues === undefined
              ? { type: "Reject" }
              : { type: "Queue", queuing: { queues, handSize: hand!, queueLengthLimit: 50 } },
        },
      }),
    ),
  ];
}

type Rule = k8s.PolicyRulesWithSubjects;
const group = (name: string): k8s.FlowcontrolSubject => ({ kind: "Group", group: { name } });
const user = (name: string): k8s.FlowcontrolSubject => ({ kind: "User", user: { name } });
const account = (name: string, namespace = "kube-system"): k8s.FlowcontrolSubject => ({
  kind: "ServiceAccount",
  serviceAccount: { name, namespace },
});
const anything: k8s.ResourcePolicyRule = {
  verbs: ["*"],
  apiGroups: ["*"],
  resources: ["*"],
  clusterScope: true,
  namespaces: ["*"],
};
const anyPath: k8s.NonResourcePolicyRule = { verbs: ["*"], nonResourceURLs: ["*"] };
const everything = (...subjects: k8s.FlowcontrolSubject[]): Rule[] => [
  { subjects, resourceRules: [anything], nonResourceRules: [anyPath] },
];
const leases: k8s.ResourcePolicyRule = {
  verbs: ["get", "create", "update"],
  apiGroups: ["coordination.k8s.io"],
  resources: ["leases"],
  namespaces: ["*"],
};

/** name, precedence, level, distinguisher, rules */
const schemas: readonly [string, number, string, "ByUser" | "ByNamespace" | undefined, Rule[]][] = [
  ["exempt", 1, "exempt", undefined, everything(group("system:masters"))],
  [
    "probes",
    2,
    "exempt",
    undefined,
    [
      {
        subjects: [group("system:unauthenticated"), group("system:authenticated")],
        nonResourceRules: [{ verbs: ["get"], nonResourceURLs: ["/healthz", "/readyz", "/livez"] }],
      },
    ],
  ],
  [
    "system-leader-election",
    100,
    "leader-election",
    "ByUser",
    [
      {
        subjects: [user("system:kube-controller-manager"), user("system:kube-scheduler"), account("*")],
        resourceRules: [leases],
      },
    ],
  ],
  [
    "endpoint-controller",
    150,
    "workload-high",
    "ByUser",
    [
      {
        subjects: [
          user("system:kube-controller-manager"),
          account("endpoint-controller"),
          account("endpointslicemirroring-controller"),
        ],
        resourceRules: [
          { verbs: ["get", "create", "update"], apiGroups: [""], resources: ["endpoints"], namespaces: ["*"] },
        ],
      },
    ],
  ],
  [
    "workload-leader-election",
    200,
    "leader-election",
    "ByUser",
    [{ subjects: [account("*", "*")], resourceRules: [leases] }],
  ],
  [
    "system-node-high",
    400,
    "node-high",
    "ByUser",
    [
      {
        subjects: [group("system:nodes")],
        resourceRules: [
          {
            verbs: ["*"],
            apiGroups: [""],
            resources: ["nodes", "nodes/status"],
            clusterScope: true,
            namespaces: ["*"],
          },
          { verbs: ["*"], apiGroups: ["coordination.k8s.io"], resources: ["leases"], namespaces: ["*"] },
        ],
      },
    ],
  ],
  ["system-nodes", 500, "system", "ByUser", everything(group("system:nodes"))],
  ["kube-controller-manager", 800, "workload-high", "ByNamespace", everything(user("system:kube-controller-manager"))],
  ["kube-scheduler", 800, "workload-high", "ByNamespace", everything(user("system:kube-scheduler"))],
  ["kube-system-service-accounts", 900, "workload-high", "ByNamespace", everything(account("*"))],
  ["service-accounts", 9000, "workload-low", "ByUser", everything(group("system:serviceaccounts"))],
  [
    "global-default",
    9900,
    "global-default",
    "ByUser",
    everything(group("system:unauthenticated"), group("system:authenticated")),
  ],
  [
    "catch-all",
    10_000,
    "catch-all",
    "ByUser",
    everything(group("system:unauthenticated"), group("system:authenticated")),
  ],
];

export function flowSchemas(): k8s.FlowSchema[] {
  return schemas.map(([name, matchingPrecedence, level, distinguisher, rules]) => ({
    apiVersion,
    kind: "FlowSchema",
    metadata: { name, annotations },
    spec: {
      matchingPrecedence,
      priorityLevelConfiguration: { name: level },
      ...(distinguisher === undefined ? {} : { distinguisherMethod: { type: distinguisher } }),
      rules,
    },
  }));
}
