import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf, parseQuantity } from "../../base/index.ts";
import { keyOf, resources, type KubeClient, type Stored } from "../../client/index.ts";
import type { Controller, ControllerContext } from "../../controllers/index.ts";
import type { Contents, Shape } from "./contents.ts";
import { dataSourceOf } from "./data-source.ts";
import { ownPath, VOLUME_PREFIX } from "./own-volume.ts";
import { LOCAL_PROVISIONER, PROVISIONED_BY } from "./storage-class.ts";

type Claim = Stored<k8s.PersistentVolumeClaim>;
type Volume = Stored<k8s.PersistentVolume>;

export interface LocalVolumesOptions {
  /** Whose rights suffice for claims and volumes; a provisioner has a role of its own upstream. */
  readonly client: KubeClient;
  readonly nodeName: string;
  /** Other nodes of this machine, whose volumes are directories here too. */
  readonly isLocalNode?: (name: string) => boolean;
  /** Each volume has its name there. */
  readonly contents: Contents;
  readonly snapshots: Contents;
}

const SELECTED_NODE = "volume.kubernetes.io/selected-node";
const STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner";
/** Where the volume's files are on the host, for people: on the volume and on its claim. */
const HOST_PATH = "berth.dev/host-path";
/** What a claim is to be copied from says nothing when it is ready. */
const RETRY_MS = 5_000;

type Again = { requeueAfterMs: number } | undefined;

/**
 * Makes volumes for claims that ask for this provisioner (empty, from a snapshot, from another claim), grows them, and deletes them when their class says
 * so. A volume is a directory of this node, so its size is a promise and no limit; one of mode Block is a file, which the kubelet makes a device of.
 */
export function localVolumesController(options: LocalVolumesOptions): Controller {
  return {
    name: "local-volumes",
    serviceAccount: "persistent-volume-binder",
    component: LOCAL_PROVISIONER,
    workers: 4,
    setup(context) {
      const claims = context.informer(resources.persistentVolumeClaims);
      const volumes = context.informer(resources.persistentVolumes);
      const ofClaim = (claim: Claim) => context.enqueue(`claim ${keyOf(claim)}`);
      const ofVolume = (volume: Volume) => context.enqueue(`volume ${volume.metadata.name}`);
      claims.onChange({ added: ofClaim, updated: ofClaim });
      volumes.onChange({ added: ofVolume, updated: ofVolume });
      return {
        async reconcile(queued, signal) {
          const [kind, key] = queued.split(" ") as [string, string];
          const claim = kind === "claim" ? claims.get(key) : undefined;
          const volume = kind === "volume" ? volumes.get(key) : undefined;
          if (volume) await reclaim(options, volume, signal);
          return claim ? syncClaim(context, options, claim, signal) : undefined;
        },
      };
    },
  };
}

async function syncClaim(
  context: ControllerContext,
  options: LocalVolumesOptions,
  claim: Claim,
  signal: AbortSignal,
): Promise<Again> {
  if (claim.metadata.annotations?.[STORAGE_PROVISIONER] !== LOCAL_PROVISIONER || claim.metadata.deletionTimestamp)
    return undefined;
  if (claim.spec?.volumeName) {
    await grow(context, options, claim, signal);
    return undefined;
  }
  const node = claim.metadata.annotations[SELECTED_NODE];
  const nodeName = node ?? options.nodeName;
  if (nodeName !== options.nodeName && !options.isLocalNode?.(nodeName)) return undefined;
  return provision(context, { ...options, nodeName }, claim, signal);
}

async function provision(
  context: ControllerContext,
  options: LocalVolumesOptions,
  claim: Claim,
  signal: AbortSignal,
): Promise<Again> {
  const storageClass = context.informer(resources.storageClasses).get(claim.spec?.storageClassName ?? "");
  const volume = volumeFor(claim, storageClass, options);
  const folder = volume.spec!.local!.path;
  try {
    if (!(await fill(options, claim, volume, signal))) return undefined;
  } catch (error) {
    if (!hasCode(error, "failedPrecondition", "notFound")) throw error;
    const message = `failed to provision volume with StorageClass "${claim.spec?.storageClassName}": ${messageOf(error)}`;
    context.events.event(claim, "Warning", "ProvisioningFailed", message);
    return { requeueAfterMs: RETRY_MS };
  }
  try {
    await options.client.of(resources.persistentVolumes).create(volume, { signal });
  } catch (error) {
    if (hasCode(error, "alreadyExists")) return undefined;
    throw error;
  }
  await options.client
    .of(resources.persistentVolumeClaims)
    .patch(claim.metadata, { metadata: { annotations: { [HOST_PATH]: folder } } }, { signal });
  context.events.event(
    claim,
    "Normal",
    "ProvisioningSucceeded",
    `Successfully provisioned volume ${volume.metadata.name}: its files are in ${folder}`,
  );
  return undefined;
}

