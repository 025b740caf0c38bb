import type { k8s } from "../../api/index.ts";
import { keyOf, resources, type Stored } from "../../client/index.ts";
import type { Controller } from "../controller.ts";

const CLAIM_FINALIZER = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER = "kubernetes.io/pv-protection";

type Pod = Stored<k8s.Pod>;

/** A deleted claim stays until no Pod uses it. https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection */
export const claimProtectionController: Controller = {
  name: "pvc-protection-controller",
  setup(context) {
    const claims = context.informer(resources.persistentVolumeClaims);
    const pods = context.informer(resources.pods);
    const consider = (claim: Stored<k8s.PersistentVolumeClaim>) => {
      if (claim.metadata.deletionTimestamp) context.enqueue(keyOf(claim));
    };
    claims.onChange({ added: consider, updated: consider });
    const ofPod = (pod: Pod) => {
      for (const name of claimNames(pod)) context.enqueue(`${pod.metadata.namespace}/${name}`);
    };
    pods.onChange({ updated: ofPod, deleted: ofPod });
    return {
      async reconcile(key, signal) {
        const claim = claims.get(key);
        if (!claim?.metadata.deletionTimestamp || !claim.metadata.finalizers?.includes(CLAIM_FINALIZER)) return;
        const { namespace, name } = claim.metadata;
        const used = pods.inNamespace(namespace!).some((pod) => !isOver(pod) && claimNames(pod).includes(name));
        if (used) return;
        await context.client.of(resources.persistentVolumeClaims).update(without(claim, CLAIM_FINALIZER), { signal });
      },
    };
  },
};

/** A deleted volume stays while it is bound. */
export const volumeProtectionController: Controller = {
  name: "pv-protection-controller",
  setup(context) {
    const volumes = context.informer(resources.persistentVolumes);
    const consider = (volume: Stored<k8s.PersistentVolume>) => {
      if (volume.metadata.deletionTimestamp) context.enqueue(volume.metadata.name);
    };
    volumes.onChange({ added: consider, updated: consider });
    return {
      async reconcile(key, signal) {
        const volume = volumes.get(key);
        if (!volume?.metadata.deletionTimestamp || !volume.metadata.finalizers?.includes(VOLUME_FINALIZER)) return;
        if (volume.status?.phase === "Bound") return;
        await context.client.of(resources.persistentVolumes).update(without(volume, VOLUME_FINALIZER), { signal });
      },
    };
  },
};

function without<T extends { metadata: k8s.ObjectMeta }>(object: T, finalizer: string): T {
  const finalizers = object.metadata.finalizers?.filter((name) => name !== finalizer);
  return { ...object, metadata: { ...object.metadata, finalizers } };
}

function isOver(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

/** The claims that a Pod's volumes name, generic ephemeral ones included. */
function claimNames(pod: Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap((volume) => {
    if (volume.persistentVolumeClaim) return [volume.persistentVolumeClaim.claimName];
    return volume.ephemeral ? [`${pod.metadata.name}-${volume.name}`] : [];
  });
}
