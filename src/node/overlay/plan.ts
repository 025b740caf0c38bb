import { IpRange } from "../../base/index.ts";

/** How the local nodes of one instance lie beside each other: which addresses and names each has. Pure. */

/** Bound by the addresses between Pods' ranges and those of load balancers; the machine itself is the first. */
export const MAX_LOCAL_NODES = 32;

/** Where the ranges of a cluster's local nodes begin. */
export interface ClusterRanges {
  /** `10.244`: the third byte is a node's. */
  readonly pod: string;
  /** `fd00:244`, in a cluster with both families: the fourth group is a node's. */
  readonly pod6?: string;
}

/** One node, seen by the others. */
export interface OverlayNode {
  readonly index: number;
  /** One of each family; a Pod's main address is of the first. */
  readonly podCidrs: readonly string[];
  /** Its end of the overlay, of each family of `podCidrs`. Others send through it, and what leaves by the overlay for others' Pods may bear it. */
  readonly ends: readonly string[];
  /** The address of its first Pod range that Pods call their gateway. */
  readonly gateways: readonly string[];
  /** On the network that joins the nodes' namespaces, which lies beside the ranges of Ingresses and load balancers. */
  readonly underlay: string;
  /** The same of IPv6, in a cluster with both families. */
  readonly underlay6?: string;
  /** Of its end of the overlay. */
  readonly mac: string;
}

/** The ranges of all Pods, wherever they are, and of the nodes: what goes there keeps its sender's address. */
export function clusterCidrs(ranges: ClusterRanges): string[] {
  return [`${ranges.pod}.0.0/16`, ...(ranges.pod6 ? [`${ranges.pod6}::/48`] : [])];
}

/** Where Pods' addresses are, and nothing else. */
export function podRanges({ pod, pod6 }: ClusterRanges): string[] {
  return [`${pod}.0.0/19`, ...(pod6 ? [`${pod6}::/59`] : [])];
}

export function overlayNode(ranges: ClusterRanges, index: number): OverlayNode {
  const third = index - 1;
  const group = third.toString(16);
  const hex = index.toString(16).padStart(2, "0");
  const { pod, pod6 } = ranges;
  return {
    index,
    podCidrs: [`${pod}.${third}.0/24`, ...(pod6 ? [new IpRange(`${pod6}:0:${group}::/64`).cidr] : [])],
    // The range's own address, which no Pod can get.
    ends: [`${pod}.${third}.0`, ...(pod6 ? [`${pod6}:ffff::${hex}`] : [])],
    gateways: [`${pod}.${third}.1`, ...(pod6 ? [new IpRange(`${pod6}:0:${group}::/64`).at(1)] : [])],
    underlay: `${pod}.253.${index}`,
    ...(pod6 && { underlay6: new IpRange(`${pod6}:0:fffd::/64`).at(index) }),
    mac: `02:62:76:00:00:${hex}`,
  };
}
