import type { Plugin } from "./framework.ts";
import { interPodAffinity } from "./plugins/inter-pod-affinity.ts";
import { nodeAffinity } from "./plugins/node-affinity.ts";
import { imageLocality, nodeName, nodePorts, nodeUnschedulable, taintToleration } from "./plugins/node-basics.ts";
import { nodeResourcesBalancedAllocation, nodeResourcesFit } from "./plugins/node-resources.ts";
import { podTopologySpread } from "./plugins/pod-topology-spread.ts";
import { nodeVolumeLimits, volumeBinding, volumeRestrictions, volumeZone } from "./plugins/volumes.ts";

/** A scheduler by name: pods choose it with spec.schedulerName. */
export interface Profile {
  readonly schedulerName: string;
  readonly disabled?: readonly string[];
  /** Weights other than the plugins' own. */
  readonly weights?: Readonly<Record<string, number>>;
  /** Of nodes to look at before choosing; undefined: upstream's adaptive share. */
  readonly percentageOfNodesToScore?: number;
}

export const defaultProfile: Profile = { schedulerName: "default-scheduler" };

/** Upstream's default plugins in upstream's order. */
export function pluginsOf(profile: Profile, write: Parameters<typeof volumeBinding>[0]): Plugin[] {
  const all = [
    nodeUnschedulable,
    nodeName,
    taintToleration,
    nodeAffinity,
    nodePorts,
    nodeResourcesFit,
    volumeRestrictions,
    nodeVolumeLimits,
    volumeBinding(write),
    volumeZone,
    podTopologySpread,
    interPodAffinity,
    nodeResourcesBalancedAllocation,
    imageLocality,
  ];
  return all
    .filter(({ name }) => !profile.disabled?.includes(name))
    .map((plugin) => ({ ...plugin, weight: profile.weights?.[plugin.name] ?? plugin.weight }));
}
