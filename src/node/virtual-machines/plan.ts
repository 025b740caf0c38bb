import type { k8s, vm } from "../../api/index.ts";
import { MiB, parseMilli, parseQuantity } from "../../base/index.ts";
import { apiVersionOf, type Stored } from "../../client/index.ts";
import type { VirtualMachineFacts } from "./host.ts";
import {
  RUNNING_GATE,
  VM_LABEL,
  virtualMachines,
  type RunStrategy,
  type VirtualMachine,
  type VirtualMachineInstanceType,
} from "./types.ts";

type Vm = Stored<VirtualMachine>;

export interface Size {
  readonly cpus: number;
  readonly memoryBytes: number;
  /** As it was asked for. */
  readonly memory: string;
}

const DEFAULT_MEMORY = "512Mi";
/** QEMU's own code, tables and translated code. */
const OVERHEAD_BYTES = 128 * MiB;
/** Of a processor that each virtual one asks of its node, as KubeVirt's ratio of 10. */
const MILLIS_PER_CPU = 100;
const DEFAULT_GRACE_SECONDS = 30;
/** The Pod outlives its machine by this: with it goes the machine's network. */
const LAUNCHER_GRACE_SECONDS = 15;
const MAX_NAME = 63;
const UID_CHARACTERS = 8;
/** Longer than any machine runs. Process 1 of its namespace, without a handler: SIGTERM does nothing to it. */
const LAUNCHER_COMMAND = ["/bin/sleep", "2147483647"];
/** Nodes without containers can hold no machine. */
const SIMULATED_LABEL = "berth.dev/simulated";

/** A VirtualMachine's size; undefined when its instance type is missing. */
export function sizeOf({ spec }: VirtualMachine, type: VirtualMachineInstanceType | undefined): Size | undefined {
  if (spec.instancetype && !type) return undefined;
  const memory = (type ? type.spec.memory.guest : spec.template.spec.memory?.guest) ?? DEFAULT_MEMORY;
  const cpus = (type ? type.spec.cpu.guest : spec.template.spec.cpu?.cores) ?? 1;
  return { cpus, memory, memoryBytes: parseQuantity(memory) };
}

/** Under which the hypervisor knows the machine: the same in every life of the daemon. */
export function machineName({ metadata }: Vm): string {
  const readable = `${metadata.namespace}.${metadata.name}`.slice(0, MAX_NAME - UID_CHARACTERS - 1);
  return `${readable}.${metadata.uid.slice(0, UID_CHARACTERS)}`;
}

export const launcherName = ({ metadata }: Vm): string => `${metadata.name}-launcher`;

export function graceMs({ spec }: VirtualMachine): number {
  return (spec.template.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS) * 1000;
}

export function strategyOf({ spec }: VirtualMachine): RunStrategy {
  if (spec.running !== undefined) return spec.running ? "Always" : "Halted";
  return spec.runStrategy ?? "Always";
}

/** Whether the guest ended by itself, and well. */
export const hasShutDown = (machine: VirtualMachineFacts): boolean =>
  machine.state === "stopped" && machine.finishedMs !== undefined && /guest shut down/.test(machine.reason ?? "");

/** What has run to its end stays there until its VirtualMachine is changed. */
export function shouldRun(vm: VirtualMachine, machine: VirtualMachineFacts | undefined): boolean {
  const strategy = strategyOf(vm);
  if (strategy === "Always" || strategy === "Halted") return strategy === "Always";
  const changed = vm.status?.observedGeneration !== vm.metadata?.generation;
  if (!machine || changed) return true;
  if (hasShutDown(machine)) return false;
  return strategy === "RerunOnFailure" || machine.state !== "crashed";
}

