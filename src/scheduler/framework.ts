import type { Cluster } from "./cluster.ts";
import type { NodeInfo } from "./node-info.ts";
import type { Pod, PodInfo } from "./pod-info.ts";

/** Why a pod does not fit somewhere. `resolvable`: removing pods from the node could help, so preemption may try. */
export interface Refusal {
  readonly plugin: string;
  readonly reasons: readonly string[];
  readonly resolvable: boolean;
}

/** One plugin's filter for one pod in one cycle. */
export interface FilterRun {
  filter(node: NodeInfo): Refusal | undefined;
  /** As if `other` were (not) on `node`: preemption and nominated pods. For what `filter` doesn't read from the NodeInfo itself. */
  addPod?(other: PodInfo, node: NodeInfo): void;
  removePod?(other: PodInfo, node: NodeInfo): void;
}

/** One plugin's scores for one pod in one cycle. Higher is better; after `normalize` 0 to 100. */
export interface ScoreRun {
  score(node: NodeInfo): number;
  normalize?(scores: Float64Array): void;
}

export interface PreFilterRefusal {
  readonly refusal: Refusal;
}
/** Only these nodes can be meant, whatever the other filters say. */
export interface PreFilterNodes {
  readonly nodes: ReadonlySet<string>;
  readonly run?: FilterRun;
}

/** Something that happened and may make pods schedulable. */
export interface ClusterEvent {
  readonly kind:
    | "node"
    | "assignedPod"
    | "pod"
    | "claim"
    | "volume"
    | "storageClass"
    | "csiNode"
    | "storageCapacity"
    | "service"
    | "namespace"
    /** Claims, classes and slices of dynamic resource allocation. */
    | "device";
  readonly action: "add" | "update" | "delete";
  readonly object?: unknown;
  readonly old?: unknown;
}

export interface Plugin {
  readonly name: string;
  /** Undefined: the plugin has no say for this pod. */
  preFilter?(info: PodInfo, cluster: Cluster): FilterRun | PreFilterRefusal | PreFilterNodes | undefined;
  preScore?(info: PodInfo, cluster: Cluster, nodes: readonly NodeInfo[]): ScoreRun | undefined;
  readonly weight?: number;
  /** Whether the event may make a pod fit that this plugin refused. */
  mayHelp?(pod: Pod, event: ClusterEvent): boolean;
  /** What a plugin needs before it is asked about a pod the first time. */
  ready?(info: PodInfo): Promise<void>;
  /** Whether the pod is not to be looked at yet: nothing is said of it until something happens (upstream's PreEnqueue). */
  isHeldBack?(info: PodInfo, cluster: Cluster): boolean;
  /** No node would do: whether the plugin can change that. */
  postFilter?(info: PodInfo, signal: AbortSignal): Promise<void>;
  /** A node is chosen: holds what the pod will have there, until it is bound or `unreserve` is called. */
  reserve?(info: PodInfo, node: NodeInfo, cluster: Cluster): void;
  unreserve?(info: PodInfo): void;
  /** After a node is chosen, before binding: bring volumes along. Throwing unbinds. */
  preBind?(info: PodInfo, node: NodeInfo, cluster: Cluster, signal: AbortSignal): Promise<void>;
}

export const MAX_SCORE = 100;

export function refuse(plugin: string, resolvable: boolean, ...reasons: string[]): Refusal {
  return { plugin, reasons, resolvable };
}

/** Scales so that the best has 100 (or, reversed, the lowest). Upstream: helper.DefaultNormalizeScore. */
export function normalizeToMax(scores: Float64Array, reverse = false): void {
  let highest = 0;
  for (const score of scores) if (score > highest) highest = score;
  for (let index = 0; index < scores.length; index++) {
    const scaled = highest === 0 ? 0 : Math.floor((scores[index]! * MAX_SCORE) / highest);
    scores[index] = reverse ? MAX_SCORE - scaled : scaled;
  }
}
