import type { k8s } from "../../api/index.ts";
import { parseQuantityNano } from "../../base/index.ts";
import { labelPredicate, type Stored } from "../../client/index.ts";
import type { Cluster } from "../cluster.ts";
import { refuse, type FilterRun, type Plugin, type PreFilterRefusal, type Refusal } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";
import { matchesTerm } from "./node-affinity.ts";
import { claimNames, volumeEvents } from "./volumes.ts";

type Claim = Stored<k8s.PersistentVolumeClaim>;
type Volume = Stored<k8s.PersistentVolume>;

const BINDING = "VolumeBinding";
const AFFINITY_CONFLICT = refuse(BINDING, false, "node(s) didn't match PersistentVolume's node affinity");
const NO_VOLUME = refuse(BINDING, false, "node(s) didn't find available persistent volumes to bind");
const BAD_TOPOLOGY = refuse(BINDING, false, "node(s) didn't match the topology of the storage class");
const NO_CAPACITY = refuse(BINDING, false, "node(s) did not have enough free storage");
const NO_PROVISIONER = "kubernetes.io/no-provisioner";
const SELECTED_NODE = "volume.kubernetes.io/selected-node";

interface Claims {
  readonly bound: readonly Stored<k8s.PersistentVolume>[];
  /** To be bound or provisioned once a node is chosen. */
  readonly waiting: readonly Claim[];
}

function stop(plugin: string, reason: string): PreFilterRefusal {
  return { refusal: refuse(plugin, false, reason) };
}

function claimsOf(info: PodInfo, cluster: Cluster): Claims | PreFilterRefusal {
  const bound: Stored<k8s.PersistentVolume>[] = [];
  const waiting: Claim[] = [];
  for (const name of claimNames(info.pod)) {
    const claim = cluster.listers.claims.get(`${info.namespace}/${name}`);
    if (!claim) return stop(BINDING, `persistentvolumeclaim "${name}" not found`);
    if (claim.metadata.deletionTimestamp) return stop(BINDING, `persistentvolumeclaim "${name}" is being deleted`);
    if (claim.status?.phase === "Lost") {
      return stop(
        BINDING,
        `persistentvolumeclaim "${name}" bound to non-existent persistentvolume "${claim.spec?.volumeName}"`,
      );
    }
    const volume = claim.spec?.volumeName ? cluster.listers.volumes.get(claim.spec.volumeName) : undefined;
    if (volume) bound.push(volume);
    else if (waitsForNode(claim, cluster)) waiting.push(claim);
    else return stop(BINDING, "pod has unbound immediate PersistentVolumeClaims");
  }
  return { bound, waiting };
}

function classOf(claim: Claim, cluster: Cluster): Stored<k8s.StorageClass> | undefined {
  const name = claim.spec?.storageClassName;
  return name ? cluster.listers.storageClasses.get(name) : undefined;
}

function waitsForNode(claim: Claim, cluster: Cluster): boolean {
  return classOf(claim, cluster)?.volumeBindingMode === "WaitForFirstConsumer";
}

function volumeFitsNode(
  volume: k8s.PersistentVolume,
  node: { labels: Readonly<Record<string, string>>; name: string },
): boolean {
  const required = volume.spec?.nodeAffinity?.required;
  return !required || required.nodeSelectorTerms.some((term) => matchesTerm(term, node.labels, node.name));
}

/** Says in an annotation which node a claim is wanted on. */
type SelectNode = (claim: Claim, node: string, signal: AbortSignal) => Promise<void>;

/**
 * Volumes for Pods: those that their claims have must be reachable from the node, and those that they wait for must be there to be bound or
 * made. A volume that is chosen for one Pod is held for it until its claim is bound, so that two Pods of one moment don't count on the same.
 */
export class VolumeBinding implements Plugin {
  readonly name = BINDING;
  readonly mayHelp = volumeEvents;
  readonly #write: SelectNode;
  /** By the volume's name. */
  readonly #held = new Map<string, { readonly pod: string; readonly claim: string; readonly uid: string }>();

  constructor(write: SelectNode) {
    this.#write = write;
  }

