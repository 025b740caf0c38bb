import type { k8s, KubeObject } from "../../api/index.ts";
import type { Call, Endpoint, EndpointTools } from "../../apiserver/index.ts";
import { notFound, rfc3339, type Clock } from "../../base/index.ts";
import type { NodeFigures, PodFigures } from "./figures.ts";

const GROUP = { group: "metrics.k8s.io", version: "v1beta1" };
/** Over how long the CPU figures are; kubectl and the HPA only show it. */
const WINDOW = "10s";

/**
 * metrics.k8s.io/v1beta1, what `kubectl top` and the HorizontalPodAutoscaler ask: usage read from the nodes when asked, so that an idle
 * cluster measures nothing. A node that does not answer is left out. https://github.com/kubernetes/metrics
 */
export function metricsEndpoints(nodes: () => readonly NodeFigures[], clock: Clock): Endpoint[] {
  const endpoint = (
    resource: string,
    kind: string,
    namespaced: boolean,
    items: (call: Call, tools: EndpointTools) => Promise<KubeObject[]>,
  ): Endpoint => ({
    ...GROUP,
    resource,
    subresource: "",
    namespaced,
    kind: { ...GROUP, kind },
    verbs: ["get", "list"],
    handle: async (call, tools) => {
      const all = await items(call, tools);
      if (call.info.name === "")
        return { apiVersion: "metrics.k8s.io/v1beta1", kind: `${kind}List`, metadata: {}, items: all };
      const found = all.find((item) => item.metadata.name === call.info.name);
      if (!found)
        throw notFound(`${resource}.metrics.k8s.io ${JSON.stringify(call.info.name)} not found`, {
          details: { group: GROUP.group, kind: resource, name: call.info.name },
        });
      return found;
    },
  });
  return [
    endpoint("nodes", "NodeMetrics", false, () => eachOf(nodes(), (node) => nodeMetrics(node, clock))),
    endpoint("pods", "PodMetrics", true, async (call, tools) => {
      const [figures, labels] = await Promise.all([eachOf(nodes(), (node) => node.pods()), podLabels(call, tools)]);
      const chosen = figures.flat().filter((pod) => labels.has(keyOf(pod)) && pod.containers.length > 0);
      return chosen.map((pod) => podMetrics(pod, labels.get(keyOf(pod)), clock));
    }),
  ];
}

const keyOf = ({ namespace, name }: PodFigures): string => `${namespace}/${name}`;

async function eachOf<T>(nodes: readonly NodeFigures[], ask: (node: NodeFigures) => Promise<T>): Promise<T[]> {
  const answers = await Promise.allSettled(nodes.map(ask));
  return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
}

/** The Pods that the request's selectors choose, with their labels: selection is the API server's own. */
async function podLabels(
  call: Call,
  tools: EndpointTools,
): Promise<Map<string, Readonly<Record<string, string>> | undefined>> {
  const { namespace } = call.info;
  const query = new URLSearchParams();
  for (const key of ["labelSelector", "fieldSelector"]) {
    const value = call.request.query.get(key);
    if (value) query.set(key, value);
  }
  const path = namespace ? `/api/v1/namespaces/${namespace}/pods` : "/api/v1/pods";
  const response = await tools.loopback({ method: "GET", path, query, headers: { accept: "application/json" } });
  const list = (response.object ?? JSON.parse(Buffer.from(response.body!).toString())) as { items: k8s.Pod[] };
  return new Map(list.items.map((pod) => [`${pod.metadata.namespace}/${pod.metadata.name}`, pod.metadata.labels]));
}

async function nodeMetrics(node: NodeFigures, clock: Clock): Promise<KubeObject> {
  const usage = await node.usage();
  return {
    apiVersion: "metrics.k8s.io/v1beta1",
    kind: "NodeMetrics",
    metadata: { name: node.name, creationTimestamp: rfc3339(clock.nowMs()) },
    timestamp: rfc3339(clock.nowMs()),
    window: WINDOW,
    usage: quantities(usage.nanoCores, usage.memoryBytes),
  };
}

function podMetrics(
  { name, namespace, time, containers }: PodFigures,
  labels: Readonly<Record<string, string>> | undefined,
  clock: Clock,
): KubeObject {
  return {
    apiVersion: "metrics.k8s.io/v1beta1",
    kind: "PodMetrics",
    metadata: {
      name,
      namespace,
      creationTimestamp: rfc3339(clock.nowMs()),
      ...(labels ? { labels: { ...labels } } : {}),
    },
    timestamp: time,
    window: WINDOW,
    containers: containers.map((container) => ({
      name: container.name,
      usage: quantities(container.nanoCores, container.memoryBytes),
    })),
  };
}

function quantities(nanoCores: number, bytes: number): { cpu: string; memory: string } {
  return { cpu: `${Math.round(nanoCores)}n`, memory: `${Math.round(bytes / 1024)}Ki` };
}
