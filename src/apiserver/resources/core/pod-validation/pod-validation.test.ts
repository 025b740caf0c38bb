import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s, KubeObject } from "../../../../api/index.ts";
import type { StrategyContext } from "../../../machinery/kind.ts";
import { pod } from "../pod.ts";

const context = (subresource = ""): StrategyContext => ({
  user: { name: "u", groups: [] },
  nowMs: 0,
  subresource,
  dryRun: false,
});

/** A right Pod with parts of its spec, its container or its metadata replaced. */
function make(spec: object = {}, container: object = {}, metadata: object = {}): KubeObject {
  const object = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p", namespace: "default", ...metadata },
    spec: { serviceAccountName: "default", containers: [{ name: "c", image: "i", ...container }], ...spec },
  } as unknown as KubeObject;
  pod.fillDefaults!(object);
  return object;
}

const sentences = (object: KubeObject): string[] =>
  pod.validate!(object, context()).map(({ field, detail }) => `${field}: ${detail}`);

type Row = readonly [object, ...string[]];

function check(rows: readonly Row[], build: (part: object) => KubeObject): void {
  for (const [part, ...expected] of rows) assert.deepEqual(sentences(build(part)), expected, JSON.stringify(part));
}

const c = "spec.containers[0]";
const notLabel =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

test("containers: names, images, ports, policies", () => {
  check(
    [
      [{}],
      [{ name: "A" }, `${c}.name: Invalid value: "A": ${notLabel}`],
      [{ image: " i" }, `${c}.image: Invalid value: " i": must not have leading or trailing whitespace`],
      [
        { imagePullPolicy: "Sometimes" },
        `${c}.imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`,
      ],
      [
        { terminationMessagePolicy: "x" },
        `${c}.terminationMessagePolicy: Unsupported value: "x": supported values: "File", "FallbackToLogsOnError"`,
      ],
      [{ ports: [{}] }, `${c}.ports[0].containerPort: Required value`],
      [
        { ports: [{ containerPort: 65536, protocol: "ICMP" }] },
        `${c}.ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive`,
        `${c}.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`,
      ],
      [
        {
          ports: [
            { name: "a", containerPort: 1, hostPort: 8 },
            { name: "a", containerPort: 2, hostPort: 8 },
          ],
        },
        `${c}.ports[1].name: Duplicate value: "a"`,
        `${c}.ports[1].hostPort: Duplicate value: "TCP//8"`,
      ],
      [
        { restartPolicyRules: [{ action: "Restart", exitCodes: { operator: "In", values: [1] } }] },
        `${c}.restartPolicy: Required value: must specify restartPolicy when restart rules are used`,
      ],
    ],
    (part) => make({}, part),
  );
});

test("environment: names, one source each, fields that exist", () => {
  const at = `${c}.env[0].valueFrom`;
  check(
    [
      [
        { env: [{ name: "a=b" }] },
        `${c}.env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='`,
      ],
      [
        { env: [{ name: "A", valueFrom: {} }] },
        `${at}: Invalid value: "": must specify one of: \`fieldRef\`, \`resourceFieldRef\`, \`configMapKeyRef\` or \`secretKeyRef\``,
      ],
      [
        { env: [{ name: "A", value: "v", valueFrom: { secretKeyRef: { name: "s", key: "k" } } }] },
        `${at}: Invalid value: "": may not be specified when \`value\` is not empty`,
      ],
      [
        { env: [{ name: "A", valueFrom: { fieldRef: { fieldPath: "status.phase" } } }] },
        `${at}.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"`,
      ],
      [
        { env: [{ name: "A", valueFrom: { fieldRef: { fieldPath: "spec.nope" } } }] },
        `${at}.fieldRef.fieldPath: Invalid value: "spec.nope": error converting fieldPath: field label not supported: spec.nope`,
      ],
      [{ env: [{ name: "A", valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } }] }],
      [
        { env: [{ name: "A", valueFrom: { resourceFieldRef: { resource: "limits.cpu", divisor: "2" } } }] },
        `${at}.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource`,
      ],
      [{ envFrom: [{}] }, `${c}.envFrom: Invalid value: "": must specify one of: \`configMapRef\` or \`secretRef\``],
      [{ envFrom: [{ secretRef: {} }] }, `${c}.envFrom[0].secretRef.name: Required value`],
    ],
    (part) => make({}, part),
  );
});

