import type { KubeClient } from "../client/index.ts";
import type { Plugin } from "./framework.ts";
import { DynamicResources } from "./plugins/dynamic-resources.ts";
import { interPodAffinity } from "./plugins/inter-pod-affinity.ts";
import { nodeAffinity } from "./plugins/node-affinity.ts";
import { imageLocality, nodeName, nodePorts, nodeUnschedulable, taintToleration } from "./plugins/node-basics.ts";
import { nodeResourcesBalancedAllocation, nodeResourcesFit } from "./plugins/node-resources.ts";
import { podTopologySpread } from "./plugins/pod-topology-spread.ts";
import { VolumeBinding } from "./plugins/volume-binding.ts";
import { nodeVolumeLimits, volumeRestrictions, volumeZone } from "./plugins/volumes.ts";

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

/** Plugins that keep something, which pods of all profiles have in common. */
export interface SharedPlugins {
  readonly volumeBinding: Plugin;
  readonly dynamicResources: Plugin;
}

export const sharedPlugins = (
  client: KubeClient,
  write: ConstructorParameters<typeof VolumeBinding>[0],
): SharedPlugins => ({
  volumeBinding: new VolumeBinding(write),
  dynamicResources: new DynamicResources(client),
});

/** The same plugin, whatever it keeps, with another weight. */
function weighted(plugin: Plugin, weight: number | undefined): Plugin {
  return weight === undefined ? plugin : Object.assign(Object.create(plugin) as Plugin, { weight });
}

/** Upstream's default plugins in upstream's order. */
export function pluginsOf(profile: Profile, shared: SharedPlugins): Plugin[] {
  const all = [
    nodeUnschedulable,
    nodeName,
    taintToleration,
    nodeAffinity,
    nodePorts,
    nodeResourcesFit,
    volumeRestrictions,
    nodeVolumeLimits,
    shared.volumeBinding,
    volumeZone,
    podTopologySpread,
    interPodAffinity,
    shared.dynamicResources,
    nodeResourcesBalancedAllocation,
    imageLocality,
  ];
  return all
    .filter(({ name }) => !profile.disabled?.includes(name))
    .map((plugin) => weighted(plugin, profile.weights?.[plugin.name]));
}
