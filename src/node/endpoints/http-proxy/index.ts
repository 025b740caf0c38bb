import type { ApiResponse } from "../../../api/index.ts";
import type { Call, Endpoint, EndpointTools } from "../../../apiserver/index.ts";
import type { Random } from "../../../base/index.ts";
import { forward } from "./forward.ts";
import { podTarget, serviceTarget, type Target } from "./target.ts";

const VERBS = ["create", "delete", "get", "patch", "update"];

/**
 * `pods/proxy` and `services/proxy`: an HTTP request that the API server makes for its caller, of a Pod or of one that stands behind a Service.
 * https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
 */
export function httpProxyEndpoints(random: Random): Endpoint[] {
  const endpoint = (
    resource: "pods" | "services",
    kind: string,
    find: (call: Call, tools: EndpointTools) => Promise<Target>,
  ): Endpoint => ({
    group: "",
    version: "v1",
    resource,
    subresource: "proxy",
    namespaced: true,
    kind: { group: "", version: "v1", kind },
    verbs: VERBS,
    longRunning: true,
    handle: async (call, tools) => {
      const place = split(call.request.path);
      const options = { apiVersion: "v1", kind, metadata: {}, path: place.path };
      await tools.admit(call, "CONNECT", options);
      const { method, headers } = call.request;
      const isBare = place.path === "" && !headers["upgrade"];
      if (isBare && (method === "GET" || method === "HEAD")) return toFolder(call);
      return forward(call.request, await find(call, tools), { ...place, path: place.path || "/" });
    },
  });
  return [
    endpoint("pods", "PodProxyOptions", podTarget),
    endpoint("services", "ServiceProxyOptions", (call, tools) => serviceTarget(call, tools, () => random.float())),
  ];
}

/** What stands before and behind the first `/proxy` that follows the object's name. */
function split(path: string): { prefix: string; path: string } {
  const prefix = /^\/api\/v1\/namespaces\/[^/]+\/[^/]+\/[^/]+\/proxy/.exec(path)?.[0] ?? path;
  return { prefix, path: path.slice(prefix.length) };
}

/** Relative links of a page are relative to its folder: the client is sent there. */
function toFolder({ request: { path, query } }: Call): ApiResponse {
  const location = query.size > 0 ? `${path}/?${query.toString()}` : `${path}/`;
  return { status: 301, headers: { location }, body: new Uint8Array(0) };
}
