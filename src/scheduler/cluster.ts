import type { k8s } from "../api/index.ts";
import { labelPredicate, type LabelPredicate, type Lister, type Stored } from "../client/index.ts";
import { NodeInfo, type Node } from "./node-info.ts";
import { podInfo, type AffinityTerm, type Pod, type PodInfo } from "./pod-info.ts";

/** Distinct selectors counted at a time; the least recently used is dropped and counted anew when asked for again. */
const MAX_COUNTERS = 512;

/** How many pods of some namespaces match a selector, per node and per domain; kept as pods come and go. */
export class PodCounter {
  readonly namespaces: ReadonlySet<string> | undefined;
  readonly matches: LabelPredicate;
  readonly perNode = new Map<string, number>();
  readonly #perDomain = new Map<string, { version: number; counts: Map<string, number> }>();
  total = 0;

  constructor(namespaces: ReadonlySet<string> | undefined, matches: LabelPredicate) {
    this.namespaces = namespaces;
    this.matches = matches;
  }
  counts(info: PodInfo): boolean {
    if (this.namespaces && !this.namespaces.has(info.namespace)) return false;
    return info.pod.metadata.deletionTimestamp === undefined && this.matches(info.pod.metadata.labels);
  }
  add(info: PodInfo, node: NodeInfo, sign: 1 | -1): void {
    if (!this.counts(info)) return;
    this.perNode.set(node.name, (this.perNode.get(node.name) ?? 0) + sign);
    this.total += sign;
    if (!node.node) return;
    for (const [topologyKey, { counts }] of this.#perDomain) {
      const value = node.labels[topologyKey];
      if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + sign);
    }
  }

  /** Pods per value of a node label, of all nodes that bear it. Built anew when nodes have changed; not to be changed. */
  perDomain(topologyKey: string, cluster: Cluster): ReadonlyMap<string, number> {
    const version = cluster.topologyVersion;
    const known = this.#perDomain.get(topologyKey);
    if (known?.version === version) return known.counts;
    const counts = new Map<string, number>();
    for (const { name, labels } of cluster.nodes) {
      const value = labels[topologyKey];
      if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + (this.perNode.get(name) ?? 0));
    }
    this.#perDomain.set(topologyKey, { version, counts });
    return counts;
  }
}

/** Equal terms of all placed pods, counted per node. */
export interface TermGroup {
  readonly term: AffinityTerm;
  readonly perNode: Map<string, number>;
}
export type TermKind = "requiredAffinity" | "requiredAntiAffinity" | "preferredAffinity" | "preferredAntiAffinity";
const TERM_KINDS: readonly TermKind[] = [
  "requiredAffinity",
  "requiredAntiAffinity",
  "preferredAffinity",
  "preferredAntiAffinity",
];

/** Objects that plugins read besides nodes and pods. */
export interface Listers {
  readonly namespaces: Lister<k8s.Namespace>;
  readonly services: Lister<k8s.Service>;
  readonly replicaSets: Lister<k8s.ReplicaSet>;
  readonly statefulSets: Lister<k8s.StatefulSet>;
  readonly replicationControllers: Lister<k8s.ReplicationController>;
  readonly claims: Lister<k8s.PersistentVolumeClaim>;
  readonly volumes: Lister<k8s.PersistentVolume>;
  readonly storageClasses: Lister<k8s.StorageClass>;
  readonly budgets: Lister<k8s.PodDisruptionBudget>;
  readonly csiNodes: Lister<k8s.CSINode>;
  readonly csiDrivers: Lister<k8s.CSIDriver>;
  readonly storageCapacities: Lister<k8s.CSIStorageCapacity>;
  readonly deviceClasses: Lister<k8s.DeviceClass>;
  readonly resourceClaims: Lister<k8s.ResourceClaim>;
  readonly resourceSlices: Lister<k8s.ResourceSlice>;
}