test("probes and hooks: one handler, ports, numbers, grace", () => {
  const live = `${c}.livenessProbe`;
  check(
    [
      [{ livenessProbe: {} }, `${live}: Required value: must specify a handler type`],
      [
        { livenessProbe: { exec: { command: [] }, tcpSocket: { port: 1 } } },
        `${live}.exec.command: Required value`,
        `${live}.tcpSocket: Forbidden: may not specify more than 1 handler type`,
      ],
      [
        { livenessProbe: { httpGet: { port: 0, scheme: "FTP", httpHeaders: [{ name: "a b", value: "" }] } } },
        `${live}.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive`,
        `${live}.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"`,
        `${live}.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')`,
      ],
      [
        { livenessProbe: { tcpSocket: { port: 1 }, successThreshold: 2, periodSeconds: -1 } },
        `${live}.periodSeconds: Invalid value: -1: must be greater than or equal to 0`,
        `${live}.successThreshold: Invalid value: 2: must be 1`,
      ],
      [
        { readinessProbe: { tcpSocket: { port: 1 }, terminationGracePeriodSeconds: 3 } },
        `${c}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: must not be set for readinessProbes`,
      ],
      [
        { lifecycle: { preStop: { sleep: { seconds: 31 } } } },
        `${c}.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)`,
      ],
    ],
    (part) => make({}, part),
  );
});

test("sizes: names, quantities, limits, huge pages, policies of resizing", () => {
  const r = `${c}.resources`;
  check(
    [
      [
        { resources: { limits: { gpu: "1" } } },
        `${r}.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified`,
        `${r}.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers`,
        `${r}.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified`,
        `${r}.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers`,
      ],
      [
        { resources: { requests: { memory: "-1" } } },
        `${r}.requests[memory]: Invalid value: "-1": must be greater than or equal to 0`,
      ],
      [
        { resources: { requests: { cpu: "2" }, limits: { cpu: "1" } } },
        `${r}.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`,
      ],
      [
        { resources: { requests: { "example.com/gpu": "1" } } },
        `${r}.limits: Required value: Limit must be set for non overcommitable resources`,
      ],
      [
        { resources: { limits: { "example.com/gpu": "1500m" } } },
        `${r}.limits[example.com/gpu]: Invalid value: "1500m": must be an integer`,
        `${r}.requests[example.com/gpu]: Invalid value: "1500m": must be an integer`,
      ],
      [
        { resources: { limits: { "hugepages-2Mi": "3Mi", cpu: "1" } } },
        `${r}.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`,
        `${r}.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`,
      ],
      [{ resources: { limits: { "hugepages-2Mi": "2Mi" } } }, `${r}: Forbidden: HugePages require cpu or memory`],
      [
        { resources: { claims: [{ name: "x" }] } },
        `${r}.claims[0]: Not found: "x": must be one of the names in pod.spec.resourceClaims which is empty`,
      ],
      [
        { resizePolicy: [{ resourceName: "disk", restartPolicy: "NotRequired" }] },
        `${c}.resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"`,
      ],
    ],
    (part) => make({}, part),
  );
});

