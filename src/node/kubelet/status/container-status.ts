import { rfc3339 } from "../../../base/index.ts";
import { shouldRestart } from "../pod/plan.ts";
import { neededResize } from "../pod/resize.ts";
import type { Container, ContainerState, ContainerStatus, cri, Pod } from "../pod/imports.ts";

/** Why a container is not there: the reasons that kubectl shows in its STATUS column. */
export interface Waiting {
  readonly reason: string;
  readonly message: string;
}

export interface ContainerFacts {
  /** This container's runtime statuses, newest first. */
  readonly history: readonly cri.ContainerStatus[];
  /** Set while something keeps it from starting: an image that can't be pulled, a missing ConfigMap, back-off. */
  readonly waiting: Waiting | undefined;
  readonly ready: boolean;
  readonly started: boolean;
  readonly terminationMessage: (containerId: string) => string;
  /** The scheme of container ids. */
  readonly runtimeName: string;
}

function nanosToTime(nanos: number): string {
  return rfc3339(Math.floor(nanos / 1e6));
}

/**
 * One entry of status.containerStatuses. `old` is what the API has: restart counts survive garbage-collected containers there.
 */
export function containerStatus(
  pod: Pod,
  container: Container,
  facts: ContainerFacts,
  old: ContainerStatus | undefined,
  initializing: boolean,
): ContainerStatus {
  const [current] = facts.history;
  const restartCount = Math.max(current?.metadata.attempt ?? 0, old?.restartCount ?? 0);
  const running = current?.state === "CONTAINER_RUNNING";
  const status: ContainerStatus = {
    name: container.name,
    ...states(pod, container, facts, old, initializing),
    ready: running && facts.ready,
    restartCount,
    image: container.image ?? "",
    imageID: current?.imageRef ?? old?.imageID ?? "",
    started: running && facts.started,
  };
  if (current) status.containerID = `${facts.runtimeName}://${current.id}`;
  else if (old?.containerID) status.containerID = old.containerID;
  if (running && container.resources) {
    status.resources = neededResize(pod, container, current) ? (old?.resources ?? {}) : container.resources;
    if (container.resources.requests) status.allocatedResources = container.resources.requests;
  }
  return status;
}

/** What it does now, and how it ended the last time. */
function states(
  pod: Pod,
  container: Container,
  facts: ContainerFacts,
  old: ContainerStatus | undefined,
  initializing: boolean,
): { state: ContainerState; lastState: ContainerState } {
  const [current, previous] = facts.history;
  const before = previous?.state === "CONTAINER_EXITED" ? { terminated: terminated(previous, facts) } : undefined;
  if (current?.state === "CONTAINER_RUNNING")
    return {
      state: { running: { startedAt: nanosToTime(current.startedAt) } },
      lastState: before ?? old?.lastState ?? {},
    };
  if (current?.state === "CONTAINER_EXITED") {
    const ended = { terminated: terminated(current, facts) };
    const { waiting } = facts;
    // A back-off says nothing about a container that isn't to run again.
    const waits = waiting?.reason !== "CrashLoopBackOff" || shouldRestart(container, current, podPolicy(pod));
    if (waiting && waits) return { state: { waiting: { ...waiting } }, lastState: ended };
    return { state: ended, lastState: before ?? {} };
  }
  const waiting = facts.waiting ?? { reason: initializing ? "PodInitializing" : "ContainerCreating" };
  const lastEnd = old?.state?.terminated && { terminated: old.state.terminated };
  return { state: { waiting: { ...waiting } }, lastState: before ?? lastEnd ?? old?.lastState ?? {} };
}

function podPolicy(pod: Pod): string {
  return pod.spec?.restartPolicy ?? "Always";
}

function terminated(status: cri.ContainerStatus, facts: ContainerFacts): NonNullable<ContainerState["terminated"]> {
  const message = facts.terminationMessage(status.id) || status.message;
  return {
    exitCode: status.exitCode,
    reason: status.reason || (status.exitCode === 0 ? "Completed" : "Error"),
    ...(message ? { message } : {}),
    startedAt: nanosToTime(status.startedAt),
    finishedAt: nanosToTime(status.finishedAt),
    containerID: `${facts.runtimeName}://${status.id}`,
  };
}