/** The scheduler's picture of the cluster: nodes, and the pods that are on them or soon will be. */
export class Cluster {
  readonly listers: Listers;
  readonly #nodes = new Map<string, NodeInfo>();
  /** Where each placed or assumed pod is, by uid. */
  readonly #placed = new Map<string, { info: PodInfo; node: string; assumed: boolean }>();
  readonly #counters = new Map<string, PodCounter>();
  readonly #groups: Readonly<Record<TermKind, Map<string, TermGroup>>> = {
    requiredAffinity: new Map(),
    requiredAntiAffinity: new Map(),
    preferredAffinity: new Map(),
    preferredAntiAffinity: new Map(),
  };
  readonly #nominated = new Map<string, Map<string, PodInfo>>();
  readonly imageNodes = new Map<string, number>();
  #schedulable: NodeInfo[] | undefined;
  #topologyVersion = 0;

  constructor(listers: Listers) {
    this.listers = listers;
  }

  /** Every node that exists, interleaved by zone as upstream's node tree does, so that a prefix of it is spread. */
  get nodes(): readonly NodeInfo[] {
    return (this.#schedulable ??= interleaveZones([...this.#nodes.values()].filter((info) => info.node !== undefined)));
  }
  /** Changes when a node comes, goes, or gets other labels. */
  get topologyVersion(): number {
    return this.#topologyVersion;
  }
  node(name: string): NodeInfo | undefined {
    return this.#nodes.get(name);
  }
  placement(uid: string): { node: string; assumed: boolean } | undefined {
    return this.#placed.get(uid);
  }

  setNode(node: Node): void {
    const info = this.#info(node.metadata.name);
    const zone = zoneOf(info);
    const isNew = info.node === undefined;
    const before = info.labels;
    this.#countImages(info, -1);
    info.setNode(node);
    this.#countImages(info, 1);
    if (isNew || !sameLabels(before, info.labels)) this.#topologyVersion++;
    if (isNew || zone !== zoneOf(info)) this.#schedulable = undefined;
  }
  removeNode(name: string): void {
    const info = this.#nodes.get(name);
    if (!info) return;
    this.#countImages(info, -1);
    info.node = undefined;
    this.#schedulable = undefined;
    this.#topologyVersion++;
    this.#dropIfEmpty(info);
  }

  /** The API says the pod is on its node. Confirms an assumption. */
  addPod(pod: Pod): void {
    const known = this.#placed.get(pod.metadata.uid);
    if (known && known.node === pod.spec!.nodeName && known.assumed) {
      // Same pod, now for certain; its parsed form still holds, for a binding changes nothing that counts.
      known.assumed = false;
      this.#replacePod(known, pod);
      return;
    }
    if (known) this.#remove(known);
    this.#place(podInfo(pod), pod.spec!.nodeName!, false);
  }
  updatePod(pod: Pod): void {
    const known = this.#placed.get(pod.metadata.uid);
    if (!known || known.node !== pod.spec!.nodeName) return this.addPod(pod);
    known.assumed = false;
    const before = known.info.pod;
    if (sameForScheduling(before, pod)) this.#replacePod(known, pod);
    else {
      this.#remove(known);
      this.#place(podInfo(pod), known.node, false);
    }
  }
  removePod(uid: string): void {
    const known = this.#placed.get(uid);
    if (known) this.#remove(known);
  }
  assume(info: PodInfo, node: string): void {
    this.#place(info, node, true);
  }
  /** Undoes `assume`, unless the API has confirmed the placement meanwhile. */
  forget(uid: string): void {
    const known = this.#placed.get(uid);
    if (known?.assumed) this.#remove(known);
  }

  nominate(info: PodInfo, node: string): void {
    this.unnominate(info.uid);
    const there = this.#nominated.get(node);
    if (there) there.set(info.uid, info);
    else this.#nominated.set(node, new Map([[info.uid, info]]));
  }
  unnominate(uid: string): void {
    for (const [node, there] of this.#nominated) {
      if (there.delete(uid) && there.size === 0) this.#nominated.delete(node);
    }
  }
  get hasNominations(): boolean {
    return this.#nominated.size > 0;
  }
  nominatedTo(node: string): Iterable<PodInfo> {
    return this.#nominated.get(node)?.values() ?? [];
  }

  /** Counts of the pods that `selectorId` stands for; made on first use by looking at every pod once. `namespaces` undefined: all. */
  counter(namespaces: ReadonlySet<string> | undefined, selectorId: string, matches: LabelPredicate): PodCounter {
    const id = `${namespaces ? [...namespaces].sort().join(",") : "*"}|${selectorId}`;
    let counter = this.#counters.get(id);
    if (counter) {
      this.#counters.delete(id);
      this.#counters.set(id, counter);
      return counter;
    }
    counter = new PodCounter(namespaces, matches);
    for (const { info, node } of this.#placed.values()) counter.add(info, this.#info(node), 1);
    this.#counters.set(id, counter);
    if (this.#counters.size > MAX_COUNTERS) this.#counters.delete(this.#counters.keys().next().value!);
    return counter;
  }

  termGroups(kind: TermKind): ReadonlyMap<string, TermGroup> {
    return this.#groups[kind];
  }

  /** Whether a term speaks about a pod. */
  termMatches(term: AffinityTerm, namespace: string, labels: Readonly<Record<string, string>> | undefined): boolean {
    return this.termCovers(term, namespace) && term.labelsMatch(labels);
  }
  termCovers(term: AffinityTerm, namespace: string): boolean {
    if (term.namespaces.has(namespace)) return true;
    if (!term.namespaceSelector) return false;
    return labelPredicate(term.namespaceSelector)(this.listers.namespaces.get(namespace)?.metadata.labels);
  }

  #place(info: PodInfo, node: string, assumed: boolean): void {
    this.#placed.set(info.uid, { info, node, assumed });
    this.#info(node).addPod(info);
    this.#count(info, node, 1);
  }
  #remove({ info, node }: { info: PodInfo; node: string }): void {
    this.#placed.delete(info.uid);
    const there = this.#info(node);
    there.removePod(info);
    this.#count(info, node, -1);
    this.#dropIfEmpty(there);
  }
  #count(info: PodInfo, node: string, sign: 1 | -1): void {
    const there = this.#info(node);
    for (const counter of this.#counters.values()) counter.add(info, there, sign);
    for (const kind of TERM_KINDS) {
      for (const term of info[kind]) this.#countTerm(this.#groups[kind], term, node, sign);
    }
  }
  #countTerm(groups: Map<string, TermGroup>, term: AffinityTerm, node: string, sign: 1 | -1): void {
    let group = groups.get(term.id);
    if (!group) groups.set(term.id, (group = { term, perNode: new Map() }));
    const count = (group.perNode.get(node) ?? 0) + sign;
    if (count > 0) group.perNode.set(node, count);
    else group.perNode.delete(node);
    if (group.perNode.size === 0) groups.delete(term.id);
  }

  /** Puts a newer copy of the object in place without counting anything anew. */
  #replacePod(known: { info: PodInfo; node: string }, pod: Pod): void {
    const info = { ...known.info, pod };
    known.info = info;
    this.#info(known.node).pods.set(info.uid, info);
  }
  #info(name: string): NodeInfo {
    let info = this.#nodes.get(name);
    if (!info) this.#nodes.set(name, (info = new NodeInfo(name)));
    return info;
  }
  #dropIfEmpty(info: NodeInfo): void {
    if (!info.node && info.pods.size === 0) this.#nodes.delete(info.name);
  }
  #countImages(info: NodeInfo, sign: 1 | -1): void {
    for (const name of info.images.keys()) this.imageNodes.set(name, (this.imageNodes.get(name) ?? 0) + sign);
  }
}