test("volumes: one source each, whose fields are looked into", () => {
  const v = "spec.volumes[0]";
  const volume = (source: object) => ({ volumes: [{ name: "v", ...source }] });
  check(
    [
      [
        volume({ emptyDir: {}, hostPath: { path: "/" } }),
        `${v}.hostPath: Forbidden: may not specify more than 1 volume type`,
      ],
      [
        volume({ hostPath: { path: "/a/../b" } }),
        `${v}.hostPath.path: Invalid value: "/a/../b": must not contain '..'`,
      ],
      [
        volume({ hostPath: { path: "/a", type: "Pipe" } }),
        `${v}.hostPath.type: Unsupported value: "Pipe": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"`,
      ],
      [volume({ secret: {} }), `${v}.secret.secretName: Required value`],
      [
        volume({ configMap: { name: "c", defaultMode: 512, items: [{ key: "k", path: "/abs" }] } }),
        `${v}.configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive`,
        `${v}.configMap.items[0].path: Invalid value: "/abs": must be a relative path`,
      ],
      [volume({ nfs: { server: "s", path: "rel" } }), `${v}.nfs.path: Invalid value: "rel": must be an absolute path`],
      [
        volume({ csi: {} }),
        `${v}.csi.driver: Required value`,
        `${v}.csi.driver: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
      ],
      [volume({ gcePersistentDisk: {} }), `${v}.persistentDisk.pdName: Required value`],
      [
        volume({ projected: { sources: [{ serviceAccountToken: { path: "t", expirationSeconds: 5 } }] } }),
        `${v}.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes`,
      ],
      [
        volume({
          projected: {
            sources: [
              { secret: { name: "s", items: [{ key: "k", path: "f" }] } },
              { configMap: { name: "m", items: [{ key: "k", path: "f" }] } },
            ],
          },
        }),
        `${v}.projected: Invalid value: "m": conflicting duplicate paths`,
      ],
      [
        volume({ downwardAPI: { items: [{ path: "..x", fieldRef: { fieldPath: "metadata.name" } }] } }),
        `${v}.downwardAPI.path: Invalid value: "..x": must not start with '..'`,
      ],
      [volume({ ephemeral: {} }), `${v}.ephemeral.volumeClaimTemplate: Required value`],
    ],
    (part) => make(part),
  );
});

test("mounts and devices: what they are of, where they go", () => {
  const m = `${c}.volumeMounts`;
  const volumes = [{ name: "v", emptyDir: {} }];
  const mount = (more: object) => ({ volumeMounts: [{ name: "v", mountPath: "/v", ...more }] });
  check(
    [
      [mount({ name: "w" }), `${m}[0].name: Not found: "w"`],
      [mount({ mountPath: "" }), `${m}[0].mountPath: Required value`],
      [mount({ subPath: "/a" }), `${m}.subPath: Invalid value: "/a": must be a relative path`],
      [
        mount({ subPath: "a", subPathExpr: "b" }),
        `${m}[0].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive`,
      ],
      [
        mount({ mountPropagation: "Bidirectional" }),
        `${m}.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers`,
      ],
      [
        mount({ recursiveReadOnly: "Enabled" }),
        `${m}.recursiveReadOnly: Forbidden: may only be specified when readOnly is true`,
      ],
      [
        { volumeDevices: [{ name: "v", devicePath: "/dev/x" }] },
        `${c}.volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode`,
      ],
    ],
    (part) => make({ volumes }, part),
  );
});

test("security contexts, of the Pod and of containers", () => {
  check(
    [
      [
        { securityContext: { runAsUser: -1 } },
        "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
      ],
      [
        { securityContext: { sysctls: [{ name: "net.ipv4.ip_forward", value: "1" }] }, hostNetwork: true },
        `spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.ip_forward": may not be specified when 'hostNetwork' is true`,
      ],
      [
        { securityContext: { seccompProfile: { type: "Localhost" } } },
        "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
      ],
      [
        { securityContext: { appArmorProfile: { type: "x" } } },
        `spec.securityContext.appArmorProfile.type: Unsupported value: "x": supported values: "Localhost", "RuntimeDefault", "Unconfined"`,
      ],
      [
        { shareProcessNamespace: true, hostPID: true },
        "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
      ],
      [{ hostUsers: false, hostNetwork: true }, "spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false"],
      [
        { os: { name: "linux" }, securityContext: { windowsOptions: {} } },
        "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
      ],
      [{ os: { name: "plan9" } }, `spec.os: Unsupported value: "plan9": supported values: "linux", "windows"`],
    ],
    (part) => make(part),
  );
  assert.deepEqual(sentences(make({}, { securityContext: { procMount: "Unmasked" } })), [
    `${c}.securityContext.procMount: Invalid value: "Unmasked": \`hostUsers\` must be false to use \`Unmasked\``,
  ]);
});

test("affinity, tolerations, spreading, gates", () => {
  const node = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
  const terms = (nodeSelectorTerms: object[]) => ({
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
  });
  check(
    [
      [terms([]), `${node}: Required value: must have at least one node selector term`],
      [
        terms([{ matchExpressions: [{ key: "a", operator: "In" }] }]),
        `${node}[0].matchExpressions[0].values: Required value: must be specified when \`operator\` is 'In' or 'NotIn'`,
      ],
      [
        terms([{ matchExpressions: [{ key: "a", operator: "Gt", values: ["1", "2"] }] }]),
        `${node}[0].matchExpressions[0].values: Required value: must be specified single value when \`operator\` is 'Lt' or 'Gt'`,
      ],
      [
        terms([{ matchFields: [{ key: "b", operator: "In", values: ["x"] }] }]),
        `${node}[0].matchFields[0].key: Invalid value: "b": not a valid field selector key`,
      ],
      [
        {
          affinity: {
            podAntiAffinity: {
              preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 101, podAffinityTerm: { topologyKey: "k" } }],
            },
          },
        },
        "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100",
      ],
      [
        { tolerations: [{ operator: "Exists", key: "a", value: "v" }] },
        `spec.tolerations[0].operator: Invalid value: {"Key":"a","Operator":"Exists","Value":"v","Effect":"","TolerationSeconds":null}: value must be empty when \`operator\` is 'Exists'`,
      ],
      [
        { tolerations: [{ key: "a", effect: "Never" }] },
        `spec.tolerations[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`,
      ],
      [
        {
          topologySpreadConstraints: [
            { maxSkew: 0, topologyKey: "z", whenUnsatisfiable: "ScheduleAnyway", minDomains: 2 },
          ],
        },
        "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        "spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
      ],
      [{ schedulingGates: [{ name: "a" }, { name: "a" }] }, `spec.schedulingGates[1]: Duplicate value: "a"`],
      [
        { schedulingGates: [{ name: "a" }], nodeName: "n" },
        "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
      ],
    ],
    (part) => make(part),
  );
});

