import type { k8s } from "../api/index.ts";
import { parseMilli, parseQuantity } from "../base/index.ts";
import {
  formatSelector,
  keyOf,
  labelPredicate,
  type LabelPredicate,
  type LabelSelectorLike,
  type Stored,
} from "../client/index.ts";

export type Pod = Stored<k8s.Pod>;

/** Amounts of resources: CPU in thousandths, memory and ephemeral storage in bytes, the rest in their own units. */
export interface Amounts {
  cpu: number;
  memory: number;
  ephemeral: number;
  others: Readonly<Record<string, number>> | undefined;
}

/** What a container that requests nothing counts as when nodes are scored (upstream's non-zero defaults). */
const DEFAULT_CPU_MILLI = 100;
const DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024;

/** One affinity term, with its selector compiled and an identity by which equal terms of many pods are counted once. */
export interface AffinityTerm {
  readonly id: string;
  readonly topologyKey: string;
  readonly weight: number;
  readonly selectorId: string;
  readonly labelsMatch: LabelPredicate;
  readonly namespaces: ReadonlySet<string>;
  /** undefined: only `namespaces`; an empty selector: every namespace. */
  readonly namespaceSelector: LabelSelectorLike | undefined;
}

export interface HostPort {
  readonly ip: string;
  readonly protocol: string;
  readonly port: number;
}

export interface PodInfo {
  readonly pod: Pod;
  readonly key: string;
  readonly uid: string;
  readonly namespace: string;
  readonly priority: number;
  readonly requests: Amounts;
  readonly nonZeroCpu: number;
  readonly nonZeroMemory: number;
  readonly hostPorts: readonly HostPort[];
  readonly requiredAffinity: readonly AffinityTerm[];
  readonly requiredAntiAffinity: readonly AffinityTerm[];
  readonly preferredAffinity: readonly AffinityTerm[];
  readonly preferredAntiAffinity: readonly AffinityTerm[];
}

const NONE: readonly never[] = Object.freeze([]);

export function podInfo(pod: Pod): PodInfo {
  const spec = pod.spec!;
  const { requests, nonZeroCpu, nonZeroMemory } = requestsOf(spec);
  const affinity = spec.affinity?.podAffinity;
  const anti = spec.affinity?.podAntiAffinity;
  return {
    pod,
    key: keyOf(pod),
    uid: pod.metadata.uid,
    namespace: pod.metadata.namespace!,
    priority: spec.priority ?? 0,
    requests,
    nonZeroCpu,
    nonZeroMemory,
    hostPorts: hostPortsOf(spec),
    requiredAffinity: required(pod, affinity?.requiredDuringSchedulingIgnoredDuringExecution),
    requiredAntiAffinity: required(pod, anti?.requiredDuringSchedulingIgnoredDuringExecution),
    preferredAffinity: preferred(pod, affinity?.preferredDuringSchedulingIgnoredDuringExecution),
    preferredAntiAffinity: preferred(pod, anti?.preferredDuringSchedulingIgnoredDuringExecution),
  };
}

function required(pod: Pod, terms: readonly k8s.PodAffinityTerm[] | undefined): readonly AffinityTerm[] {
  return terms?.map((term) => affinityTerm(pod, term, 0)) ?? NONE;
}
function preferred(pod: Pod, terms: readonly k8s.WeightedPodAffinityTerm[] | undefined): readonly AffinityTerm[] {
  return terms?.map(({ podAffinityTerm, weight }) => affinityTerm(pod, podAffinityTerm, weight)) ?? NONE;
}

function affinityTerm(pod: Pod, term: k8s.PodAffinityTerm, weight: number): AffinityTerm {
  const selector = withLabelKeys(pod, term.labelSelector, term.matchLabelKeys, term.mismatchLabelKeys);
  const own = !term.namespaces?.length && !term.namespaceSelector;
  const namespaces = new Set(own ? [pod.metadata.namespace!] : term.namespaces);
  const selectorId = formatSelector(selector) || (selector ? "*" : "");
  const scope = `${[...namespaces].sort().join(",")}|${formatSelector(term.namespaceSelector)}${term.namespaceSelector ? "+" : ""}`;
  return {
    id: `${term.topologyKey}|${weight}|${scope}|${selectorId}`,
    topologyKey: term.topologyKey,
    weight,
    selectorId,
    labelsMatch: labelPredicate(selector),
    namespaces,
    namespaceSelector: term.namespaceSelector,
  };
}

