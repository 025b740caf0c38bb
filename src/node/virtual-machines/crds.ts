import type { k8s } from "../../api/index.ts";
import { GROUP, VERSION } from "./types.ts";

type Schema = k8s.JSONSchemaProps;

const text = (more: Schema = {}): Schema => ({ type: "string", ...more });
const list = (items: Schema, maxItems: number): Schema => ({ type: "array", items, maxItems });
const count = (maximum: number): Schema => ({ type: "integer", format: "int32", minimum: 1, maximum });
const object = (properties: Record<string, Schema>, required: string[] = [], more: Schema = {}): Schema => ({
  type: "object",
  properties,
  ...(required.length > 0 && { required }),
  ...more,
});
/** Passed on to the launcher Pod, which is validated as any other. */
const ofPods: Schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
const words: Schema = { type: "object", additionalProperties: { type: "string" } };
const rule = (expression: string, message: string): Schema =>
  ({ "x-kubernetes-validations": [{ rule: expression, message }] }) as unknown as Schema;
const either = (rules: ReadonlyArray<readonly [string, string]>): Schema =>
  ({ "x-kubernetes-validations": rules.map(([expression, message]) => ({ rule: expression, message })) }) as never;

const size: Schema = text({ pattern: "^[0-9]+(\\.[0-9]+)?([KMGT]i?|k)?$", maxLength: 32 });
const name: Schema = text({ minLength: 1, maxLength: 253 });
const keyOf = object({ name, key: name }, ["name", "key"]);
const reference = object({ name }, ["name"]);

const source = object(
  {
    image: text({ minLength: 1, maxLength: 512 }),
    disk: text({ minLength: 1, maxLength: 4096 }),
    url: text({ pattern: "^https?://", maxLength: 4096 }),
    sha256: text({ pattern: "^[0-9a-fA-F]{64}$" }),
    backup: name,
  },
  [],
  either([
    [
      "[has(self.image), has(self.disk), has(self.url), has(self.backup)].filter(x, x).size() == 1",
      "exactly one of image, disk, url and backup",
    ],
    ["!has(self.url) || has(self.sha256)", "an image from the network needs its sha256"],
  ]),
);

const template = object(
  {
    metadata: object({ labels: words, annotations: words }),
    spec: object(
      {
        source,
        imagePullPolicy: text({ enum: ["Always", "IfNotPresent", "Never"] }),
        args: list(text(), 256),
        cpu: object({ cores: count(64) }),
        memory: object({ guest: size }),
        resources: ofPods,
        firmware: text({ enum: ["kernel", "bios", "uefi"] }),
        diskSize: size,
        disks: list(object({ size }, ["size"]), 8),
        ports: list(ofPods, 64),
        hostname: text({ pattern: "^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$" }),
        user: text({ pattern: "^[a-z_][a-z0-9_-]{0,31}$" }),
        sshKeys: list(text({ maxLength: 16_384 }), 64),
        userData: text({ maxLength: 1_048_576 }),
        userDataFrom: object(
          { secretKeyRef: keyOf, configMapKeyRef: keyOf },
          [],
          rule("has(self.secretKeyRef) != has(self.configMapKeyRef)", "one of secretKeyRef and configMapKeyRef"),
        ),
        readinessProbe: ofPods,
        terminationGracePeriodSeconds: { type: "integer", format: "int64", minimum: 0, maximum: 3600 },
        nodeSelector: words,
        affinity: ofPods,
        tolerations: list(ofPods, 64),
        topologySpreadConstraints: list(ofPods, 16),
        priorityClassName: name,
        schedulerName: name,
      },
      ["source"],
      rule("!(has(self.userData) && has(self.userDataFrom))", "userData or userDataFrom, not both"),
    ),
  },
  ["spec"],
);

const machineSpec = object(
  {
    running: { type: "boolean" },
    runStrategy: text({ enum: ["Always", "RerunOnFailure", "Once", "Halted"] }),
    instancetype: reference,
    template,
  },
  ["template"],
  either([
    ["!(has(self.running) && has(self.runStrategy))", "running and runStrategy are mutually exclusive"],
    [
      "!has(self.instancetype) || !(has(self.template.spec.cpu) || has(self.template.spec.memory))",
      "an instancetype says cpu and memory; leave them out of the template",
    ],
    [
      "self.template.spec.source == oldSelf.template.spec.source",
      "a machine's source is immutable; make another VirtualMachine",
    ],
  ]),
);

const column = (title: string, jsonPath: string, more: object = {}) => ({
  name: title,
  type: "string",
  jsonPath,
  ...more,
});
const age = column("Age", ".metadata.creationTimestamp", { type: "date" });
const immutable = rule("self == oldSelf", "spec is immutable");

/** The kinds of the group. A cluster that has definitions of that name keeps them. */
export function vmDefinitions(): k8s.CustomResourceDefinition[] {
  return [
    definition("VirtualMachine", ["vm", "vms"], {
      spec: machineSpec,
      columns: [
        column("Status", ".status.printableStatus"),
        column("Ready", ".status.ready", { type: "boolean" }),
        column("Node", ".status.nodeName"),
        column("IP", ".status.ipAddress"),
        column("CPU", ".status.cpu", { type: "integer" }),
        column("Memory", ".status.memory"),
        age,
      ],
    }),
    definition("VirtualMachineInstanceType", ["vmtype"], {
      scope: "Cluster",
      spec: object({ cpu: object({ guest: count(64) }, ["guest"]), memory: object({ guest: size }, ["guest"]) }, [
        "cpu",
        "memory",
      ]),
      columns: [column("CPU", ".spec.cpu.guest", { type: "integer" }), column("Memory", ".spec.memory.guest"), age],
    }),
    definition("VirtualMachineSnapshot", ["vmsnapshot", "vmsnapshots"], {
      spec: object({ source: reference }, ["source"], immutable),
      columns: [
        column("Source", ".spec.source.name"),
        column("Phase", ".status.phase"),
        column("Memory", ".status.memory", { type: "boolean" }),
        age,
      ],
    }),
    definition("VirtualMachineBackup", ["vmbackup", "vmbackups"], {
      spec: object({ source: reference, full: { type: "boolean" } }, ["source"], immutable),
      columns: [
        column("Source", ".spec.source.name"),
        column("Phase", ".status.phase"),
        column("Type", ".status.type"),
        column("Consistency", ".status.consistency"),
        age,
      ],
    }),
  ];
}

function definition(
  kind: string,
  shortNames: readonly string[],
  { scope = "Namespaced", spec, columns }: { scope?: string; spec: Schema; columns: object[] },
): k8s.CustomResourceDefinition {
  const singular = kind.toLowerCase();
  const plural = `${singular}s`;
  const schema = object({ spec, status: ofPods }, ["spec"]);
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope,
      names: { kind, plural, singular, listKind: `${kind}List`, shortNames, categories: ["all-vms"] },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: columns,
          schema: { openAPIV3Schema: schema },
        },
      ],
    },
  } as unknown as k8s.CustomResourceDefinition;
}
