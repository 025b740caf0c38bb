import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "../../api/index.ts";
import type { StrategyContext } from "../machinery/kind.ts";
import { builtinKinds } from "./kinds.ts";

const kinds = builtinKinds();
const context: StrategyContext = { user: { name: "u", groups: [] }, nowMs: 0, subresource: "", dryRun: false };

function strategyOf(resource: string) {
  const [plural, group = ""] = resource.split(/\.(.*)/);
  return kinds.find((kind) => kind.plural === plural && kind.group === group && kind.version !== "v1beta1")!.strategy;
}

function complete(resource: string, object: object): KubeObject {
  const whole = { metadata: { name: "x", namespace: "default" }, ...object } as unknown as KubeObject;
  const kind = kinds.find((one) => one.strategy === strategyOf(resource))!;
  if (!kind.namespaced) delete whole.metadata.namespace;
  kind.strategy.fillDefaults?.(whole);
  return whole;
}

/** A resource, an object of it, and the sentences that the server says of it. */
const rows: readonly (readonly [string, object, ...string[]])[] = [
  [
    "resourceclaims.resource.k8s.io",
    { spec: { devices: { requests: [{ name: "gpu", exactly: { deviceClassName: "gpus" } }] } } },
  ],
  [
    "resourceclaims.resource.k8s.io",
    { spec: { devices: { requests: [{ name: "GPU", exactly: { deviceClassName: "gpus" } }] } } },
    "spec.devices.requests[0].name: Invalid value: \"GPU\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
  ],
  [
    "resourceclaims.resource.k8s.io",
    {
      spec: {
        devices: {
          requests: [
            { name: "a" },
            { name: "a", exactly: { deviceClassName: "", count: 0 } },
            { name: "c", exactly: { deviceClassName: "x", allocationMode: "All", count: 1, selectors: [{}] } },
          ],
          constraints: [{ requests: ["z"] }],
        },
      },
    },
    "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
    "spec.devices.requests[1].exactly.deviceClassName: Required value",
    "spec.devices.requests[1].exactly.count: Invalid value: 0: must be greater than zero",
    "spec.devices.requests[2].exactly.selectors[0].cel: Required value",
    "spec.devices.requests[2].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
    'spec.devices.requests[1].name: Duplicate value: "a"',
    `spec.devices.constraints[0].requests[0]: Invalid value: "z": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'`,
    "spec.devices.constraints[0].matchAttribute: Required value",
  ],
  [
    "resourceslices.resource.k8s.io",
    {
      spec: {
        driver: "",
        pool: { name: "p", generation: -1, resourceSliceCount: 0 },
        devices: [{ name: "d" }, { name: "d" }],
      },
    },
    "spec.driver: Required value",
    "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
    "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
    "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
    'spec.devices[1].name: Duplicate value: "d"',
  ],
  [
    "certificatesigningrequests.certificates.k8s.io",
    {
      spec: {
        request: Buffer.from("-----BEGIN CERTIFICATE REQUEST-----").toString("base64"),
        signerName: "kubernetes.io/legacy-unknown",
        usages: ["client auth", "client auth", "flying"],
        expirationSeconds: 60,
      },
    },
    'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version',
    'spec.usages[1]: Duplicate value: "client auth"',
    'spec.usages[2]: Unsupported value: "flying": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"',
    "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 600 seconds (10 minutes)",
  ],
  ["services", { spec: { ports: [{ port: 80 }], clusterIP: "10.0.0.1", clusterIPs: ["10.0.0.1"] } }],
  ["services", { spec: {} }, "spec.ports: Required value"],
  [
    "services",
    {
      spec: {
        ports: [
          { name: "a", port: 80 },
          { name: "b", port: 80 },
        ],
      },
    },
    'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}',
  ],
  [
    "services",
    {
      spec: {
        ports: [{ port: 80 }],
        clusterIP: "10.0.0.1",
        clusterIPs: ["10.0.0.1", "10.0.0.2"],
        ipFamilies: ["IPv4", "IPv4"],
      },
    },
    'spec.ipFamilies[1]: Duplicate value: "IPv4"',
    'spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2"]: may specify no more than one IP for each IP family',
  ],
  [
    "services",
    {
      spec: {
        ports: [{ port: 80 }],
        sessionAffinity: "ClientIP",
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } },
      },
    },
    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400",
  ],
  [
    "services",
    { spec: { ports: [{ port: 80 }], externalIPs: ["127.0.0.1"], loadBalancerClass: "a/b" } },
    'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
  ],
  [
    "persistentvolumes",
    {
      spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOncePod", "ReadWriteOnce"], local: { path: "/a" } },
    },
    "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
    "spec.nodeAffinity: Required value: Local volume requires node affinity",
  ],
  [
    "persistentvolumeclaims",
    {
      spec: {
        accessModes: ["ReadWriteOnce"],
        resources: { requests: { storage: "0" } },
        dataSource: { kind: "X", name: "x" },
      },
    },
    'spec.resources[storage]: Invalid value: "0": must be greater than zero',
    "spec.dataSource: Invalid value: \"X\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
  ],
  [
    "nodes",
    { spec: { taints: [{ key: "a", effect: "X" }], podCIDRs: ["10.0.0.0/24", "10.1.0.0/24"] } },
    'metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"',
    'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one CIDR for each IP family',
  ],
  [
    "limitranges",
    { spec: { limits: [{ type: "Container", min: { cpu: "2" }, max: { cpu: "1" } }] } },
    'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
    'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1',
    'spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
  ],
  [
    "resourcequotas",
    { spec: { hard: { widgets: "1", services: "1" }, scopes: ["BestEffort"] } },
    'spec.hard[widgets]: Invalid value: "widgets": must be a standard resource type or fully qualified',
    'spec.hard[widgets]: Invalid value: "widgets": must be a standard resource for quota',
    'spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource',
  ],
  ["endpoints", { subsets: [{}] }, "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
  [
    "endpointslices.discovery.k8s.io",
    { addressType: "IPv4", endpoints: [{ addresses: ["::1"] }], ports: [{ port: 1 }, { port: 2 }] },
    'endpoints[0].addresses[0]: Invalid value: "::1": must be a valid IPv4 address',
    'ports[1].name: Duplicate value: ""',
  ],
  [
    "networkpolicies.networking.k8s.io",
    {
      spec: {
        ingress: [
          {
            from: [{}, { ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/16"] } }],
            ports: [{ port: 5, endPort: 4 }],
          },
        ],
      },
    },
    "spec.ingress[0].ports[0].endPort: Invalid value: 5: must be greater than or equal to `port`",
    "spec.ingress[0].from[0]: Required value: must specify a peer",
    'spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
  ],
  [
    "ingresses.networking.k8s.io",
    { spec: {} },
    "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
  ],
  [
    "ingressclasses.networking.k8s.io",
    { spec: { controller: "c" } },
    'spec.controller: Invalid value: "c": must be a domain-prefixed path (such as "acme.io/foo")',
  ],
  ["servicecidrs.networking.k8s.io", { spec: {} }, "spec.cidrs: Required value: at least one CIDR required"],
  [
    "storageclasses.storage.k8s.io",
    { reclaimPolicy: "Keep" },
    "provisioner: Required value",
    'reclaimPolicy: Unsupported value: "Keep": supported values: "Delete", "Retain"',
  ],
  [
    "csinodes.storage.k8s.io",
    { spec: { drivers: [{ name: "a.b", nodeID: "" }] } },
    "spec.drivers[0].nodeID: Required value",
  ],
  [
    "volumeattachments.storage.k8s.io",
    { spec: { attacher: "a.b", nodeName: "n", source: {} } },
    "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
  ],
  [
    "priorityclasses.scheduling.k8s.io",
    { value: 1_000_000_001 },
    "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
  ],
  [
    "poddisruptionbudgets.policy",
    { spec: { unhealthyPodEvictionPolicy: "X" } },
    'spec.unhealthyPodEvictionPolicy: Unsupported value: "X": supported values: "AlwaysAllow", "IfHealthyBudget"',
  ],
  [
    "horizontalpodautoscalers.autoscaling",
    { spec: { maxReplicas: 0, scaleTargetRef: { kind: "Deployment", name: "d" }, metrics: [{ type: "Pods" }] } },
    "spec.maxReplicas: Invalid value: 0: must be greater than 0",
    "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
    "spec.metrics[0].pods: Required value: must populate information for the given metric source",
  ],
  [
    "jobs.batch",
    {
      spec: {
        backoffLimitPerIndex: 1,
        podFailurePolicy: { rules: [{ action: "FailJob", onExitCodes: { operator: "In", values: [3, 0, 3] } }] },
        template: { spec: { restartPolicy: "Never", containers: [{ name: "c", image: "i" }] } },
      },
    },
    "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
    "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
    "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
    "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
  ],
  [
    "jobs.batch",
    { spec: { template: { spec: { containers: [{ name: "c", image: "i" }] } } } },
    'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
  ],
  [
    "cronjobs.batch",
    {
      spec: {
        schedule: "TZ=UTC 0 * * * *",
        timeZone: "Local",
        jobTemplate: {
          spec: { template: { spec: { restartPolicy: "Never", containers: [{ name: "c", image: "i" }] } } },
        },
      },
    },
    'spec.schedule: Invalid value: "TZ=UTC 0 * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead',
    'spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones',
  ],
  [
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    {
      webhooks: [
        { name: "a.b", sideEffects: "Some", admissionReviewVersions: ["v1"], clientConfig: { url: "http://x/y" } },
      ],
    },
    'webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots',
    'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"',
    `webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]`,
  ],
  [
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    { spec: { policyName: "p", validationActions: ["Deny", "Warn"] } },
    'spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)',
  ],
  [
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    { spec: { type: "Limited", limited: { limitResponse: { type: "Queue", queuing: { queues: 4, handSize: 5 } } } } },
    "spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)",
  ],
  [
    "flowschemas.flowcontrol.apiserver.k8s.io",
    { spec: { matchingPrecedence: 1, priorityLevelConfiguration: { name: "p" } } },
    "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
  ],
];

test("what the server says of wrong objects, kind by kind", () => {
  for (const [resource, object, ...expected] of rows) {
    const found = strategyOf(resource).validate!(complete(resource, object), context);
    assert.deepEqual(
      found.map(({ field, detail }) => `${field}: ${detail}`),
      expected,
      resource,
    );
  }
});

const changes: readonly (readonly [string, object, object, ...string[]])[] = [
  [
    "services",
    { spec: { ports: [{ port: 1 }], clusterIP: "10.0.0.1", clusterIPs: ["10.0.0.1"] } },
    { spec: { ports: [{ port: 1 }], clusterIP: "10.0.0.2", clusterIPs: ["10.0.0.2"] } },
    'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set',
  ],
  [
    "persistentvolumeclaims",
    {
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "2Gi" } }, volumeName: "v" },
      status: { phase: "Bound", capacity: { storage: "2Gi" } },
    },
    {
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, volumeName: "v" },
      status: { phase: "Bound", capacity: { storage: "2Gi" } },
    },
    "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
  ],
  [
    "persistentvolumes",
    { spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], hostPath: { path: "/a" } } },
    { spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], hostPath: { path: "/b" } } },
    "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n",
  ],
  [
    "storageclasses.storage.k8s.io",
    { provisioner: "a", volumeBindingMode: "Immediate" },
    { provisioner: "b", volumeBindingMode: "WaitForFirstConsumer" },
    "provisioner: Forbidden: updates to provisioner are forbidden.",
    'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable',
  ],
  [
    "priorityclasses.scheduling.k8s.io",
    { value: 1 },
    { value: 2 },
    "value: Forbidden: may not be changed in an update.",
  ],
];

