import type { ApiHandler, ApiRequest, ApiResponse, k8s, UserInfo } from "../../api/index.ts";
import { notFound, permissionDenied, unauthenticated, type Clock } from "../../base/index.ts";
import { nodePage } from "./node-proxy.ts";
import type { MeasuredNode } from "./node-usage.ts";
import { podStreams, type PodStream } from "./pod-streams.ts";
import { KUBELET_PATHS } from "./remote-kubelet.ts";

export interface KubeletServerOptions {
  readonly node: MeasuredNode;
  readonly clock: Clock;
  /** Who asks, by the connection's certificate. Undefined or a throw: nobody we know. */
  readonly authenticate: (request: ApiRequest) => UserInfo | undefined;
  /** Of this node. */
  readonly findPod: (namespace: string, name: string) => k8s.Pod | undefined;
}

const STREAMS = new Map(Object.entries(KUBELET_PATHS).map(([stream, path]) => [path, stream as PodStream]));
/** What the API server's own client certificate says: whoever may ask has been judged there. */
const API_SERVER_GROUP = "system:masters";

/** What a kubelet serves on its port for the API server alone: logs and connections of its Pods, figures of the node. */
export function kubeletHandler(options: KubeletServerOptions): ApiHandler {
  return async (request) => {
    const caller = options.authenticate(request);
    if (!caller) throw unauthenticated("Unauthorized");
    if (!caller.groups.includes(API_SERVER_GROUP))
      throw permissionDenied(`${caller.name} may not ask this node: only the API server may`);
    return answer(options, request);
  };
}

function answer({ node, clock, findPod }: KubeletServerOptions, request: ApiRequest): Promise<ApiResponse> {
  const [first = "", namespace = "", name = "", container = ""] = request.path
    .slice(1)
    .split("/")
    .map(decodeURIComponent);
  const stream = STREAMS.get(first);
  if (!stream) return nodePage(node, request.path.slice(1), clock);
  const pod = findPod(namespace, name);
  if (!pod) throw notFound(`pod ${name} is not on this node`);
  return podStreams[stream](clock, request, { pod, container, runtime: node.runtime });
}
