import type { k8s } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { keyOf, resources, type Stored } from "../../client/index.ts";
import type { Controller } from "../controller.ts";

/** Makes the claims of generic ephemeral volumes, owned by their Pods. https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/ */
export const ephemeralVolumeController: Controller = {
  name: "ephemeral-volume-controller",
  setup(context) {
    const pods = context.informer(resources.pods);
    const claims = context.informer(resources.persistentVolumeClaims);
    pods.onChange({
      added: (pod) => {
        if (pod.spec?.volumes?.some((volume) => volume.ephemeral)) context.enqueue(keyOf(pod));
      },
    });
    return {
      async reconcile(key, signal) {
        const pod = pods.get(key);
        if (!pod || pod.metadata.deletionTimestamp) return;
        for (const volume of pod.spec?.volumes ?? []) {
          if (!volume.ephemeral?.volumeClaimTemplate) continue;
          const claim = claimOf(pod, volume);
          const existing = claims.get(`${pod.metadata.namespace}/${claim.metadata.name}`);
          if (existing?.metadata.ownerReferences?.some(({ uid }) => uid === pod.metadata.uid)) continue;
          if (existing) throw new Error(`claim ${claim.metadata.name} was not made for Pod ${key}`);
          try {
            await context.client.of(resources.persistentVolumeClaims).create(claim, { signal });
          } catch (error) {
            if (!hasCode(error, "alreadyExists")) throw error;
          }
        }
      },
    };
  },
};

function claimOf(pod: Stored<k8s.Pod>, volume: k8s.Volume): k8s.PersistentVolumeClaim {
  const { metadata, spec } = volume.ephemeral!.volumeClaimTemplate!;
  const { name, namespace, uid } = pod.metadata;
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: {
      ...(metadata?.labels ? { labels: metadata.labels } : {}),
      ...(metadata?.annotations ? { annotations: metadata.annotations } : {}),
      name: `${name}-${volume.name}`,
      namespace,
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name, uid, controller: true, blockOwnerDeletion: true }],
    },
    spec,
  };
}
