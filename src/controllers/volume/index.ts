import type { k8s } from "../../api/index.ts";
import { parseQuantity } from "../../base/index.ts";
import { keyOf, labelPredicate, resources, type Stored } from "../../client/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";

export { ephemeralVolumeController } from "./ephemeral.ts";
export { claimProtectionController, volumeProtectionController } from "./protection.ts";

type Claim = Stored<k8s.PersistentVolumeClaim>;
type Volume = Stored<k8s.PersistentVolume>;

const BIND_COMPLETED = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller";
const SELECTED_NODE = "volume.kubernetes.io/selected-node";
const PROVISIONER = "volume.kubernetes.io/storage-provisioner";

/** Binds claims to volumes, and gives volumes back when their claims are gone. https://kubernetes.io/docs/concepts/storage/persistent-volumes/ */
export const persistentVolumeController: Controller = {
  name: "persistent-volume-binder",
  component: "persistentvolume-controller",
  // One at a time: two claims must not take one volume.
  workers: 1,
  setup(context) {
    const claims = context.informer(resources.persistentVolumeClaims);
    const volumes = context.informer(resources.persistentVolumes);
    const ofClaim = (claim: Claim) => {
      context.enqueue(`claim ${keyOf(claim)}`);
      if (claim.spec?.volumeName) context.enqueue(`volume ${claim.spec.volumeName}`);
    };
    claims.onChange({ added: ofClaim, updated: ofClaim, deleted: ofClaim });
    const ofVolume = (volume: Volume) => {
      context.enqueue(`volume ${volume.metadata.name}`);
      for (const claim of claims.values())
        if (claim.status?.phase !== "Bound") context.enqueue(`claim ${keyOf(claim)}`);
    };
    volumes.onChange({ added: ofVolume, updated: ofVolume, deleted: ofVolume });
    context.informer(resources.storageClasses);
    return {
      async reconcile(queued, signal) {
        const [kind, key] = queued.split(" ") as [string, string];
        const claim = kind === "claim" ? claims.get(key) : undefined;
        const volume = kind === "volume" ? volumes.get(key) : undefined;
        if (claim) await syncClaim(context, claim, signal);
        if (volume) await syncVolume(context, volume, signal);
      },
    };
  },
};

async function syncClaim(context: ControllerContext, claim: Claim, signal: AbortSignal): Promise<void> {
  const volumes = context.informer(resources.persistentVolumes);
  if (claim.spec?.volumeName) {
    const volume = volumes.get(claim.spec.volumeName);
    if (!volume) {
      if (claim.metadata.annotations?.[BIND_COMPLETED]) await setClaimPhase(context, claim, { phase: "Lost" }, signal);
      return;
    }
    const { claimRef } = volume.spec ?? {};
    if (!claimRef || isRefTo(claimRef, claim)) await bind(context, claim, volume, signal);
    return;
  }
  const found = findVolume([...volumes.values()], claim);
  const storageClass = claim.spec?.storageClassName
    ? context.informer(resources.storageClasses).get(claim.spec.storageClassName)
    : undefined;
  const waits =
    storageClass?.volumeBindingMode === "WaitForFirstConsumer" && !claim.metadata.annotations?.[SELECTED_NODE];
  if (waits && found?.spec?.claimRef === undefined) {
    context.events.event(
      claim,
      "Normal",
      "WaitForFirstConsumer",
      "waiting for first consumer to be created before binding",
    );
    return;
  }
  if (found) return bind(context, claim, found, signal);
  await setClaimPhase(context, claim, { phase: "Pending" }, signal);
  if (storageClass && storageClass.provisioner !== "kubernetes.io/no-provisioner")
    await askProvisioner(context, claim, storageClass, signal);
  else
    context.events.event(
      claim,
      "Normal",
      "FailedBinding",
      "no persistent volumes available for this claim and no storage class is set",
    );
}

/** Provisioners, in or out of the process, watch for claims that name them in this annotation. */
async function askProvisioner(
  context: ControllerContext,
  claim: Claim,
  storageClass: k8s.StorageClass,
  signal: AbortSignal,
): Promise<void> {
  const { provisioner } = storageClass;
  if (claim.metadata.annotations?.[PROVISIONER] !== provisioner) {
    await context.client.of(resources.persistentVolumeClaims).update(
      {
        ...claim,
        metadata: { ...claim.metadata, annotations: { ...claim.metadata.annotations, [PROVISIONER]: provisioner } },
      },
      { signal },
    );
  }
  const message = `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.`;
  context.events.event(claim, "Normal", "ExternalProvisioning", message);
}

function isRefTo(reference: k8s.ObjectReference, claim: Claim): boolean {
  const { name, namespace, uid } = claim.metadata;
  return reference.name === name && reference.namespace === namespace && (!reference.uid || reference.uid === uid);
}

