import type { k8s, ObjectMeta } from "../../api/index.ts";
import { messageOf } from "../../base/index.ts";
import { matchesLabels } from "../../client/index.ts";
import {
  availableInMs,
  compareForDeletion,
  isPodAvailable,
  isPodReady,
  withCondition,
  withoutCondition,
  type Pod,
} from "../common/index.ts";

/** The fields that ReplicaSets and ReplicationControllers share. */
export interface ReplicaOwner {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
  spec?: { replicas?: number; minReadySeconds?: number; template?: k8s.PodTemplateSpec };
  status?: k8s.ReplicaSetStatus;
}

export interface ReplicaPlan {
  readonly create: number;
  readonly remove: readonly Pod[];
}

/** How many pods to create, or which to delete, at most `burst`. */
export function planReplicas(desired: number, active: readonly Pod[], nowMs: number, burst: number): ReplicaPlan {
  const missing = desired - active.length;
  if (missing >= 0) return { create: Math.min(missing, burst), remove: [] };
  const perNode = new Map<string, number>();
  for (const pod of active) {
    const node = pod.spec?.nodeName ?? "";
    perNode.set(node, (perNode.get(node) ?? 0) + 1);
  }
  const rank = (pod: Pod) => perNode.get(pod.spec?.nodeName ?? "") ?? 0;
  const sorted = [...active].sort(compareForDeletion(rank, nowMs));
  return { create: 0, remove: sorted.slice(0, Math.min(-missing, burst)) };
}

export function statusOf(
  owner: ReplicaOwner,
  active: readonly Pod[],
  nowMs: number,
  failure: unknown,
): k8s.ReplicaSetStatus {
  const minReadySeconds = owner.spec?.minReadySeconds ?? 0;
  const templateLabels = owner.spec?.template?.metadata?.labels;
  const count = (test: (pod: Pod) => boolean) => active.reduce((sum, pod) => sum + (test(pod) ? 1 : 0), 0);
  const status: k8s.ReplicaSetStatus = {
    ...owner.status,
    replicas: active.length,
    fullyLabeledReplicas: count((pod) => matchesLabels(templateLabels, pod.metadata.labels)) || undefined,
    readyReplicas: count(isPodReady) || undefined,
    availableReplicas: count((pod) => isPodAvailable(pod, minReadySeconds, nowMs)) || undefined,
    observedGeneration: owner.metadata.generation,
  };
  const conditions = conditionsOf(owner, active.length, nowMs, failure);
  status.conditions = conditions.length > 0 ? conditions : undefined;
  return status;
}

function conditionsOf(owner: ReplicaOwner, have: number, nowMs: number, failure: unknown): k8s.ReplicaSetCondition[] {
  const old = owner.status?.conditions;
  if (failure === undefined) return withoutCondition(old, "ReplicaFailure");
  if (old?.some(({ type }) => type === "ReplicaFailure")) return [...old];
  const reason = have < (owner.spec?.replicas ?? 1) ? "FailedCreate" : "FailedDelete";
  return withCondition(old, { type: "ReplicaFailure", status: "True", reason, message: messageOf(failure) }, nowMs);
}

/** When a ready pod will have been so for minReadySeconds; undefined when there is nothing to wait for. */
export function nextAvailableMs(owner: ReplicaOwner, active: readonly Pod[], nowMs: number): number | undefined {
  const minReadySeconds = owner.spec?.minReadySeconds ?? 0;
  if (minReadySeconds === 0) return undefined;
  const waits = active.map((pod) => availableInMs(pod, minReadySeconds, nowMs) ?? 0).filter((waitMs) => waitMs > 0);
  return waits.length > 0 ? Math.min(...waits) + 1 : undefined;
}
