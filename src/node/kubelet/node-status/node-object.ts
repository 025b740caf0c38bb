import type { k8s } from "../../../api/index.ts";
import { formatBinaryQuantity } from "../../../base/index.ts";
import type { MachineFacts } from "../kubelet-api.ts";
import type { cri } from "../pod/imports.ts";

export interface NodeInputs {
  readonly nodeName: string;
  readonly machine: MachineFacts;
  readonly runtimeVersion: string;
  readonly images: readonly cri.CriImage[];
  readonly maxPods: number;
  readonly ephemeralBytes: number;
  readonly nowText: string;
  readonly pressure: { readonly memory: boolean; readonly disk: boolean; readonly pid: boolean };
  /** Undefined when ready; else why not. */
  readonly notReady: string | undefined;
  readonly kubeletPort: number;
  readonly volumesInUse: readonly string[];
  /** What device plugins bring, by resource. */
  readonly pluginDevices: {
    readonly capacity: Readonly<Record<string, string>>;
    readonly allocatable: Readonly<Record<string, string>>;
  };
}

/** The version that the node reports: the API's whose behaviour it has. */
const KUBELET_VERSION = "v1.34.2";
/** Upstream lists 50 images at most, the largest first. */
const MAX_IMAGES = 50;

export function nodeLabels(nodeName: string, machine: MachineFacts): Record<string, string> {
  return {
    "kubernetes.io/hostname": nodeName,
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": machine.architecture,
    "beta.kubernetes.io/os": "linux",
    "beta.kubernetes.io/arch": machine.architecture,
  };
}

const isExtended = (name: string) => name.includes("/") && !name.includes("kubernetes.io/");

/** What the administrator says that the node has: https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/ */
function extendedResources(capacity: k8s.NodeStatus["capacity"] = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(capacity).filter(([name]) => isExtended(name)));
}

/** Of what is no longer in the capacity a merge removes the rest. */
function withdrawn(old: k8s.NodeStatus | undefined): Record<string, string> {
  const gone = Object.keys(old?.allocatable ?? {}).filter((name) => isExtended(name) && !old?.capacity?.[name]);
  return Object.fromEntries(gone.map((name) => [name, null as unknown as string]));
}

export function nodeStatus(inputs: NodeInputs, old: k8s.NodeStatus | undefined): k8s.NodeStatus {
  const { machine } = inputs;
  const capacity = {
    ...extendedResources(old?.capacity),
    cpu: String(machine.cpus),
    "ephemeral-storage": formatBinaryQuantity(Math.floor(inputs.ephemeralBytes / 1024) * 1024),
    "hugepages-2Mi": "0",
    memory: formatBinaryQuantity(Math.floor(machine.memoryBytes / 1024) * 1024),
    pods: String(inputs.maxPods),
    ...inputs.pluginDevices.capacity,
  };
  // What the controller of attachments says is its own: left out, a merge keeps it.
  const { volumesAttached: _, ...others } = old ?? {};
  return {
    ...others,
    volumesInUse: [...inputs.volumesInUse],
    capacity,
    allocatable: { ...withdrawn(old), ...capacity, ...inputs.pluginDevices.allocatable },
    conditions: nodeConditions(inputs, old?.conditions ?? []),
    addresses: [
      ...machine.hostIps.map((address) => ({ type: "InternalIP", address })),
      { type: "Hostname", address: inputs.nodeName },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: inputs.kubeletPort } },
    nodeInfo: {
      machineID: machine.machineId,
      systemUUID: machine.systemUuid,
      bootID: machine.bootId,
      kernelVersion: machine.kernelVersion,
      osImage: machine.osImage,
      containerRuntimeVersion: inputs.runtimeVersion,
      kubeletVersion: KUBELET_VERSION,
      kubeProxyVersion: "",
      operatingSystem: "linux",
      architecture: machine.architecture,
    },
    images: inputs.images
      .toSorted((a, b) => b.sizeBytes - a.sizeBytes)
      .slice(0, MAX_IMAGES)
      .map((image) => ({ names: [...image.repoDigests, ...image.repoTags].slice(0, 5), sizeBytes: image.sizeBytes })),
  };
}

function nodeConditions(inputs: NodeInputs, old: readonly k8s.NodeCondition[]): k8s.NodeCondition[] {
  const make = (type: string, value: boolean, reason: string, message: string): k8s.NodeCondition => {
    const before = old.find((condition) => condition.type === type);
    const status = value ? "True" : "False";
    return {
      type,
      status,
      lastHeartbeatTime: inputs.nowText,
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : inputs.nowText,
      reason,
      message,
    };
  };
  const { pressure, notReady } = inputs;
  const ours = [
    pressure.memory
      ? make("MemoryPressure", true, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
      : make("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    pressure.disk
      ? make("DiskPressure", true, "KubeletHasDiskPressure", "kubelet has disk pressure")
      : make("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    pressure.pid
      ? make("PIDPressure", true, "KubeletHasInsufficientPID", "kubelet has insufficient PID available")
      : make("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    notReady === undefined
      ? make("Ready", true, "KubeletReady", "kubelet is posting ready status")
      : make("Ready", false, "KubeletNotReady", notReady),
  ];
  const types = new Set(ours.map((condition) => condition.type));
  return [...old.filter((condition) => !types.has(condition.type)), ...ours];
}
