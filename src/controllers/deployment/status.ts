import type { k8s } from "../../api/index.ts";
import { rfc3339 } from "../../base/index.ts";
import { withCondition, withoutCondition } from "../common/index.ts";
import { maxUnavailable } from "./rolling.ts";
import type { Deployment, ReplicaSet } from "./revisions.ts";

type Status = k8s.DeploymentStatus;
type Conditions = k8s.DeploymentCondition[] | undefined;

export function conditionOf(status: Status | undefined, type: string): k8s.DeploymentCondition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

/** Like withCondition, and stamps lastUpdateTime; one with the same status and reason stays as it is. */
export function setCondition(
  conditions: Conditions,
  type: string,
  status: string,
  reason: string,
  message: string,
  nowMs: number,
): k8s.DeploymentCondition[] {
  const old = conditions?.find((condition) => condition.type === type);
  if (old && old.status === status && old.reason === reason) return conditions!;
  return withCondition(conditions, { type, status, reason, message, lastUpdateTime: rfc3339(nowMs) }, nowMs);
}

const sum = (sets: readonly ReplicaSet[], of: (set: ReplicaSet) => number | undefined) =>
  sets.reduce((total, set) => total + (of(set) ?? 0), 0);

/** Counts and the Available condition. `newSet` is among `sets`. */
export function countStatus(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  newSet: ReplicaSet | undefined,
  nowMs: number,
): Status {
  const available = sum(sets, (set) => set.status?.availableReplicas);
  const enough = available >= (deployment.spec?.replicas ?? 1) - maxUnavailable(deployment);
  const conditions = enough
    ? setCondition(
        deployment.status?.conditions,
        "Available",
        "True",
        "MinimumReplicasAvailable",
        "Deployment has minimum availability.",
        nowMs,
      )
    : setCondition(
        deployment.status?.conditions,
        "Available",
        "False",
        "MinimumReplicasUnavailable",
        "Deployment does not have minimum availability.",
        nowMs,
      );
  return {
    observedGeneration: deployment.metadata.generation,
    replicas: sum(sets, (set) => set.status?.replicas) || undefined,
    updatedReplicas: (newSet?.status?.replicas ?? 0) || undefined,
    readyReplicas: sum(sets, (set) => set.status?.readyReplicas) || undefined,
    availableReplicas: available || undefined,
    unavailableReplicas: Math.max(0, sum(sets, (set) => set.spec?.replicas) - available) || undefined,
    collisionCount: deployment.status?.collisionCount,
    conditions,
  };
}

export function isComplete(deployment: Deployment, status: Status): boolean {
  const desired = deployment.spec?.replicas ?? 1;
  return (
    (status.updatedReplicas ?? 0) === desired &&
    (status.replicas ?? 0) === desired &&
    (status.availableReplicas ?? 0) === desired &&
    (status.observedGeneration ?? 0) >= (deployment.metadata.generation ?? 0)
  );
}

function isProgressing(old: Status, now: Status): boolean {
  const outdated = (status: Status) => (status.replicas ?? 0) - (status.updatedReplicas ?? 0);
  return (
    (now.updatedReplicas ?? 0) > (old.updatedReplicas ?? 0) ||
    outdated(now) < outdated(old) ||
    (now.readyReplicas ?? 0) > (old.readyReplicas ?? 0) ||
    (now.availableReplicas ?? 0) > (old.availableReplicas ?? 0)
  );
}

/** No deadline is upstream's 2^31-1. */
export function hasDeadline(deployment: Deployment): boolean {
  const seconds = deployment.spec?.progressDeadlineSeconds;
  return seconds !== undefined && seconds < 2 ** 31 - 1;
}

function isTimedOut(deployment: Deployment, status: Status, nowMs: number): boolean {
  const condition = conditionOf(status, "Progressing");
  if (!condition || condition.reason === "NewReplicaSetAvailable") return false;
  if (condition.reason === "ProgressDeadlineExceeded") return true;
  return nowMs > deadlineMs(deployment, condition);
}

function deadlineMs(deployment: Deployment, condition: k8s.DeploymentCondition): number {
  return Date.parse(condition.lastUpdateTime ?? "") + deployment.spec!.progressDeadlineSeconds! * 1000;
}

/** The status of a deployment in the middle of, or after, a rollout: counts, Available, Progressing, ReplicaFailure. */
export function rolloutStatus(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  newSet: ReplicaSet | undefined,
  nowMs: number,
): Status {
  const status = countStatus(deployment, sets, newSet, nowMs);
  status.conditions = withReplicaFailure(progressConditions(deployment, status, newSet, nowMs), sets, newSet);
  return status;
}

function progressConditions(
  deployment: Deployment,
  status: Status,
  newSet: ReplicaSet | undefined,
  nowMs: number,
): k8s.DeploymentCondition[] {
  if (!hasDeadline(deployment)) return withoutCondition(status.conditions, "Progressing");
  const current = conditionOf(deployment.status, "Progressing");
  const settled =
    (status.replicas ?? 0) === (status.updatedReplicas ?? 0) && current?.reason === "NewReplicaSetAvailable";
  if (settled) return status.conditions!;
  const subject = newSet ? `ReplicaSet "${newSet.metadata.name}"` : `Deployment "${deployment.metadata.name}"`;
  const set = (state: string, reason: string, message: string, from = status.conditions) =>
    setCondition(from, "Progressing", state, reason, message, nowMs);
  if (isComplete(deployment, status)) {
    return set("True", "NewReplicaSetAvailable", `${subject} has successfully progressed.`);
  }
  if (isProgressing(deployment.status ?? {}, status)) {
    // Progress renews the deadline, so the condition is made anew, but it became True when it first did.
    const fresh = set(
      "True",
      "ReplicaSetUpdated",
      `${subject} is progressing.`,
      withoutCondition(status.conditions, "Progressing"),
    );
    if (current?.status !== "True") return fresh;
    return fresh.map((each) =>
      each.type === "Progressing" ? { ...each, lastTransitionTime: current.lastTransitionTime } : each,
    );
  }
  if (isTimedOut(deployment, status, nowMs)) {
    return set("False", "ProgressDeadlineExceeded", `${subject} has timed out progressing.`);
  }
  return status.conditions!;
}

function withReplicaFailure(
  conditions: k8s.DeploymentCondition[],
  sets: readonly ReplicaSet[],
  newSet: ReplicaSet | undefined,
): k8s.DeploymentCondition[] {
  const failureOf = (set: ReplicaSet | undefined) =>
    set?.status?.conditions?.find((condition) => condition.type === "ReplicaFailure");
  const failure = failureOf(newSet) ?? sets.map(failureOf).find((found) => found !== undefined);
  const others = withoutCondition(conditions, "ReplicaFailure");
  if (!failure) return others;
  return [...others, { ...failure, lastUpdateTime: failure.lastTransitionTime }];
}

/** When to look again because the deadline may have passed; undefined when nothing is waited for. */
export function deadlineInMs(deployment: Deployment, status: Status, nowMs: number): number | undefined {
  const condition = conditionOf(status, "Progressing");
  if (!hasDeadline(deployment) || !condition || isComplete(deployment, status)) return undefined;
  if (condition.reason === "ProgressDeadlineExceeded" || condition.reason === "NewReplicaSetAvailable")
    return undefined;
  return Math.max(1000, deadlineMs(deployment, condition) - nowMs + 1000);
}
