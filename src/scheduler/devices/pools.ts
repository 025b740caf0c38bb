import type { k8s } from "../../api/index.ts";
import type { NodeInfo } from "../node-info.ts";
import { matchesTerm } from "../plugins/node-affinity.ts";

/** A device of a pool, where a node may use it. */
export interface Candidate {
  /** `driver/pool/device`: what an allocation names it by. */
  readonly id: string;
  readonly driver: string;
  readonly pool: string;
  readonly device: k8s.Device;
  readonly slice: k8s.ResourceSlice;
}

/** What a driver offers under one name, in its newest generation. */
export interface Pool {
  readonly name: string;
  readonly devices: readonly Candidate[];
  /** Not all of its slices are there (yet). */
  readonly isIncomplete: boolean;
  /** Why nothing may be taken from it. */
  readonly invalid?: string;
}

export const deviceId = (driver: string, pool: string, device: string): string => `${driver}/${pool}/${device}`;

/** Whether a slice or allocation that names nodes in one of these ways means this one. */
export function meansNode(
  { nodeName, nodeSelector, allNodes }: Pick<k8s.ResourceSliceSpec, "nodeName" | "nodeSelector" | "allNodes">,
  node: NodeInfo,
): boolean {
  if (nodeName) return nodeName === node.name;
  if (allNodes) return true;
  return nodeSelector?.nodeSelectorTerms.some((term) => matchesTerm(term, node.labels, node.name)) ?? false;
}

/** The pools that a node may use devices of. */
export function gatherPools(slices: readonly k8s.ResourceSlice[], node: NodeInfo): Pool[] {
  const reachable = slices.filter(({ spec }) => !spec.perDeviceNodeSelection && meansNode(spec, node));
  const byPool = Map.groupBy(reachable, ({ spec }) => `${spec.driver}/${spec.pool.name}`);
  return [...byPool].map(([name, all]) => {
    const generation = Math.max(...all.map(({ spec }) => spec.pool.generation));
    const newest = all.filter(({ spec }) => spec.pool.generation === generation);
    const devices = newest.flatMap((slice) => candidatesOf(slice));
    const names = devices.map(({ device }) => device.name);
    const twice = names.find((device, at) => names.indexOf(device) < at);
    return {
      name,
      devices,
      isIncomplete: newest.length !== newest[0]!.spec.pool.resourceSliceCount,
      ...(twice === undefined ? {} : { invalid: `duplicate device name ${twice}` }),
    };
  });
}

function candidatesOf(slice: k8s.ResourceSlice): Candidate[] {
  const { driver, pool, devices = [] } = slice.spec;
  return devices
    .filter(({ consumesCounters }) => !consumesCounters?.length) // Partitionable devices are upstream's alpha.
    .map((device) => ({ id: deviceId(driver, pool.name, device.name), driver, pool: pool.name, device, slice }));
}
