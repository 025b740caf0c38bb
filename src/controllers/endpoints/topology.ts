import type { k8s } from "../../api/index.ts";
import { parseMilli } from "../../base/index.ts";
import type { Stored } from "../../client/index.ts";

/**
 * Topology-aware hints (`service.kubernetes.io/topology-mode: Auto`): each zone gets endpoints by its share of the nodes' processors, its own ones first.
 * https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/
 */

const ANNOTATIONS = ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"];
const ZONE = "topology.kubernetes.io/zone";
const CONTROL_PLANE = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/** A zone's endpoints may have a fifth more to do than their share. */
const OVERLOAD = 0.2;

type Node = Stored<k8s.Node>;

export function wantsTopologyHints({ metadata }: k8s.Service): boolean {
  return ANNOTATIONS.some((name) => /^auto$/i.test(metadata?.annotations?.[name] ?? ""));
}

/** What of a node counts here: hints are to be looked at again when it changes. */
export function topologyOf({ metadata, status }: Node): { ready: boolean; zone?: string; cpu?: string } {
  const ready = status?.conditions?.some((one) => one.type === "Ready" && one.status === "True") === true;
  const isWorker = CONTROL_PLANE.every((label) => metadata.labels?.[label] === undefined);
  return { ready: ready && isWorker, zone: metadata.labels?.[ZONE], cpu: status?.allocatable?.["cpu"] };
}

/** Each zone's share of the processors; undefined where hints make no sense: a single zone, or nodes of which too little is known. */
function sharesOf(nodes: readonly Node[]): ReadonlyMap<string, number> | undefined {
  const cpus = new Map<string, number>();
  for (const { ready, zone, cpu } of nodes.map(topologyOf)) {
    if (!ready) continue;
    if (!zone || !cpu) return undefined;
    cpus.set(zone, (cpus.get(zone) ?? 0) + parseMilli(cpu));
  }
  const total = [...cpus.values()].reduce((sum, cpu) => sum + cpu, 0);
  return cpus.size < 2 || total === 0 ? undefined : new Map([...cpus].map(([zone, cpu]) => [zone, cpu / total]));
}

/** The endpoints with hints for zones; as they are where the safeguards say no: too few of them, or one whose zone is not known. */
export function withTopologyHints(endpoints: readonly k8s.Endpoint[], nodes: readonly Node[]): k8s.Endpoint[] {
  const shares = sharesOf(nodes);
  const ready = endpoints.filter(({ conditions }) => conditions?.ready !== false);
  const counts = new Map<string, number>();
  for (const { zone } of ready) if (zone) counts.set(zone, (counts.get(zone) ?? 0) + 1);
  if (!shares || ready.length < shares.size || ready.some(({ zone }) => !zone || !shares.has(zone)))
    return [...endpoints];
  const moves = movesBetween(counts, shares, ready.length);
  if (!moves) return [...endpoints];
  return endpoints.map((endpoint) => {
    if (endpoint.conditions?.ready === false) return endpoint;
    const zone = moves.get(endpoint.zone!)?.pop() ?? endpoint.zone!;
    return { ...endpoint, hints: { forZones: [{ name: zone }] } };
  });
}

/** To which zones each zone gives endpoints, so that none has less than it needs; undefined when there are too few for all. */
function movesBetween(
  counts: ReadonlyMap<string, number>,
  shares: ReadonlyMap<string, number>,
  total: number,
): Map<string, string[]> | undefined {
  const zones = [...shares].map(([name, share]) => ({
    name,
    count: counts.get(name) ?? 0,
    desired: share * total,
    // A rounding error must not ask for one endpoint more.
    least: Math.ceil((share * total) / (1 + OVERLOAD) - 1e-9),
  }));
  if (zones.reduce((sum, { least }) => sum + least, 0) > total) return undefined;
  const moves = new Map<string, string[]>(zones.map(({ name }) => [name, []]));
  for (const needy of zones) {
    while (needy.count < needy.least) {
      const giver = zones
        .filter((zone) => zone.count > zone.least)
        .reduce((most, zone) => (zone.count - zone.desired > most.count - most.desired ? zone : most));
      giver.count--;
      needy.count++;
      moves.get(giver.name)!.push(needy.name);
    }
  }
  return moves;
}