/** matchLabelKeys and mismatchLabelKeys: the pod's own values of these labels join the selector. */
export function withLabelKeys(
  pod: Pod,
  selector: LabelSelectorLike | undefined,
  matching: readonly string[] = [],
  mismatching: readonly string[] = [],
): LabelSelectorLike | undefined {
  if (!selector || matching.length + mismatching.length === 0) return selector;
  const rule = (operator: string) => (key: string) => {
    const value = pod.metadata.labels?.[key];
    return value === undefined ? [] : [{ key, operator, values: [value] }];
  };
  const extra = [...matching.flatMap(rule("In")), ...mismatching.flatMap(rule("NotIn"))];
  return { ...selector, matchExpressions: [...(selector.matchExpressions ?? []), ...extra] };
}

function hostPortsOf(spec: k8s.PodSpec): readonly HostPort[] {
  let found: HostPort[] | undefined;
  const sidecars = spec.initContainers?.filter(({ restartPolicy }) => restartPolicy === "Always") ?? NONE;
  for (const container of [...spec.containers, ...sidecars]) {
    for (const { hostPort, hostIP, protocol } of container.ports ?? NONE) {
      if (hostPort) (found ??= []).push({ ip: hostIP || "0.0.0.0", protocol: protocol ?? "TCP", port: hostPort });
    }
  }
  return found ?? NONE;
}

/** Parsing quantities is the dearest part of a pod; a cluster has few distinct ones. */
const PARSED_LIMIT = 4_096;
const milliCache = new Map<string, number>();
const unitCache = new Map<string, number>();
function cached(cache: Map<string, number>, parse: (text: string) => number, text: string): number {
  let value = cache.get(text);
  if (value === undefined) {
    if (cache.size >= PARSED_LIMIT) cache.clear();
    cache.set(text, (value = parse(text)));
  }
  return value;
}

export function amountOf(resource: string, quantity: string): number {
  return resource === "cpu" ? cached(milliCache, parseMilli, quantity) : cached(unitCache, parseQuantity, quantity);
}

type List = Record<string, number>;

/**
 * The largest amounts a pod needs at any time: its containers and sidecars together, or an init container with the sidecars started before it,
 * plus overhead; a pod-level request replaces the sum. https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
 */
function requestsOf(spec: k8s.PodSpec): { requests: Amounts; nonZeroCpu: number; nonZeroMemory: number } {
  const exact = podTotal(spec, (container) => container.resources?.requests ?? {});
  const padded = podTotal(spec, (container) => ({
    cpu: `${DEFAULT_CPU_MILLI}m`,
    memory: String(DEFAULT_MEMORY_BYTES),
    ...container.resources?.requests,
  }));
  const { cpu = 0, memory = 0, "ephemeral-storage": ephemeral = 0, ...others } = exact;
  const requests = { cpu, memory, ephemeral, others: Object.keys(others).length > 0 ? others : undefined };
  return { requests, nonZeroCpu: padded["cpu"] ?? 0, nonZeroMemory: padded["memory"] ?? 0 };
}

function podTotal(spec: k8s.PodSpec, of: (container: k8s.Container) => Record<string, string>): List {
  const total: List = {};
  for (const container of spec.containers) add(total, of(container));
  const sidecars: List = {};
  let peak: List | undefined;
  for (const container of spec.initContainers ?? NONE) {
    const own = of(container);
    if (container.restartPolicy === "Always") {
      add(sidecars, own);
      add(total, own);
      peak = most(peak ?? {}, sidecars);
    } else {
      const during = { ...sidecars };
      add(during, own);
      peak = most(peak ?? {}, during);
    }
  }
  const sum = peak ? most(total, peak) : total;
  for (const [name, quantity] of Object.entries(spec.resources?.requests ?? {})) sum[name] = amountOf(name, quantity);
  if (spec.overhead) add(sum, spec.overhead);
  return sum;
}
function add(into: List, amounts: Record<string, string>): void {
  for (const name in amounts) into[name] = (into[name] ?? 0) + amountOf(name, amounts[name]!);
}
function most(left: List, right: List): List {
  const result = { ...left };
  for (const name in right) result[name] = Math.max(result[name] ?? 0, right[name]!);
  return result;
}
