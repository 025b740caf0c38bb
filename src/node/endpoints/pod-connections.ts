import type { cri, k8s, KubeObject } from "../../api/index.ts";
import type { Call, Endpoint, EndpointTools } from "../../apiserver/index.ts";
import { invalidArgument, notFound, unavailable, type Clock } from "../../base/index.ts";
import { flag, podStreams, type PodStream } from "./pod-streams.ts";
import type { RemoteKubelet } from "./remote-kubelet.ts";

/** Who serves a node's Pods: the runtime, in this process, or the kubelet of a node elsewhere. Undefined: no such node, or it is off. */
export type ServedNodes = (
  nodeName: string,
) => { readonly runtime: cri.RuntimeService } | { readonly kubelet: RemoteKubelet } | undefined;

const KINDS = {
  log: "Pod",
  exec: "PodExecOptions",
  attach: "PodAttachOptions",
  portforward: "PodPortForwardOptions",
} as const;

/** `pods/log`, `pods/exec`, `pods/attach` and `pods/portforward`: the API server hands these connections to the node that has the Pod. */
export function podConnections(nodes: ServedNodes, clock: Clock): Endpoint[] {
  const endpoint = (subresource: PodStream, verbs: string[]): Endpoint => ({
    group: "",
    version: "v1",
    resource: "pods",
    subresource,
    namespaced: true,
    kind: { group: "", version: "v1", kind: KINDS[subresource] },
    verbs,
    longRunning: true,
    handle: async (call, tools) => {
      const { pod, node } = await findNode(nodes, call, tools);
      if (subresource !== "log") await tools.admit(call, "CONNECT", optionsObject(call, KINDS[subresource]));
      const container = subresource === "portforward" ? "" : containerName(call, pod);
      if ("kubelet" in node) return node.kubelet.connect(call.request, subresource, pod, container);
      return podStreams[subresource](clock, call.request, { pod, container, runtime: node.runtime });
    },
  });
  return [
    endpoint("log", ["get"]),
    endpoint("exec", ["create", "get"]),
    endpoint("attach", ["create", "get"]),
    endpoint("portforward", ["create", "get"]),
  ];
}

async function findNode(nodes: ServedNodes, call: Call, tools: EndpointTools) {
  const { namespace, name } = call.info;
  const response = await tools.loopback({
    method: "GET",
    path: `/api/v1/namespaces/${namespace}/pods/${name}`,
    query: new URLSearchParams(),
    headers: { accept: "application/json" },
  });
  if (response.status === 404)
    throw notFound(`pods ${JSON.stringify(name)} not found`, { details: { kind: "pods", name } });
  const pod = (response.object ?? JSON.parse(Buffer.from(response.body!).toString())) as k8s.Pod;
  if (!pod.spec?.nodeName) throw invalidArgument(`pod ${name} does not have a host assigned`);
  const node = nodes(pod.spec.nodeName);
  if (!node)
    throw unavailable(`node ${pod.spec.nodeName} has no containers to connect to (it is simulated, stopped or gone)`);
  return { pod, node };
}

function optionsObject(call: Call, kind: string): KubeObject {
  const query = call.request.query;
  return {
    apiVersion: "v1",
    kind,
    metadata: {},
    container: query.get("container") ?? "",
    command: query.getAll("command"),
    stdin: flag(query, "stdin"),
    stdout: flag(query, "stdout"),
    stderr: flag(query, "stderr"),
    tty: flag(query, "tty"),
  };
}

/** The name of the container that was asked for: the only one, or the annotated default, as kubectl's users expect. */
function containerName(call: Call, pod: k8s.Pod): string {
  const asked = call.request.query.get("container");
  const names = [
    ...(pod.spec?.initContainers ?? []),
    ...(pod.spec?.containers ?? []),
    ...(pod.spec?.ephemeralContainers ?? []),
  ].map((container) => container.name);
  if (asked) {
    if (!names.includes(asked)) throw invalidArgument(`container ${asked} is not valid for pod ${pod.metadata.name}`);
    return asked;
  }
  const mains = pod.spec!.containers.map((container) => container.name);
  if (mains.length === 1) return mains[0]!;
  throw invalidArgument(
    `a container name must be specified for pod ${pod.metadata.name}, choose one of: [${mains.join(" ")}]`,
  );
}