const capacityOf = (volume: k8s.PersistentVolume) => parseQuantity(volume.spec?.capacity?.["storage"] ?? "0");

/** One reserved for the claim, else the smallest that is large enough. */
function findVolume(volumes: readonly Volume[], claim: Claim): Volume | undefined {
  const wanted = parseQuantity(claim.spec?.resources?.requests?.["storage"] ?? "0");
  const matches = labelPredicate(claim.spec?.selector ?? {});
  const fitting = volumes.filter((volume) => {
    const { spec } = volume;
    if (volume.metadata.deletionTimestamp || (spec?.claimRef && !isRefTo(spec.claimRef, claim))) return false;
    if (
      !spec?.claimRef &&
      volume.status?.phase !== "Available" &&
      volume.status?.phase !== "Pending" &&
      volume.status?.phase !== undefined
    )
      return false;
    return (
      (spec?.storageClassName ?? "") === (claim.spec?.storageClassName ?? "") &&
      (spec?.volumeMode ?? "Filesystem") === (claim.spec?.volumeMode ?? "Filesystem") &&
      (claim.spec?.accessModes ?? []).every((mode) => spec?.accessModes?.includes(mode)) &&
      capacityOf(volume) >= wanted &&
      matches(volume.metadata.labels)
    );
  });
  const reserved = fitting.find((volume) => volume.spec?.claimRef);
  return reserved ?? fitting.sort((left, right) => capacityOf(left) - capacityOf(right))[0];
}

/** Volume first, then claim: whoever is interrupted between the two carries on from the volume's claimRef. */
async function bind(context: ControllerContext, claim: Claim, volume: Volume, signal: AbortSignal): Promise<void> {
  const volumesClient = context.client.of(resources.persistentVolumes);
  const claimsClient = context.client.of(resources.persistentVolumeClaims);
  const { name, namespace, uid } = claim.metadata;
  let bound = volume;
  if (volume.spec?.claimRef?.uid !== uid) {
    const claimRef = {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      name,
      namespace,
      uid,
      resourceVersion: claim.metadata.resourceVersion,
    };
    const annotations = { ...volume.metadata.annotations, [BOUND_BY_CONTROLLER]: "yes" };
    bound = await volumesClient.update(
      { ...volume, metadata: { ...volume.metadata, annotations }, spec: { ...volume.spec, claimRef } },
      { signal },
    );
  }
  if (bound.status?.phase !== "Bound")
    bound = await volumesClient.updateStatus({ ...bound, status: { ...bound.status, phase: "Bound" } }, { signal });
  let current = claim;
  if (claim.spec?.volumeName !== volume.metadata.name || !claim.metadata.annotations?.[BIND_COMPLETED]) {
    const annotations = {
      ...claim.metadata.annotations,
      [BIND_COMPLETED]: "yes",
      ...(claim.spec?.volumeName ? {} : { [BOUND_BY_CONTROLLER]: "yes" }),
    };
    current = await claimsClient.update(
      {
        ...claim,
        metadata: { ...claim.metadata, annotations },
        spec: { ...claim.spec, volumeName: volume.metadata.name },
      },
      { signal },
    );
  }
  const { accessModes, capacity } = bound.spec ?? {};
  await setClaimPhase(context, current, { phase: "Bound", accessModes, capacity }, signal);
}

async function setClaimPhase(
  context: ControllerContext,
  claim: Claim,
  status: k8s.PersistentVolumeClaimStatus,
  signal: AbortSignal,
): Promise<void> {
  if (claim.status?.phase === status.phase) return;
  await context.client
    .of(resources.persistentVolumeClaims)
    .updateStatus({ ...claim, status: { ...claim.status, ...status } }, { signal });
}

async function syncVolume(context: ControllerContext, volume: Volume, signal: AbortSignal): Promise<void> {
  const { claimRef } = volume.spec ?? {};
  const setPhase = async (phase: string) => {
    if (volume.status?.phase === phase) return;
    await context.client
      .of(resources.persistentVolumes)
      .updateStatus({ ...volume, status: { ...volume.status, phase } }, { signal });
  };
  if (!claimRef?.uid) return setPhase("Available");
  const claim = context.informer(resources.persistentVolumeClaims).get(`${claimRef.namespace}/${claimRef.name}`);
  if (claim?.metadata.uid === claimRef.uid) return;
  await setPhase("Released");
  // Deleting what a provisioner made is that provisioner's business; one without a driver just goes.
  const provisioned = volume.metadata.annotations?.["pv.kubernetes.io/provisioned-by"];
  if (volume.spec?.persistentVolumeReclaimPolicy === "Delete" && !provisioned && !volume.spec.csi) {
    await context.client.of(resources.persistentVolumes).delete(volume.metadata, { signal });
  }
}
