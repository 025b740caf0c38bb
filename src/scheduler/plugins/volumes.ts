import type { k8s } from "../../api/index.ts";
import type { Cluster } from "../cluster.ts";
import { refuse, type Plugin } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";

const RESTRICTIONS = "VolumeRestrictions";
const LIMITS = "NodeVolumeLimits";
const ZONE = "VolumeZone";
const ACCESS_CONFLICT = refuse(
  RESTRICTIONS,
  true,
  "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
);
const TOO_MANY = refuse(LIMITS, true, "node(s) exceed max volume count");
const ZONE_CONFLICT = refuse(ZONE, false, "node(s) had no available volume zone");
const ZONE_LABELS = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/** The claims a pod mounts, its generic ephemeral volumes' included. */
export function claimNames(pod: k8s.Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap((volume) => {
    if (volume.persistentVolumeClaim) return [volume.persistentVolumeClaim.claimName];
    return volume.ephemeral ? [`${pod.metadata.name}-${volume.name}`] : [];
  });
}

export const volumeEvents: Plugin["mayHelp"] = (_pod, event) =>
  ["claim", "volume", "storageClass", "csiNode", "storageCapacity"].includes(event.kind) ||
  (event.kind === "node" && event.action !== "delete");

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