test("what may not change, kind by kind", () => {
  for (const [resource, old, now, ...expected] of changes) {
    const [before, after] = [complete(resource, old), complete(resource, now)];
    const found = strategyOf(resource).validateUpdate!(after, before, context);
    assert.deepEqual(
      found.map(({ field, detail }) => `${field}: ${detail}`),
      expected,
      resource,
    );
  }
});

test("a Service that becomes internal leaves its node ports behind", () => {
  const old = complete("services", { spec: { type: "NodePort", ports: [{ port: 1, nodePort: 30_001 }] } });
  const now = structuredClone(old);
  (now as unknown as { spec: { type: string } }).spec.type = "ClusterIP";
  const strategy = strategyOf("services");
  strategy.prepareForUpdate!(now, old, context);
  assert.deepEqual(strategy.validate!(now, context), []);
});

test("a node that registers brings its status, and other kinds do not", () => {
  const status = { phase: "Running", capacity: { cpu: "2" } };
  const keeps = (resource: string) => {
    const object = complete(resource, { spec: {}, status: structuredClone(status) });
    strategyOf(resource).prepareForCreate?.(object, context);
    return (object["status"] as { capacity?: object } | undefined)?.capacity !== undefined;
  };
  assert.deepEqual(["nodes", "services"].map(keeps), [true, false]);
});
