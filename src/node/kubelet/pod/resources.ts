import { parseMilli, parseQuantity, type cri } from "./imports.ts";
import type { Container, Pod, ResourceRequirements } from "./imports.ts";

/** What a Pod asks for and what that means to the kernel. Formulas follow upstream's kubelet (pkg/kubelet/cm/helpers_linux.go, qos/policy.go). */
export type QosClass = "Guaranteed" | "Burstable" | "BestEffort";

const CPU_PERIOD_US = 100_000;
const MIN_QUOTA_US = 1_000;
const MIN_SHARES = 2;
const SHARES_PER_CPU = 1024;

/** https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/ */
export function qosClass(pod: Pod): QosClass {
  const own = pod.spec?.resources;
  const holders: Array<ResourceRequirements | undefined> =
    own?.requests || own?.limits
      ? [own]
      : [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].map((container) => container.resources);
  let any = false;
  let guaranteed = true;
  for (const resources of holders) {
    for (const name of ["cpu", "memory"]) {
      const request = resources?.requests?.[name];
      const limit = resources?.limits?.[name];
      if (isSet(request) || isSet(limit)) any = true;
      if (!isSet(limit) || (isSet(request) && parseMilli(request!) !== parseMilli(limit!))) guaranteed = false;
    }
  }
  if (!any) return "BestEffort";
  return guaranteed ? "Guaranteed" : "Burstable";
}

function isSet(quantity: string | number | undefined): boolean {
  return quantity !== undefined && parseMilli(quantity) !== 0;
}

/** Below the instance's own cgroup; the engine puts that in front. */
export function podCgroup(pod: Pod): string {
  const qos = qosClass(pod);
  const parent = qos === "Guaranteed" ? "/kubepods" : `/kubepods/${qos.toLowerCase()}`;
  return `${parent}/pod${pod.metadata.uid}`;
}

function cpuShares(milli: number): number {
  return milli === 0 ? MIN_SHARES : Math.max(MIN_SHARES, Math.floor((milli * SHARES_PER_CPU) / 1000));
}

function cpuQuota(milli: number): number {
  return milli === 0 ? 0 : Math.max(MIN_QUOTA_US, Math.floor((milli * CPU_PERIOD_US) / 1000));
}

export function containerResources(pod: Pod, container: Container, capacityBytes: number): cri.LinuxContainerResources {
  const { requests, limits } = container.resources ?? {};
  const requestMilli = parseMilli(requests?.["cpu"] ?? limits?.["cpu"] ?? "0");
  const limitMilli = parseMilli(limits?.["cpu"] ?? "0");
  const memory = parseQuantity(limits?.["memory"] ?? "0");
  const resources: cri.LinuxContainerResources = {
    cpuShares: cpuShares(requestMilli),
    oomScoreAdj: oomScoreAdj(pod, container, capacityBytes),
  };
  if (limitMilli > 0) Object.assign(resources, { cpuPeriod: CPU_PERIOD_US, cpuQuota: cpuQuota(limitMilli) });
  if (memory > 0) Object.assign(resources, { memoryLimitInBytes: memory, memorySwapLimitInBytes: memory });
  return resources;
}

/** The Pod's own cgroup: limits only where every container has one, as upstream's ResourceConfigForPod. */
export function podResources(pod: Pod): cri.LinuxContainerResources {
  const containers = [
    ...(pod.spec?.containers ?? []),
    ...(pod.spec?.initContainers ?? []).filter((init) => init.restartPolicy === "Always"),
  ];
  const own = pod.spec?.resources;
  const total = (kind: "requests" | "limits", name: string, read: (text: string | number) => number) =>
    own?.[kind]?.[name] !== undefined
      ? read(own[kind]![name]!)
      : containers.reduce((sum, container) => sum + read(container.resources?.[kind]?.[name] ?? "0"), 0);
  const everyHas = (name: string) =>
    own?.limits?.[name] !== undefined || containers.every((container) => isSet(container.resources?.limits?.[name]));
  const resources: cri.LinuxContainerResources = { cpuShares: cpuShares(total("requests", "cpu", parseMilli)) };
  if (everyHas("cpu"))
    Object.assign(resources, { cpuPeriod: CPU_PERIOD_US, cpuQuota: cpuQuota(total("limits", "cpu", parseMilli)) });
  if (everyHas("memory")) {
    const highestInit = Math.max(
      0,
      ...(pod.spec?.initContainers ?? []).map((init) => parseQuantity(init.resources?.limits?.["memory"] ?? "0")),
    );
    resources.memoryLimitInBytes = Math.max(total("limits", "memory", parseQuantity), highestInit);
  }
  return resources;
}

/** https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior */
function oomScoreAdj(pod: Pod, container: Container, capacityBytes: number): number {
  const priority = pod.spec?.priorityClassName;
  if (priority === "system-node-critical" || qosClass(pod) === "Guaranteed") return -997;
  if (qosClass(pod) === "BestEffort") return 1000;
  const requested = parseQuantity(container.resources?.requests?.["memory"] ?? "0");
  const score = 1000 - Math.floor((1000 * requested) / Math.max(1, capacityBytes));
  return Math.min(999, Math.max(3, score));
}
