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
  const [current, previous] = facts.history;
  const restartCount = Math.max(current?.metadata.attempt ?? 0, old?.restartCount ?? 0);
  const running = current?.state === "CONTAINER_RUNNING";
  const status: ContainerStatus = {
    name: container.name,
    state: {},
    lastState: {},
    ready: running && facts.ready,
    restartCount,
    image: container.image ?? "",
    imageID: current?.imageRef ?? old?.imageID ?? "",
    started: running ? facts.started : false,
  };
  if (current) status.containerID = `${facts.runtimeName}://${current.id}`;
  else if (old?.containerID) status.containerID = old.containerID;

  if (running) {
    status.state = { running: { startedAt: nanosToTime(current.startedAt) } };
    if (previous?.state === "CONTAINER_EXITED") status.lastState = { terminated: terminated(previous, facts) };
    else if (old?.lastState) status.lastState = old.lastState;
  } else if (current?.state === "CONTAINER_EXITED") {
    const ended = { terminated: terminated(current, facts) };
    if (
      facts.waiting &&
      (shouldRestart(container, current, podPolicy(pod)) || facts.waiting.reason !== "CrashLoopBackOff")
    ) {
      status.state = { waiting: { ...facts.waiting } };
      status.lastState = ended;
    } else {
      status.state = ended;
      if (previous?.state === "CONTAINER_EXITED") status.lastState = { terminated: terminated(previous, facts) };
    }
  } else {
    status.state = {
      waiting: facts.waiting
        ? { ...facts.waiting }
        : { reason: initializing ? "PodInitializing" : "ContainerCreating" },
    };
    if (previous?.state === "CONTAINER_EXITED") status.lastState = { terminated: terminated(previous, facts) };
    else if (old?.state?.terminated) status.lastState = { terminated: old.state.terminated };
    else if (old?.lastState) status.lastState = old.lastState;
  }
  if (container.resources && running)
    status.resources = neededResize(pod, container, current) ? (old?.resources ?? {}) : container.resources;
  if (running && container.resources?.requests) status.allocatedResources = container.resources.requests;
  return status;
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