  preFilter(info: PodInfo, cluster: Cluster): FilterRun | PreFilterRefusal | undefined {
    if (!info.pod.spec!.volumes?.length || claimNames(info.pod).length === 0) return undefined;
    const claims = claimsOf(info, cluster);
    if ("refusal" in claims) return claims;
    this.#forgetBound(cluster);
    return { filter: (node) => this.#filter(claims, node, cluster) };
  }

  #filter({ bound, waiting }: Claims, node: NodeInfo, cluster: Cluster): Refusal | undefined {
    if (!bound.every((volume) => volumeFitsNode(volume, node))) return AFFINITY_CONFLICT;
    const taken = new Set<string>();
    for (const claim of waiting) {
      const storageClass = classOf(claim, cluster);
      if (storageClass !== undefined && storageClass.provisioner !== NO_PROVISIONER) {
        if (!isTopologyAllowed(storageClass, node)) return BAD_TOPOLOGY;
        if (!hasCapacity(claim, storageClass, node, cluster)) return NO_CAPACITY;
        continue;
      }
      const volume = this.#find(claim, node, cluster, taken);
      if (volume === undefined) return NO_VOLUME;
      taken.add(volume.metadata.name);
    }
    return undefined;
  }

  #find(claim: Claim, node: NodeInfo, cluster: Cluster, taken: ReadonlySet<string>): Volume | undefined {
    return cluster.listers.volumes.list().find((volume) => {
      const holder = this.#held.get(volume.metadata.name);
      return (
        !taken.has(volume.metadata.name) &&
        (holder === undefined || holder.uid === claim.metadata.uid) &&
        isMeantFor(volume, claim) &&
        volumeFitsNode(volume, node)
      );
    });
  }

  reserve(info: PodInfo, node: NodeInfo, cluster: Cluster): void {
    if (!info.pod.spec!.volumes?.length) return;
    const claims = claimsOf(info, cluster);
    if ("refusal" in claims) return;
    const taken = new Set<string>();
    for (const claim of claims.waiting) {
      if (classOf(claim, cluster)?.provisioner !== NO_PROVISIONER) continue;
      const volume = this.#find(claim, node, cluster, taken);
      if (volume === undefined) continue;
      taken.add(volume.metadata.name);
      const { name, namespace, uid } = claim.metadata;
      this.#held.set(volume.metadata.name, { pod: info.uid, claim: `${namespace}/${name}`, uid });
    }
  }

  unreserve(info: PodInfo): void {
    for (const [volume, { pod }] of this.#held) if (pod === info.uid) this.#held.delete(volume);
  }

  /** A claim that has got a volume, whichever, or is gone needs none to be held. */
  #forgetBound({ listers }: Cluster): void {
    for (const [volume, { claim, uid }] of this.#held) {
      const now = listers.claims.get(claim);
      if (now?.metadata.uid !== uid || now.spec?.volumeName) this.#held.delete(volume);
    }
  }

  /** Tells the binder which node was chosen; the pod is bound when every claim is. */
  async preBind(info: PodInfo, node: NodeInfo, cluster: Cluster, signal: AbortSignal): Promise<void> {
    if (!info.pod.spec!.volumes?.length) return;
    const claims = claimsOf(info, cluster);
    if ("refusal" in claims) return;
    for (const claim of claims.waiting) {
      if (claim.metadata.annotations?.[SELECTED_NODE] !== node.name) await this.#write(claim, node.name, signal);
    }
  }
}

function isTopologyAllowed({ allowedTopologies = [] }: k8s.StorageClass, node: NodeInfo): boolean {
  if (allowedTopologies.length === 0) return true;
  return allowedTopologies.some(({ matchLabelExpressions = [] }) =>
    matchLabelExpressions.every(({ key, values }) => values.includes(node.labels[key] ?? "")),
  );
}

const isMeantFor = ({ spec: volume }: k8s.PersistentVolume, { spec, metadata }: Claim): boolean =>
  volume?.storageClassName === spec?.storageClassName &&
  (!volume?.claimRef || volume.claimRef.uid === metadata.uid) &&
  (spec?.accessModes ?? []).every((mode) => volume?.accessModes?.includes(mode));

/** https://kubernetes.io/docs/concepts/storage/storage-capacity/: asked of drivers that say that they tell. */
function hasCapacity(
  claim: Claim,
  { metadata, provisioner }: Stored<k8s.StorageClass>,
  node: NodeInfo,
  { listers }: Cluster,
) {
  if (listers.csiDrivers.get(provisioner)?.spec?.storageCapacity !== true) return true;
  const wanted = nanoOf(claim.spec?.resources?.requests?.["storage"]);
  return listers.storageCapacities
    .list()
    .some(
      ({ storageClassName, capacity, maximumVolumeSize, nodeTopology }) =>
        storageClassName === metadata.name &&
        nanoOf(maximumVolumeSize ?? capacity) >= wanted &&
        nodeTopology !== undefined &&
        labelPredicate(nodeTopology)(node.labels),
    );
}

const nanoOf = (quantity: string | undefined): bigint => parseQuantityNano(String(quantity ?? "0"));