/** The spec's requests can change in place (resize), labels can change, and a pod that is going no longer counts for spreading. */
function sameForScheduling(before: Pod, now: Pod): boolean {
  return (
    !before.metadata.deletionTimestamp === !now.metadata.deletionTimestamp &&
    (before.spec === now.spec || before.metadata.generation === now.metadata.generation) &&
    sameLabels(before.metadata.labels ?? {}, now.metadata.labels ?? {})
  );
}

function sameLabels(before: Readonly<Record<string, string>>, now: Readonly<Record<string, string>>): boolean {
  if (before === now) return true;
  for (const key in before) if (before[key] !== now[key]) return false;
  for (const key in now) if (before[key] === undefined) return false;
  return true;
}

function zoneOf(info: NodeInfo): string {
  return `${info.labels["topology.kubernetes.io/region"] ?? ""}:${info.labels["topology.kubernetes.io/zone"] ?? ""}`;
}

function interleaveZones(nodes: readonly NodeInfo[]): NodeInfo[] {
  const zones = [...Map.groupBy(nodes, zoneOf).values()];
  const result: NodeInfo[] = [];
  for (let row = 0; result.length < nodes.length; row++) {
    for (const zone of zones) if (row < zone.length) result.push(zone[row]!);
  }
  return result;
}

export type { Stored };
