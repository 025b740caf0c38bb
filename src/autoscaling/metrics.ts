import type { k8s } from "../api/index.ts";

/** What a pod uses now. */
export interface PodUsage {
  readonly pod: string;
  /** Thousandths of the resource's unit, by container. */
  readonly milliByContainer: Readonly<Record<string, number>>;
  /** When it was measured, and over how long before that. */
  readonly atMs?: number;
  readonly windowMs?: number;
}

/** Where the autoscaler gets its numbers; the node's statistics behind metrics.k8s.io, or a simulation. All values in thousandths. */
export interface MetricsSource {
  resource(
    namespace: string,
    selector: k8s.LabelSelector | undefined,
    resource: string,
    signal: AbortSignal,
  ): Promise<readonly PodUsage[]>;
  /** custom.metrics.k8s.io; undefined when nobody serves it. */
  pods?(
    namespace: string,
    metric: k8s.MetricIdentifier,
    selector: k8s.LabelSelector | undefined,
    signal: AbortSignal,
  ): Promise<readonly { pod: string; milli: number }[]>;
  object?(
    namespace: string,
    metric: k8s.MetricIdentifier,
    object: k8s.CrossVersionObjectReference,
    signal: AbortSignal,
  ): Promise<number>;
  /** external.metrics.k8s.io: the sum of the matching series. */
  external?(namespace: string, metric: k8s.MetricIdentifier, signal: AbortSignal): Promise<number>;
}
