import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { safeHash, sameJson } from "../common/index.ts";
import { maxSurge } from "./rolling.ts";

export type Deployment = Stored<k8s.Deployment>;
export type ReplicaSet = Stored<k8s.ReplicaSet>;

export const HASH_LABEL = "pod-template-hash";
export const REVISION = "deployment.kubernetes.io/revision";
const REVISION_HISTORY = "deployment.kubernetes.io/revision-history";
export const DESIRED = "deployment.kubernetes.io/desired-replicas";
export const MAX = "deployment.kubernetes.io/max-replicas";

const NOT_COPIED = new Set([
  "kubectl.kubernetes.io/last-applied-configuration",
  REVISION,
  REVISION_HISTORY,
  DESIRED,
  MAX,
  "deprecated.deployment.rollback.to",
]);
/** Longer histories lose their oldest entries (upstream's maxRevHistoryLengthInChars). */
const MAX_HISTORY_CHARS = 2_000;

export function byCreation(left: ReplicaSet, right: ReplicaSet): number {
  const one = left.metadata.creationTimestamp ?? "";
  const other = right.metadata.creationTimestamp ?? "";
  return one === other ? (left.metadata.name < right.metadata.name ? -1 : 1) : one < other ? -1 : 1;
}

export function revisionOf(set: { metadata: { annotations?: Record<string, string> } }): number {
  return Number(set.metadata.annotations?.[REVISION] ?? 0) || 0;
}

/** The set whose template is the deployment's, but for the hash label. */
export function findNewSet(deployment: k8s.Deployment, sets: readonly ReplicaSet[]): ReplicaSet | undefined {
  return [...sets].sort(byCreation).find((set) => sameTemplate(set.spec?.template, deployment.spec?.template));
}

export function sameTemplate(left: k8s.PodTemplateSpec | undefined, right: k8s.PodTemplateSpec | undefined): boolean {
  return sameJson(withoutHash(left), withoutHash(right));
}

function withoutHash(template: k8s.PodTemplateSpec | undefined): unknown {
  const { [HASH_LABEL]: _, ...labels } = template?.metadata?.labels ?? {};
  return { ...template, metadata: { ...template?.metadata, labels, creationTimestamp: undefined } };
}

export function templateHash(deployment: k8s.Deployment): string {
  return safeHash(deployment.spec?.template, deployment.status?.collisionCount);
}

export function nextRevision(oldSets: readonly ReplicaSet[]): number {
  return Math.max(0, ...oldSets.map(revisionOf)) + 1;
}

/** The annotations a deployment's current set should bear. */
export function newSetAnnotations(
  deployment: Deployment,
  existing: Readonly<Record<string, string>> | undefined,
  revision: number,
): Record<string, string> {
  const annotations: Record<string, string> = { ...existing };
  for (const [key, value] of Object.entries(deployment.metadata.annotations ?? {})) {
    if (!NOT_COPIED.has(key)) annotations[key] = value;
  }
  const old = annotations[REVISION];
  if (Number(old ?? 0) < revision) {
    annotations[REVISION] = String(revision);
    if (old) annotations[REVISION_HISTORY] = appendHistory(annotations[REVISION_HISTORY], old);
  }
  return existing ? annotations : { ...annotations, ...replicaAnnotations(deployment) };
}

export function replicaAnnotations(deployment: k8s.Deployment): Record<string, string> {
  const replicas = deployment.spec?.replicas ?? 1;
  return { [DESIRED]: String(replicas), [MAX]: String(replicas + maxSurge(deployment)) };
}

function appendHistory(history: string | undefined, revision: string): string {
  const entries = history ? history.split(",") : [];
  entries.push(revision);
  while (entries.length > 1 && entries.join(",").length > MAX_HISTORY_CHARS) entries.shift();
  return entries.join(",");
}
