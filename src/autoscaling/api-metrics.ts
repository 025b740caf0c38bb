import type { k8s } from "../api/index.ts";
import { parseDurationMs, parseMilli } from "../base/index.ts";
import { formatSelector, type KubeClient } from "../client/index.ts";
import type { MetricsSource, PodUsage } from "./metrics.ts";

interface PodMetricsList {
  readonly items: ReadonlyArray<{
    metadata: { name: string };
    timestamp?: string;
    window?: string;
    containers: ReadonlyArray<{ name: string; usage: Readonly<Record<string, string>> }>;
  }>;
}
/** MetricValueList of custom.metrics.k8s.io and ExternalMetricValueList of external.metrics.k8s.io: the field that both have. */
interface ValueList {
  readonly items: ReadonlyArray<{ value: string; describedObject?: { name: string } }>;
}

/**
 * Metrics as upstream's controller reads them: through the API, whoever serves it. metrics.k8s.io is the node's own (or metrics-server's);
 * custom.metrics.k8s.io and external.metrics.k8s.io exist where an adapter is registered, and give its errors where not.
 */
export function apiMetrics(client: KubeClient): MetricsSource {
  const read = async <T>(path: string, query: Record<string, string>, signal: AbortSignal): Promise<T> => {
    const response = await client.send({ method: "GET", path, query: new URLSearchParams(query), signal });
    return (response.object ?? JSON.parse(Buffer.from(response.body!).toString())) as T;
  };
  const custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces";
  const selection = (metric: k8s.MetricIdentifier, key: string): Record<string, string> =>
    metric.selector ? { [key]: formatSelector(metric.selector) } : {};
  return {
    async resource(namespace, selector, resource, signal) {
      const query: Record<string, string> = selector ? { labelSelector: formatSelector(selector) } : {};
      const path = `/apis/metrics.k8s.io/v1beta1/namespaces/${namespace}/pods`;
      const { items } = await read<PodMetricsList>(path, query, signal);
      return items.map((item): PodUsage => {
        const used = item.containers.map(({ name, usage }) => [name, parseMilli(usage[resource] ?? "0")] as const);
        return {
          pod: item.metadata.name,
          milliByContainer: Object.fromEntries(used),
          atMs: item.timestamp === undefined ? undefined : Date.parse(item.timestamp),
          windowMs: parseDurationMs(item.window ?? ""),
        };
      });
    },
    async pods(namespace, metric, selector, signal) {
      const query: Record<string, string> = {
        ...selection(metric, "metricLabelSelector"),
        ...(selector ? { labelSelector: formatSelector(selector) } : {}),
      };
      const { items } = await read<ValueList>(`${custom}/${namespace}/pods/*/${metric.name}`, query, signal);
      return items.map(({ value, describedObject }) => ({
        pod: describedObject?.name ?? "",
        milli: parseMilli(value),
      }));
    },
    async object(namespace, metric, object, signal) {
      const plural = `${object.kind.toLowerCase()}${object.kind.endsWith("s") ? "es" : "s"}`;
      const path = `${custom}/${namespace}/${plural}/${object.name}/${metric.name}`;
      return total(await read<ValueList>(path, selection(metric, "metricLabelSelector"), signal));
    },
    async external(namespace, metric, signal) {
      const path = `/apis/external.metrics.k8s.io/v1beta1/namespaces/${namespace}/${metric.name}`;
      return total(await read<ValueList>(path, selection(metric, "labelSelector"), signal));
    },
  };
}

function total({ items }: ValueList): number {
  return items.reduce((sum, { value }) => sum + parseMilli(value), 0);
}