/** The machine to be made, without what stands in Secrets and ConfigMaps. */
export function machineRequest(vm: Vm, size: Size, userData: string | undefined): vm.CreateVmRequest {
  const { source, ...spec } = vm.spec.template.spec;
  const cpuLimit = spec.resources?.limits?.["cpu"];
  return {
    name: machineName(vm),
    source: source.image === undefined ? (source.disk ?? source.url ?? "") : `oci:${source.image}`,
    ...(source.sha256 && { sha256: source.sha256 }),
    cpus: size.cpus,
    memoryBytes: size.memoryBytes,
    ...(spec.firmware && { firmware: spec.firmware }),
    ...(spec.diskSize && { diskBytes: parseQuantity(spec.diskSize) }),
    ...(spec.disks && { extraDisks: spec.disks.map((disk) => parseQuantity(disk.size)) }),
    // Its network is its Pod's.
    networks: [],
    hostname: (spec.hostname ?? vm.metadata.name.replaceAll(".", "-")).slice(0, MAX_NAME),
    ...(spec.user && { user: spec.user }),
    ...(spec.sshKeys && { sshKeys: spec.sshKeys }),
    ...(userData !== undefined && { userData }),
    ...(spec.args && { args: spec.args }),
    ...(cpuLimit !== undefined && { limits: { cpuMillis: parseMilli(cpuLimit) } }),
  };
}

/** Whoever bears it goes with the VirtualMachine. */
export function ownerReference({ metadata }: Vm): k8s.OwnerReference {
  const { name, uid } = metadata;
  const { kind } = virtualMachines;
  return { apiVersion: apiVersionOf(virtualMachines), kind, name, uid, controller: true, blockOwnerDeletion: true };
}

/**
 * The Pod in whose network the machine is, and by whose requests the scheduler and quotas account for it. It does nothing itself: its first process takes no
 * notice of SIGTERM, so that the network stays until the machine has been shut down.
 */
export function launcherPod(vm: Vm, size: Size, image: string): k8s.Pod {
  const { metadata, spec } = vm.spec.template;
  const { limits, requests } = spec.resources ?? {};
  const memory = `${Math.ceil((size.memoryBytes + OVERHEAD_BYTES) / MiB)}Mi`;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: launcherName(vm),
      namespace: vm.metadata.namespace,
      labels: { ...metadata?.labels, [VM_LABEL]: vm.metadata.name.slice(0, MAX_NAME) },
      annotations: { ...metadata?.annotations },
      ownerReferences: [ownerReference(vm)],
    },
    spec: {
      containers: [
        {
          name: "launcher",
          image,
          imagePullPolicy: "IfNotPresent",
          command: LAUNCHER_COMMAND,
          resources: {
            requests: { cpu: `${size.cpus * MILLIS_PER_CPU}m`, ...requests, memory },
            limits: { cpu: String(size.cpus), ...limits, memory },
          },
          ...(spec.ports && { ports: [...spec.ports] }),
          ...(spec.readinessProbe && { readinessProbe: spec.readinessProbe }),
        },
      ],
      readinessGates: [{ conditionType: RUNNING_GATE }],
      restartPolicy: "Always",
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: graceMs(vm) / 1000 + LAUNCHER_GRACE_SECONDS,
      ...(spec.nodeSelector && { nodeSelector: spec.nodeSelector }),
      affinity: withoutSimulated(spec.affinity),
      ...(spec.tolerations && { tolerations: spec.tolerations }),
      ...(spec.topologySpreadConstraints && { topologySpreadConstraints: spec.topologySpreadConstraints }),
      ...(spec.priorityClassName && { priorityClassName: spec.priorityClassName }),
      ...(spec.schedulerName && { schedulerName: spec.schedulerName }),
    },
  };
}

function withoutSimulated(affinity: k8s.Affinity = {}): k8s.Affinity {
  const real = { key: SIMULATED_LABEL, operator: "DoesNotExist" };
  const terms = affinity.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [{}];
  const nodeSelectorTerms = terms.map((term) => ({
    ...term,
    matchExpressions: [...(term.matchExpressions ?? []), real],
  }));
  const required = { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } };
  return { ...affinity, nodeAffinity: { ...affinity.nodeAffinity, ...required } };
}
