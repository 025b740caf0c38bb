import type { ApiRequest, ApiResponse, k8s } from "../../api/index.ts";
import { forward } from "./http-proxy/forward.ts";
import type { Target } from "./http-proxy/target.ts";
import type { PodStream } from "./pod-streams.ts";

/** What the kubelet's server calls the subresources of Pods. */
export const KUBELET_PATHS: Readonly<Record<PodStream, string>> = {
  log: "containerLogs",
  exec: "exec",
  attach: "attach",
  portforward: "portForward",
};

/** The kubelet of a node that is not in this process: the API server hands on to it what is asked of its Pods. */
export class RemoteKubelet {
  readonly #target: Target;

  constructor(target: Target) {
    this.#target = target;
  }

  /** Throws `unavailable` where it does not answer. */
  connect(request: ApiRequest, stream: PodStream, { metadata }: k8s.Pod, container: string): Promise<ApiResponse> {
    const parts = [KUBELET_PATHS[stream], metadata.namespace!, metadata.name!, ...(container ? [container] : [])];
    return forward(request, this.#target, { path: `/${parts.map(encodeURIComponent).join("/")}`, prefix: "" });
  }

  /** One of its pages, behind `nodes/NAME/proxy`. */
  page(request: ApiRequest, path: string): Promise<ApiResponse> {
    return forward(request, this.#target, { path: `/${path}`, prefix: "" });
  }
}