/** Makes what the volume is on disk, with what it starts with. False when that is another program's to do. */
async function fill(
  { client, contents, snapshots }: LocalVolumesOptions,
  claim: Claim,
  { metadata, spec }: k8s.PersistentVolume,
  signal: AbortSignal,
): Promise<boolean> {
  const shape: Shape = {
    block: spec!.volumeMode === "Block",
    sizeBytes: parseQuantity(spec!.capacity!["storage"]!),
  };
  const source = await dataSourceOf({ client, volumes: contents, snapshots }, claim, shape);
  if (source === "others") return false;
  if (source !== undefined) await contents.copy(metadata.name!, source.path, shape, signal);
  else await contents.make(metadata.name!, shape);
  return true;
}

/** The volume that a claim gets. Pure. */
export function volumeFor(
  claim: Claim,
  storageClass: k8s.StorageClass | undefined,
  { nodeName, contents }: { readonly nodeName: string; readonly contents: Pick<Contents, "path"> },
): k8s.PersistentVolume {
  const name = VOLUME_PREFIX + claim.metadata.uid;
  const folder = contents.path(name);
  const { name: claimName, namespace, uid } = claim.metadata;
  return {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name, annotations: { [PROVISIONED_BY]: LOCAL_PROVISIONER, [HOST_PATH]: folder } },
    spec: {
      accessModes: claim.spec?.accessModes ?? ["ReadWriteOnce"],
      capacity: { storage: claim.spec?.resources?.requests?.["storage"] ?? "0" },
      claimRef: { apiVersion: "v1", kind: "PersistentVolumeClaim", name: claimName, namespace, uid },
      local: { path: folder },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: [nodeName] }] },
          ],
        },
      },
      persistentVolumeReclaimPolicy: storageClass?.reclaimPolicy ?? "Delete",
      ...(claim.spec?.storageClassName ? { storageClassName: claim.spec.storageClassName } : {}),
      volumeMode: claim.spec?.volumeMode ?? "Filesystem",
    },
  };
}

/** First what is on disk, then the volume, then what the claim says it has. */
async function grow(
  context: ControllerContext,
  options: LocalVolumesOptions,
  claim: Claim,
  signal: AbortSignal,
): Promise<void> {
  const wanted = claim.spec?.resources?.requests?.["storage"];
  const has = claim.status?.capacity?.["storage"];
  if (claim.status?.phase !== "Bound" || !wanted || !has || parseQuantity(wanted) <= parseQuantity(has)) return;
  await options.contents.grow(claim.spec!.volumeName!, parseQuantity(wanted));
  const volumes = options.client.of(resources.persistentVolumes);
  await volumes.patch({ name: claim.spec!.volumeName! }, { spec: { capacity: { storage: wanted } } }, { signal });
  await options.client
    .of(resources.persistentVolumeClaims)
    .patch(claim.metadata, { status: { capacity: { storage: wanted } } }, { subresource: "status", signal });
  context.events.event(claim, "Normal", "VolumeResizeSuccessful", `Resized to ${wanted}`);
}

/** A released volume of class policy Delete goes with its files; one to be retained stays for people. */
async function reclaim({ client, contents }: LocalVolumesOptions, volume: Volume, signal: AbortSignal): Promise<void> {
  const { metadata, spec, status } = volume;
  if (metadata.annotations?.[PROVISIONED_BY] !== LOCAL_PROVISIONER) return;
  if (status?.phase !== "Released" || spec?.persistentVolumeReclaimPolicy !== "Delete") return;
  if (ownPath(volume, contents) !== undefined) await contents.remove(metadata.name);
  try {
    await client.of(resources.persistentVolumes).delete(metadata, { signal });
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}
