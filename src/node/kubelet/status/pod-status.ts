import { restartableInit } from "../pod/containers.ts";
import type { Container, ContainerStatus, cri, Pod, PodCondition, PodStatus } from "../pod/imports.ts";
import { shouldRestart } from "../pod/plan.ts";
import { qosClass } from "../pod/resources.ts";
import { containerStatus, type ContainerFacts } from "./container-status.ts";

/** Verdicts that the node's need, not the Pod's own doing, brought about. */
const NODE_VERDICTS: ReadonlySet<string> = new Set(["Evicted", "Terminated"]);

/** New limits that a container has not got yet, and why not. */
export interface ResizeCondition {
  readonly type: "PodResizePending" | "PodResizeInProgress";
  readonly reason: string;
  readonly message: string;
}

/** Everything the kubelet knows that goes into status. */
export interface StatusInputs {
  readonly sandbox: cri.PodSandboxStatus | undefined;
  readonly facts: (containerName: string) => ContainerFacts;
  readonly hostIps: readonly string[];
  readonly nowText: string;
  /** The Pod is being torn down or was refused: no container will start again. */
  readonly finished: boolean;
  /** A verdict on the whole Pod: eviction, deadline, refusal. */
  readonly resizing?: ResizeCondition | undefined;
  readonly failure?: { readonly reason: string; readonly message: string } | undefined;
}

/** The kubelet's part of a Pod's status, as upstream's generateAPIPodStatus (pkg/kubelet/kubelet_pods.go). Pure. */
export function podStatus(pod: Pod, inputs: StatusInputs): PodStatus {
  const spec = pod.spec!;
  const old = pod.status ?? {};
  const statusOf = (container: Container, list: readonly ContainerStatus[] | undefined, initializing: boolean) =>
    containerStatus(
      pod,
      container,
      inputs.facts(container.name),
      list?.find((status) => status.name === container.name),
      initializing,
    );

  const initStatuses = (spec.initContainers ?? []).map((container) => {
    const status = statusOf(container, old.initContainerStatuses, true);
    if (!restartableInit(container)) status.ready = status.state?.terminated?.exitCode === 0;
    return status;
  });
  const initialized = isInitialized(spec.initContainers ?? [], initStatuses);
  const statuses = spec.containers.map((container) =>
    statusOf(container, old.containerStatuses, (spec.initContainers ?? []).length > 0 && !initialized),
  );
  const ephemeral = (spec.ephemeralContainers ?? []).map((container) =>
    statusOf(container as Container, old.ephemeralContainerStatuses, false),
  );

  // An end is for good: a restarted kubelet has forgotten its verdict, and the Pod's status still has it.
  const ended = old.phase === "Failed" || old.phase === "Succeeded" ? old.phase : undefined;
  const phase = inputs.failure ? "Failed" : (ended ?? phaseOf(pod, initStatuses, statuses, inputs));
  const ips = spec.hostNetwork
    ? [...inputs.hostIps]
    : inputs.sandbox
      ? [inputs.sandbox.network.ip, ...inputs.sandbox.network.additionalIps].filter(Boolean)
      : (old.podIPs ?? []).map((entry) => entry.ip);
  const status: PodStatus = {
    ...(pod.metadata.generation !== undefined ? { observedGeneration: pod.metadata.generation } : {}),
    phase,
    conditions: conditions(pod, phase, initialized, initStatuses, statuses, inputs),
    hostIP: inputs.hostIps[0] ?? "",
    hostIPs: inputs.hostIps.map((ip) => ({ ip })),
    startTime: old.startTime ?? inputs.nowText,
    ...(ips.length > 0 ? { podIP: ips[0]!, podIPs: ips.map((ip) => ({ ip })) } : {}),
    ...(initStatuses.length > 0 ? { initContainerStatuses: initStatuses } : {}),
    containerStatuses: statuses,
    ...(ephemeral.length > 0 ? { ephemeralContainerStatuses: ephemeral } : {}),
    qosClass: old.qosClass ?? qosClass(pod),
  };
  if (inputs.failure) Object.assign(status, inputs.failure);
  else if (ended) Object.assign(status, { reason: old.reason, message: old.message });
  return status;
}

function isInitialized(containers: readonly Container[], statuses: readonly ContainerStatus[]): boolean {
  return containers.every((container, index) => {
    const status = statuses[index]!;
    return restartableInit(container)
      ? status.started === true || status.state?.terminated !== undefined
      : status.state?.terminated?.exitCode === 0;
  });
}

