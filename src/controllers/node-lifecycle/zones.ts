import type { k8s } from "../../api/index.ts";

type Node = k8s.Node;

/** Upstream's defaults: node-eviction-rate, secondary-node-eviction-rate, large-cluster-size-threshold, unhealthy-zone-threshold. */
const RATE_PER_S = 0.1;
const SECONDARY_RATE_PER_S = 0.01;
const LARGE_ZONE = 50;
const UNHEALTHY_FRACTION = 0.55;

export function zoneOf({ metadata }: Node): string {
  const labels = metadata?.labels;
  return `${labels?.["topology.kubernetes.io/region"] ?? ""}:${labels?.["topology.kubernetes.io/zone"] ?? ""}`;
}

/**
 * How many nodes of this one's zone may begin to lose their Pods a second. `never`: no zone has a node that is well,
 * so it is more likely that we are cut off than that everything died.
 * https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction
 */
export function evictionRate<N extends Node>(
  node: N,
  nodes: Iterable<N>,
  isWell: (node: N) => boolean,
): number | "never" {
  const zone = zoneOf(node);
  let anybodyWell = false;
  let size = 0;
  let ill = 0;
  for (const each of nodes) {
    const well = isWell(each);
    anybodyWell ||= well;
    if (zoneOf(each) !== zone) continue;
    size++;
    if (!well) ill++;
  }
  if (!anybodyWell) return "never";
  const partlyDisrupted = ill < size && ill > 2 && ill / size >= UNHEALTHY_FRACTION;
  if (!partlyDisrupted) return RATE_PER_S;
  return size > LARGE_ZONE ? SECONDARY_RATE_PER_S : 0;
}

/** One node at a time in each zone, and no sooner than its rate allows. */
export class EvictionPace {
  readonly #lastMs = new Map<string, number>();

  /** Whether one more may go now; takes its turn if so. */
  take(zone: string, ratePerS: number, nowMs: number): boolean {
    if (ratePerS === 0) return false;
    const last = this.#lastMs.get(zone);
    if (last !== undefined && nowMs - last < 1000 / ratePerS) return false;
    this.#lastMs.set(zone, nowMs);
    return true;
  }
}
