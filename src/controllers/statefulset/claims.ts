import type { k8s, OwnerReference } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { resources, type Stored } from "../../client/index.ts";
import { ownerReference, sameJson, type Pod } from "../common/index.ts";
import type { ControllerContext } from "../controller.ts";
import { ordinalOf, type StatefulSet } from "./plan.ts";

type Claim = Stored<k8s.PersistentVolumeClaim>;

/**
 * Who takes a pod's claim along, by the set's retention policy: the set when it is deleted, the pod when its ordinal is scaled away, nobody
 * when claims are retained. Undefined when that is said already.
 * https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention
 */
export function planClaimOwners(set: StatefulSet, pod: Pod, claim: Claim): OwnerReference[] | undefined {
  const { whenDeleted = "Retain", whenScaled = "Retain" } = set.spec?.persistentVolumeClaimRetentionPolicy ?? {};
  const start = set.spec?.ordinals?.start ?? 0;
  const ordinal = ordinalOf(pod);
  const isScaledAway = ordinal < start || ordinal >= start + (set.spec?.replicas ?? 1);
  const old = claim.metadata.ownerReferences ?? [];
  const next = old.filter(({ uid }) => uid !== set.metadata.uid && uid !== pod.metadata.uid);
  const { name, uid } = pod.metadata;
  if (whenScaled === "Delete" && isScaledAway) next.push({ apiVersion: "v1", kind: "Pod", name, uid });
  else if (whenDeleted === "Delete") next.push(ownerReference(set, resources.statefulSets));
  return sameJson(next, old) ? undefined : next;
}

/** Brings the owners of a pod's claims in line with the policy, before anything happens to the pod. */
export async function syncClaimOwners(
  context: ControllerContext,
  set: StatefulSet,
  pod: Pod,
  signal: AbortSignal,
): Promise<void> {
  for (const template of set.spec?.volumeClaimTemplates ?? []) {
    const key = `${set.metadata.namespace}/${template.metadata.name}-${pod.metadata.name}`;
    const claim = context.informer(resources.persistentVolumeClaims).get(key);
    const ownerReferences = claim && planClaimOwners(set, pod, claim);
    if (!ownerReferences) continue;
    const metadata = { ...claim.metadata, ownerReferences };
    await context.client.of(resources.persistentVolumeClaims).update({ ...claim, metadata }, { signal });
  }
}

/** Makes the claims that a pod needs and that aren't there. Those of an earlier pod of that name are taken over. */
export async function ensureClaims(
  context: ControllerContext,
  set: StatefulSet,
  pod: k8s.Pod,
  ordinal: number,
  signal: AbortSignal,
): Promise<void> {
  const policy = set.spec?.persistentVolumeClaimRetentionPolicy;
  const ownerReferences = policy?.whenDeleted === "Delete" ? [ownerReference(set, resources.statefulSets)] : undefined;
  for (const template of set.spec?.volumeClaimTemplates ?? []) {
    const name = `${template.metadata.name}-${set.metadata.name}-${ordinal}`;
    const namespace = set.metadata.namespace!;
    if (context.informer(resources.persistentVolumeClaims).get(`${namespace}/${name}`)) continue;
    const labels = { ...template.metadata.labels, ...set.spec?.selector?.matchLabels };
    try {
      await context.client
        .of(resources.persistentVolumeClaims)
        .create(
          { metadata: { ...template.metadata, name, namespace, labels, ownerReferences }, spec: template.spec },
          { signal },
        );
      const message = `create Claim ${name} Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name} success`;
      context.events.event(set, "Normal", "SuccessfulCreate", message);
    } catch (error) {
      if (!hasCode(error, "alreadyExists")) throw error;
    }
  }
}
