import assert from "node:assert/strict";
import { test } from "node:test";

import type { KubeObject } from "../../api/index.ts";
import type { StrategyContext } from "../machinery/kind.ts";
import { builtinKinds } from "./kinds.ts";

const kinds = builtinKinds();
const kindOf = (plural: string, group = "") => kinds.find((kind) => kind.plural === plural && kind.group === group)!;
const context: StrategyContext = { user: { name: "admin", groups: [] }, nowMs: 0, subresource: "", dryRun: false };
const problems = (plural: string, object: unknown, group = "") =>
  kindOf(plural, group).strategy.validate!(object as KubeObject, context).map(
    ({ field, detail }) => `${field}: ${detail}`,
  );

test("every group of v1.34 is there, with the right names, scopes and subresources", () => {
  assert.equal(kinds.length, 58);
  assert.deepEqual(kindOf("pods").shortNames, ["po"]);
  assert.equal(kindOf("nodes").namespaced, false);
  assert.equal(kindOf("endpoints").singular, "endpoints");
  assert.equal(kindOf("deployments", "apps").strategy.hasStatus, true);
  assert.equal(kindOf("configmaps").strategy.hasStatus, false);
  assert.equal(kindOf("namespaces").verbs.includes("deletecollection"), false);
  for (const { kind, strategy } of kinds)
    assert.equal(strategy.columns?.some(({ name }) => name === "Name") ?? true, true, kind);
});

test("schemas carry what patches need: merge keys, list types, required fields, defaults of keys", () => {
  const spec = kindOf("pods").schema.properties!["spec"]!;
  const containers = spec.properties!["containers"]!;
  assert.deepEqual(containers.listMapKeys, ["name"]);
  assert.equal(containers.patchMergeKey, "name");
  assert.deepEqual(containers.items!.required, ["name"]);
  const ports = containers.items!.properties!["ports"]!;
  assert.deepEqual(ports.listMapKeys, ["containerPort", "protocol"]);
  assert.equal(ports.items!.properties!["protocol"]!.default, "TCP");
  assert.deepEqual(kindOf("deployments", "apps").schema.properties!["spec"]!.properties!["strategy"]!.patchStrategy, [
    "retainKeys",
  ]);
  assert.equal(kindOf("secrets").schema.properties!["data"]!.additionalProperties!.format, "byte");
});

test("a Deployment whose selector does not match is told so in upstream's words", () => {
  const deployment = {
    metadata: { name: "x", namespace: "default" },
    spec: {
      selector: { matchLabels: { app: "a" } },
      template: { metadata: { labels: { app: "b" } }, spec: { containers: [{ name: "c", image: "i" }] } },
    },
  };
  kindOf("deployments", "apps").strategy.fillDefaults!(deployment);
  assert.deepEqual(problems("deployments", deployment, "apps"), [
    'spec.template.metadata.labels: Invalid value: {"app":"b"}: `selector` does not match template `labels`',
  ]);
});

test("a bad name, a missing image and an unmounted volume", () => {
  const pod = {
    metadata: { name: "Bad_Name", namespace: "default" },
    spec: { containers: [{ name: "c", volumeMounts: [{ name: "v", mountPath: "/v" }] }] },
  };
  assert.deepEqual(problems("pods", pod), [
    "metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    "spec.containers[0].image: Required value",
    'spec.containers[0].volumeMounts[0].name: Not found: "v"',
  ]);
});

test("requests above limits are refused, and limits alone become requests", () => {
  const pod = {
    metadata: { name: "p", namespace: "default" },
    spec: {
      containers: [
        {
          name: "c",
          image: "i",
          resources: { limits: { cpu: "100m", memory: "1Gi" }, requests: { cpu: "1" } as Record<string, string> },
        },
      ],
    },
  };
  kindOf("pods").strategy.fillDefaults!(pod);
  assert.equal(pod.spec.containers[0]!.resources.requests["memory"], "1Gi");
  assert.deepEqual(problems("pods", pod), [
    'spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit of 100m',
  ]);
});

test("a Pod's spec stays as it is but for images and additions to tolerations", () => {
  const strategy = kindOf("pods").strategy;
  const make = () => {
    const pod = { metadata: { name: "p", namespace: "default" }, spec: { containers: [{ name: "c", image: "a" }] } };
    strategy.fillDefaults!(pod);
    return pod as unknown as { metadata: object; spec: { containers: { image: string }[]; hostNetwork?: boolean } };
  };
  const update = (change: (pod: ReturnType<typeof make>) => void) => {
    const now = make();
    change(now);
    return strategy.validateUpdate!(now as KubeObject, make() as KubeObject, context);
  };
  assert.deepEqual(
    update((pod) => (pod.spec.containers[0]!.image = "b")),
    [],
  );
  const [error] = update((pod) => (pod.spec.hostNetwork = true));
  assert.equal(error?.field, "spec");
  assert.match(error!.detail, /^Forbidden: pod updates may not change fields other than `spec.containers\[\*\].image`/);
});

const row = (plural: string, object: unknown, nowMs: number, group = "") =>
  kindOf(plural, group)
    .strategy.columns!.filter(({ priority }) => !priority)
    .map((column) => column.cell(object as KubeObject, nowMs));

test("rows as kubectl get shows them", () => {
  const created = "2026-01-01T00:00:00Z";
  const now = Date.parse("2026-01-01T00:05:30Z");
  const metadata = { name: "x", namespace: "default", creationTimestamp: created };
  assert.deepEqual(
    row(
      "deployments",
      { metadata, spec: { replicas: 3 }, status: { readyReplicas: 2, updatedReplicas: 3, availableReplicas: 2 } },
      now,
      "apps",
    ),
    ["x", "2/3", 3, 2, "5m30s"],
  );
  assert.deepEqual(
    row(
      "services",
      {
        metadata,
        spec: { type: "NodePort", clusterIP: "10.96.0.9", ports: [{ port: 80, nodePort: 30080, protocol: "TCP" }] },
      },
      now,
    ),
    ["x", "NodePort", "10.96.0.9", "<none>", "80:30080/TCP", "5m30s"],
  );
  const pod = {
    metadata,
    spec: { containers: [{ name: "a" }, { name: "b" }] },
    status: {
      phase: "Running",
      containerStatuses: [
        { name: "a", ready: true, restartCount: 0, state: { running: {} } },
        {
          name: "b",
          ready: false,
          restartCount: 3,
          state: { waiting: { reason: "CrashLoopBackOff" } },
          lastState: { terminated: { exitCode: 1, finishedAt: "2026-01-01T00:04:30Z" } },
        },
      ],
    },
  };
  assert.deepEqual(row("pods", pod, now), ["x", "1/2", "CrashLoopBackOff", "3 (60s ago)", "5m30s"]);
  const starting = {
    metadata,
    spec: { initContainers: [{ name: "i" }, { name: "j" }], containers: [{ name: "a" }] },
    status: { phase: "Pending", initContainerStatuses: [{ name: "i", restartCount: 0, state: { running: {} } }] },
  };
  assert.deepEqual(row("pods", starting, now), ["x", "0/1", "Init:0/2", "0", "5m30s"]);
  assert.deepEqual(
    row(
      "nodes",
      {
        metadata: { ...metadata, labels: { "node-role.kubernetes.io/control-plane": "" } },
        spec: { unschedulable: true },
        status: { conditions: [{ type: "Ready", status: "True" }], nodeInfo: { kubeletVersion: "v1.34.0" } },
      },
      now,
    ),
    ["x", "Ready,SchedulingDisabled", "control-plane", "5m30s", "v1.34.0"],
  );
});
