import type { k8s } from "../../api/index.ts";
import { invalidArgument, rfc3339 } from "../../base/index.ts";
import type { Stored } from "../../client/index.ts";

type Pod = Stored<k8s.Pod>;

/** One step of a simulated pod's life. */
export interface Stage {
  readonly name: string;
  when(pod: Pod): boolean;
  /** How long the pod stays as it is before this stage; a random part up to `jitterMs` is added. */
  delayMs(pod: Pod): number;
  readonly jitterMs?: number;
  /** The pod's next status, or its end. */
  next(pod: Pod, nowMs: number, podIp: () => string): k8s.PodStatus | "delete";
}

const ANNOTATION = "simulated.berth.dev/";
const SIMULATED = "simulated: no container runs";

function secondsOf(pod: Pod, name: string): number | undefined {
  const text = pod.metadata.annotations?.[ANNOTATION + name];
  const value = text === undefined ? Number.NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : undefined;
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

/** Pods that end by themselves: those of Jobs, and those told so. */
function endsByItself(pod: Pod): boolean {
  if (secondsOf(pod, "run-seconds") !== undefined) return true;
  return pod.metadata.ownerReferences?.some(({ kind, controller }) => kind === "Job" && controller) ?? false;
}

function conditionsOf(pod: Pod, ready: boolean, reason: string | undefined, nowMs: number): k8s.PodCondition[] {
  const state = (type: string, status: boolean): k8s.PodCondition => {
    const old = pod.status?.conditions?.find((condition) => condition.type === type);
    const text = status ? "True" : "False";
    const lastTransitionTime = old?.status === text ? old.lastTransitionTime : rfc3339(nowMs);
    return { type, status: text, lastTransitionTime, ...(status ? {} : { reason, message: SIMULATED }) };
  };
  const kept = (pod.status?.conditions ?? []).filter(
    ({ type }) => !["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"].includes(type),
  );
  return [
    state("PodReadyToStartContainers", reason !== "PodCompleted"),
    state("Initialized", true),
    state("Ready", ready),
    state("ContainersReady", ready),
    ...kept,
  ];
}

function containersOf(pod: Pod, state: k8s.ContainerState, ready: boolean): k8s.ContainerStatus[] {
  return (pod.spec?.containers ?? []).map(({ name, image = "" }) => ({
    name,
    image,
    imageID: `simulated://${image}`,
    containerID: `simulated://${pod.metadata.uid}/${name}`,
    ready,
    started: ready,
    restartCount: 0,
    state,
  }));
}

const running: Stage = {
  name: "running",
  when: (pod) => (pod.status?.phase ?? "Pending") === "Pending" && !pod.metadata.deletionTimestamp,
  delayMs: () => 300,
  jitterMs: 200,
  next(pod, nowMs, podIp) {
    const ready = (secondsOf(pod, "ready-seconds") ?? 0) === 0;
    const ip = podIp();
    return {
      ...pod.status,
      phase: "Running",
      startTime: rfc3339(nowMs),
      podIP: ip,
      podIPs: [{ ip }],
      conditions: conditionsOf(pod, ready, "ContainersNotReady", nowMs),
      containerStatuses: containersOf(pod, { running: { startedAt: rfc3339(nowMs) } }, ready),
    };
  },
};

const ready: Stage = {
  name: "ready",
  when: (pod) => pod.status?.phase === "Running" && !isReady(pod) && !pod.metadata.deletionTimestamp,
  delayMs: (pod) => (secondsOf(pod, "ready-seconds") ?? 0) * 1000,
  next: (pod, nowMs) => ({
    ...pod.status,
    conditions: conditionsOf(pod, true, undefined, nowMs),
    containerStatuses: pod.status?.containerStatuses?.map((status) => ({ ...status, ready: true, started: true })),
  }),
};

const finished: Stage = {
  name: "finished",
  when: (pod) => pod.status?.phase === "Running" && !pod.metadata.deletionTimestamp && endsByItself(pod),
  delayMs: (pod) => (secondsOf(pod, "run-seconds") ?? 1) * 1000,
  next(pod, nowMs) {
    const exitCode = secondsOf(pod, "exit-code") ?? 0;
    const reason = exitCode === 0 ? "Completed" : "Error";
    const startedAt = pod.status?.startTime;
    return {
      ...pod.status,
      phase: exitCode === 0 ? "Succeeded" : "Failed",
      conditions: conditionsOf(pod, false, exitCode === 0 ? "PodCompleted" : "PodFailed", nowMs),
      containerStatuses: containersOf(
        pod,
        { terminated: { exitCode, reason, startedAt, finishedAt: rfc3339(nowMs) } },
        false,
      ),
    };
  },
};

const gone: Stage = {
  name: "gone",
  when: (pod) => pod.metadata.deletionTimestamp !== undefined,
  delayMs: () => 200,
  jitterMs: 200,
  next: () => "delete",
};

/** What upstream's kwok calls pod-fast: Pending, Running and Ready, for Jobs Succeeded, and gone when deleted. */
export const defaultStages: readonly Stage[] = [gone, running, ready, finished];

/** What a stages file may say of a stage: how long a Pod stays before it, and how much of that is left to chance. */
export interface StageTimes {
  readonly delayMs?: number;
  readonly jitterMs?: number;
}
/** By stage: `running`, `ready`, `finished`, `gone`. */
export type StageSettings = Readonly<Record<string, StageTimes>>;

/** The default stages with other times. Throws invalidArgument for a stage or time that there isn't. */
export function stagesFrom(settings: StageSettings): readonly Stage[] {
  const names = defaultStages.map(({ name }) => name);
  for (const [name, times] of Object.entries(settings)) {
    if (!names.includes(name))
      throw invalidArgument(`simulated Pods have no stage "${name}"`, { hint: `one of ${names.join(", ")}` });
    for (const [key, value] of Object.entries(times))
      if (!["delayMs", "jitterMs"].includes(key) || typeof value !== "number" || !(value >= 0))
        throw invalidArgument(`stage "${name}": "${key}" must be delayMs or jitterMs, at least 0`);
  }
  return defaultStages.map((stage) => {
    const { delayMs, jitterMs = stage.jitterMs } = settings[stage.name] ?? {};
    return { ...stage, jitterMs, delayMs: (pod: Pod) => delayMs ?? stage.delayMs(pod) };
  });
}
