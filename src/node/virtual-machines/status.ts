import type { k8s } from "../../api/index.ts";
import { rfc3339 } from "../../base/index.ts";
import type { Stored } from "../../client/index.ts";
import type { VirtualMachineFacts } from "./host.ts";
import { machineName, type Size } from "./plan.ts";
import type { VirtualMachine, VirtualMachineStatus } from "./types.ts";

type Pod = Stored<k8s.Pod>;

/** What one look at a VirtualMachine found; the words of `kubectl get vms` are KubeVirt's. */
export interface Observation {
  readonly phase:
    | "Provisioning"
    | "Scheduling"
    | "Unschedulable"
    | "Starting"
    | "Running"
    | "Paused"
    | "Stopping"
    | "Stopped"
    | "Succeeded"
    | "CrashLoopBackOff"
    | "Error"
    | "Terminating";
  /** One word for programs; the phase when left out. */
  readonly reason?: string;
  readonly message?: string;
  readonly machine?: VirtualMachineFacts | undefined;
  readonly pod?: Pod | undefined;
  readonly size?: Size | undefined;
  readonly restarts?: number;
}

/** The status that says so, keeping the times of conditions that did not change. Pure. */
export function statusOf(vm: Stored<VirtualMachine>, seen: Observation, nowMs: number): VirtualMachineStatus {
  const { phase, machine, pod, size } = seen;
  const ready = phase === "Running" && isTrue(pod, "Ready");
  const running = phase === "Running" || phase === "Paused";
  const message = seen.message ?? (phase === "Running" && !ready ? "the readiness probe has not succeeded" : "");
  const conditions: k8s.Condition[] = [];
  const add = (type: string, holds: boolean, reason: string, text: string) => {
    const status = holds ? "True" : "False";
    const before = vm.status?.conditions?.find((one) => one.type === type);
    const lastTransitionTime = before?.status === status ? before.lastTransitionTime : rfc3339(nowMs);
    const observedGeneration = vm.metadata.generation ?? 0;
    conditions.push({ type, status, reason, message: text, lastTransitionTime, observedGeneration });
  };
  add("Ready", ready, ready ? "Ready" : (seen.reason ?? (running ? "NotReady" : phase)), message);
  const restart = needsRestart(machine, size, running);
  if (restart) add("RestartRequired", true, "SizeChanged", "its size changes when it is started next");
  return {
    observedGeneration: vm.metadata.generation ?? 0,
    printableStatus: phase,
    ready,
    ...(pod?.spec?.nodeName && { nodeName: pod.spec.nodeName }),
    ...(pod && { podName: pod.metadata.name }),
    ...(running && pod?.status?.podIP && { ipAddress: pod.status.podIP }),
    ...(size && { cpu: size.cpus, memory: size.memory }),
    ...(machine && { machine: machineName(vm) }),
    restarts: seen.restarts ?? vm.status?.restarts ?? 0,
    conditions,
  };
}

function needsRestart(machine: VirtualMachineFacts | undefined, size: Size | undefined, running: boolean): boolean {
  if (!machine || !size || !running) return false;
  return machine.cpus !== size.cpus || machine.memoryBytes !== size.memoryBytes;
}

function isTrue(pod: Pod | undefined, type: string): boolean {
  return pod?.status?.conditions?.some((one) => one.type === type && one.status === "True") ?? false;
}

/** Why a launcher Pod does not run yet. Pure. */
export function waitingFor(pod: Pod): Observation {
  const scheduled = pod.status?.conditions?.find(({ type }) => type === "PodScheduled");
  if (scheduled?.status === "False" && scheduled.reason === "Unschedulable")
    return { phase: "Unschedulable", message: scheduled.message ?? "" };
  const waiting = pod.status?.containerStatuses?.[0]?.state?.waiting;
  return { phase: "Scheduling", message: waiting?.message ?? "its launcher Pod does not run yet" };
}

/** As a merge patch: what is not said any more goes. Pure. */
export function replacing<T extends object>(before: T | undefined, after: T): Record<string, unknown> {
  const gone = Object.keys(before ?? {}).filter((key) => !Object.hasOwn(after, key));
  return { ...Object.fromEntries(gone.map((key) => [key, null])), ...after };
}
