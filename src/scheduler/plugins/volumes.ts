import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import type { Cluster } from "../cluster.ts";
import { refuse, type Plugin, type PreFilterRefusal } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";
import { matchesTerm } from "./node-affinity.ts";

type Claim = Stored<k8s.PersistentVolumeClaim>;

const BINDING = "VolumeBinding";
const RESTRICTIONS = "VolumeRestrictions";
const LIMITS = "NodeVolumeLimits";
const ZONE = "VolumeZone";
const AFFINITY_CONFLICT = refuse(BINDING, false, "node(s) didn't match PersistentVolume's node affinity");
const NO_VOLUME = refuse(BINDING, false, "node(s) didn't find available persistent volumes to bind");
const BAD_TOPOLOGY = refuse(BINDING, false, "node(s) didn't match the topology of the storage class");
const ACCESS_CONFLICT = refuse(
  RESTRICTIONS,
  true,
  "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
);
const TOO_MANY = refuse(LIMITS, true, "node(s) exceed max volume count");
const ZONE_CONFLICT = refuse(ZONE, false, "node(s) had no available volume zone");
const ZONE_LABELS = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/** The claims a pod mounts, its generic ephemeral volumes' included. */
function claimNames(pod: k8s.Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap((volume) => {
    if (volume.persistentVolumeClaim) return [volume.persistentVolumeClaim.claimName];
    return volume.ephemeral ? [`${pod.metadata.name}-${volume.name}`] : [];
  });
}

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

function canBind(claim: Claim, node: NodeInfo, cluster: Cluster): "yes" | "noVolume" | "badTopology" {
  const storageClass = classOf(claim, cluster);
  if (storageClass && storageClass.provisioner !== "kubernetes.io/no-provisioner") {
    const topologies = storageClass.allowedTopologies ?? [];
    const allowed = topologies.some(({ matchLabelExpressions = [] }) =>
      matchLabelExpressions.every(({ key, values }) => values.includes(node.labels[key] ?? "")),
    );
    return topologies.length === 0 || allowed ? "yes" : "badTopology";
  }
  const found = cluster.listers.volumes
    .list()
    .some(
      (volume) =>
        volume.spec?.storageClassName === claim.spec?.storageClassName &&
        (!volume.spec?.claimRef || volume.spec.claimRef.uid === claim.metadata.uid) &&
        (claim.spec?.accessModes ?? []).every((mode) => volume.spec?.accessModes?.includes(mode)) &&
        volumeFitsNode(volume, node),
    );
  return found ? "yes" : "noVolume";
}

const volumeEvents: Plugin["mayHelp"] = (_pod, event) =>
  ["claim", "volume", "storageClass", "csiNode"].includes(event.kind) ||
  (event.kind === "node" && event.action !== "delete");

const SELECTED_NODE = "volume.kubernetes.io/selected-node";

export const volumeBinding = (write: (claim: Claim, node: string, signal: AbortSignal) => Promise<void>): Plugin => ({
  name: BINDING,
  preFilter(info, cluster) {
    if (!info.pod.spec!.volumes?.length || claimNames(info.pod).length === 0) return undefined;
    const claims = claimsOf(info, cluster);
    if ("refusal" in claims) return claims;
    return {
      filter(node) {
        if (!claims.bound.every((volume) => volumeFitsNode(volume, node))) return AFFINITY_CONFLICT;
        for (const claim of claims.waiting) {
          const answer = canBind(claim, node, cluster);
          if (answer !== "yes") return answer === "noVolume" ? NO_VOLUME : BAD_TOPOLOGY;
        }
        return undefined;
      },
    };
  },
  mayHelp: volumeEvents,
  /** Tells the binder which node was chosen; the pod is bound when every claim is. */
  async preBind(info, node, cluster, signal) {
    if (!info.pod.spec!.volumes?.length) return;
    const claims = claimsOf(info, cluster);
    if ("refusal" in claims) return;
    for (const claim of claims.waiting) {
      if (claim.metadata.annotations?.[SELECTED_NODE] !== node.name) await write(claim, node.name, signal);
    }
  },
});

export const volumeRestrictions: Plugin = {
  name: RESTRICTIONS,
  preFilter(info, cluster) {
    if (!info.pod.spec!.volumes?.length) return undefined;
    const exclusive = claimNames(info.pod).filter((name) =>
      cluster.listers.claims.get(`${info.namespace}/${name}`)?.spec?.accessModes?.includes("ReadWriteOncePod"),
    );
    if (exclusive.length === 0) return undefined;
    const usedHere = (node: NodeInfo) =>
      [...node.pods.values()].some(
        (other) => other.namespace === info.namespace && claimNames(other.pod).some((name) => exclusive.includes(name)),
      );
    // The claim may be in use anywhere: then no node will do until that pod is gone.
    const usedSomewhere = cluster.nodes.some(usedHere);
    return usedSomewhere ? { filter: () => ACCESS_CONFLICT } : undefined;
  },
  mayHelp: (_pod, event) => event.kind === "assignedPod" && event.action === "delete",
};

export const nodeVolumeLimits: Plugin = {
  name: LIMITS,
  preFilter(info, cluster) {
    if (!info.pod.spec!.volumes?.length) return undefined;
    const wanted = csiVolumes(info, cluster);
    if (wanted.size === 0) return undefined;
    return {
      filter(node) {
        const drivers = cluster.listers.csiNodes.get(node.name)?.spec?.drivers ?? [];
        for (const { name: driver, allocatable } of drivers) {
          if (allocatable?.count === undefined) continue;
          const used = new Set<string>();
          for (const other of node.pods.values()) addOfDriver(used, csiVolumes(other, cluster), driver);
          const before = used.size;
          addOfDriver(used, wanted, driver);
          if (used.size > before && used.size > allocatable.count) return TOO_MANY;
        }
        return undefined;
      },
    };
  },
  mayHelp: (_pod, event) => event.kind === "csiNode" || (event.kind === "assignedPod" && event.action === "delete"),
};

function csiVolumes(info: PodInfo, cluster: Cluster): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  if (!info.pod.spec!.volumes?.length) return found;
  for (const name of claimNames(info.pod)) {
    const claim = cluster.listers.claims.get(`${info.namespace}/${name}`);
    const volume = claim?.spec?.volumeName ? cluster.listers.volumes.get(claim.spec.volumeName) : undefined;
    if (volume?.spec?.csi) found.set(volume.spec.csi.volumeHandle, volume.spec.csi.driver);
  }
  return found;
}

function addOfDriver(into: Set<string>, volumes: ReadonlyMap<string, string>, driver: string): void {
  for (const [handle, of] of volumes) if (of === driver) into.add(handle);
}

export const volumeZone: Plugin = {
  name: ZONE,
  preFilter(info, cluster) {
    if (!info.pod.spec!.volumes?.length) return undefined;
    const wanted = claimNames(info.pod).flatMap((name) => {
      const volumeName = cluster.listers.claims.get(`${info.namespace}/${name}`)?.spec?.volumeName;
      const labels = volumeName ? cluster.listers.volumes.get(volumeName)?.metadata.labels : undefined;
      return ZONE_LABELS.flatMap((key) => (labels?.[key] ? [[key, labels[key].split("__")] as const] : []));
    });
    if (wanted.length === 0) return undefined;
    return {
      filter: (node) =>
        wanted.every(([key, values]) => values.includes(node.labels[key] ?? "")) ? undefined : ZONE_CONFLICT,
    };
  },
  mayHelp: volumeEvents,
};