test("names: DNS, host aliases, claims, annotations", () => {
  check(
    [
      [{ dnsPolicy: "None" }, "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
      [
        { dnsConfig: { nameservers: ["1.2.3.4.5"], searches: ["a_b.example.", "."] } },
        `spec.dnsConfig.nameservers[0]: Invalid value: "1.2.3.4.5": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
      ],
      [
        { hostAliases: [{ ip: "x", hostnames: ["a.b"] }] },
        `spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
      ],
      [
        { ephemeralContainers: [{ name: "e", image: "i", targetContainerName: "c" }] },
        "spec.ephemeralContainers: Forbidden: cannot be set on create",
      ],
    ],
    (part) => make(part),
  );
  assert.deepEqual(sentences(make({}, {}, { annotations: { "controller.kubernetes.io/pod-deletion-cost": "+1" } })), [
    `metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+1": must be a 32bit integer`,
  ]);
});

const changed = (change: (now: k8s.Pod) => void, subresource = "", spec: object = {}): string[] => {
  const old = make(spec, { resources: { requests: { cpu: "1" } } });
  const now = structuredClone(old);
  change(now as unknown as k8s.Pod);
  return pod.validateUpdate!(now, old, context(subresource)).map(({ field, detail }) => `${field}: ${detail}`);
};

test("what may change: deadlines downwards, gates away, nothing besides", () => {
  assert.deepEqual(
    changed((now) => (now.spec!.activeDeadlineSeconds = 9), "", { activeDeadlineSeconds: 5 }),
    ["spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"],
  );
  assert.deepEqual(
    changed((now) => (now.spec!.schedulingGates = [{ name: "g" }])),
    ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"],
  );
  assert.deepEqual(
    changed((now) => (now.spec!.nodeSelector = { b: "1" }), "", {
      schedulingGates: [{ name: "g" }],
      nodeSelector: { a: "1" },
    }),
    [
      'spec.nodeSelector: Invalid value: {"b":"1"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)',
    ],
  );
  assert.deepEqual(
    changed((now) => (now.spec!.nodeSelector = { a: "1", b: "1" }), "", {
      schedulingGates: [{ name: "g" }],
      nodeSelector: { a: "1" },
    }),
    [],
  );
  assert.deepEqual(
    changed((now) => (now.spec!.containers[0]!.image = "other")),
    [],
  );
});

test("resize keeps the quality of service; ephemeral containers stay; what ended does not begin again", () => {
  assert.deepEqual(
    changed((now) => (now.spec!.containers[0]!.resources = {}), "resize"),
    [
      "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
      'spec: Invalid value: "": Pod QOS Class may not change as a result of resizing',
    ],
  );
  const ephemeralContainers = [{ name: "e", image: "i" }];
  assert.deepEqual(
    changed((now) => (now.spec!.ephemeralContainers = []), "ephemeralcontainers", { ephemeralContainers }),
    ['spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed\n'],
  );
  const old = make({ restartPolicy: "Never" }) as unknown as k8s.Pod;
  const status = (state: object) => ({ containerStatuses: [{ name: "c", state }] }) as k8s.PodStatus;
  old.status = status({ terminated: { exitCode: 0 } });
  const now = { ...old, status: { ...status({ running: {} }), podIPs: [{ ip: "x" }] } };
  assert.deepEqual(
    pod.validateUpdate!(now as KubeObject, old as KubeObject, context("status")).map(({ field }) => field),
    ["status.containerStatuses[0].state", "status.podIPs[0]"],
  );
});