/** https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase */
function phaseOf(
  pod: Pod,
  init: readonly ContainerStatus[],
  mains: readonly ContainerStatus[],
  inputs: StatusInputs,
): string {
  const spec = pod.spec!;
  const policy = spec.restartPolicy ?? "Always";
  const regularInit = init.filter((_, index) => !restartableInit(spec.initContainers![index]!));
  const initFailedForGood = regularInit.some(
    (status) =>
      (status.state?.terminated ?? status.lastState?.terminated) &&
      (status.state?.terminated?.exitCode ?? 0) !== 0 &&
      (policy === "Never" || inputs.finished),
  );
  if (initFailedForGood) return "Failed";
  const initPending = regularInit.some(
    (status) =>
      status.state?.terminated?.exitCode !== 0 &&
      !(inputs.finished && !status.state?.waiting && !status.state?.running),
  );
  const anyMainEver = mains.some(
    (status) => status.state?.running || status.state?.terminated || status.lastState?.terminated,
  );
  if (initPending && !anyMainEver) return inputs.finished ? "Failed" : "Pending";

  const ended = (status: ContainerStatus) => status.state?.terminated;
  const endedForGood = mains.every((status, index) => {
    const terminated = ended(status);
    if (!terminated) return false;
    if (inputs.finished) return true;
    const asRuntime = { exitCode: terminated.exitCode } as cri.ContainerStatus;
    return !shouldRestart(spec.containers[index]!, asRuntime, policy);
  });
  if (endedForGood && mains.length > 0)
    return mains.every((status) => ended(status)!.exitCode === 0) ? "Succeeded" : "Failed";
  if (inputs.finished)
    return mains.some((status) => status.state?.running)
      ? "Running"
      : pod.status?.phase === "Pending" || !anyMainEver
        ? "Failed"
        : "Failed";
  const neverStarted = mains.some((status) => status.state?.waiting && !status.lastState?.terminated);
  return neverStarted ? "Pending" : "Running";
}

function conditions(
  pod: Pod,
  phase: string,
  initialized: boolean,
  _init: readonly ContainerStatus[],
  mains: readonly ContainerStatus[],
  inputs: StatusInputs,
): PodCondition[] {
  const old = pod.status?.conditions ?? [];
  const generation = pod.metadata.generation !== undefined ? { observedGeneration: pod.metadata.generation } : {};
  const make = (type: string, value: boolean, reason?: string, message?: string): PodCondition => {
    const before = old.find((condition) => condition.type === type);
    const status = value ? "True" : "False";
    return {
      type,
      status,
      ...generation,
      lastProbeTime: null as unknown as string,
      lastTransitionTime:
        before?.status === status && before.lastTransitionTime ? before.lastTransitionTime : inputs.nowText,
      ...(reason ? { reason } : {}),
      ...(message ? { message } : {}),
    };
  };
  const done = phase === "Succeeded" ? "PodCompleted" : phase === "Failed" ? "PodFailed" : undefined;
  const notReady = mains.filter((status) => !status.ready).map((status) => status.name);
  const restarting = [...(pod.spec!.initContainers ?? [])].flatMap((container, index) =>
    restartableInit(container) && !_init[index]!.ready ? [container.name] : [],
  );
  const unready = [...notReady, ...restarting];
  const unreadyMessage = `containers with unready status: [${unready.join(" ")}]`;
  const gates = (pod.spec!.readinessGates ?? []).filter(
    (gate) => old.find((condition) => condition.type === gate.conditionType)?.status !== "True",
  );
  const containersReady = done ? false : unready.length === 0;

  const result = [
    make("PodReadyToStartContainers", !inputs.finished && inputs.sandbox?.state === "SANDBOX_READY"),
    initialized || done === "PodCompleted"
      ? make("Initialized", true, done === "PodCompleted" ? done : undefined)
      : make(
          "Initialized",
          false,
          "ContainersNotInitialized",
          `containers with incomplete status: [${incomplete(pod, _init).join(" ")}]`,
        ),
    containersReady && gates.length > 0
      ? make(
          "Ready",
          false,
          "ReadinessGatesNotReady",
          gates
            .map((gate) => `corresponding condition of pod readiness gate "${gate.conditionType}" does not exist.`)
            .join(", "),
        )
      : make(
          "Ready",
          containersReady,
          done ?? (containersReady ? undefined : "ContainersNotReady"),
          done || containersReady ? undefined : unreadyMessage,
        ),
    make(
      "ContainersReady",
      containersReady,
      done ?? (containersReady ? undefined : "ContainersNotReady"),
      done || containersReady ? undefined : unreadyMessage,
    ),
  ];
  const scheduled = old.find((condition) => condition.type === "PodScheduled");
  result.push(scheduled ?? make("PodScheduled", true));
  if (inputs.resizing) result.push(make(inputs.resizing.type, true, inputs.resizing.reason, inputs.resizing.message));
  if (inputs.failure && NODE_VERDICTS.has(inputs.failure.reason))
    result.push(make("DisruptionTarget", true, "TerminationByKubelet", inputs.failure.message));
  const ours = new Set([...result.map((condition) => condition.type), "PodResizePending", "PodResizeInProgress"]);
  return [...result, ...old.filter((condition) => !ours.has(condition.type))];
}

function incomplete(pod: Pod, init: readonly ContainerStatus[]): string[] {
  return (pod.spec!.initContainers ?? []).flatMap((container, index) => {
    const status = init[index]!;
    const complete = restartableInit(container) ? status.started : status.state?.terminated?.exitCode === 0;
    return complete ? [] : [container.name];
  });
}
