import type { GrpcRoute, HttpRoute, HttpRouteMatch } from "./types.ts";

export const GRPC_ROUTE = "GRPCRoute";

/**
 * A GRPCRoute as the HTTPRoute that does the same: a call is a POST to `/service/method`, and its backends speak HTTP/2.
 * https://gateway-api.sigs.k8s.io/api-types/grpcroute/
 */
export function httpOfGrpc(route: GrpcRoute): HttpRoute {
  const { rules = [{}], ...spec } = route.spec ?? {};
  return {
    ...route,
    kind: GRPC_ROUTE,
    spec: {
      ...spec,
      rules: rules.map((rule) => ({
        ...rule,
        matches: (rule.matches ?? []).map(({ method = {}, headers }): HttpRouteMatch => ({
          path: pathOf(method),
          ...(headers && { headers }),
        })),
      })),
    },
  } as HttpRoute;
}

function pathOf({
  type,
  service,
  method,
}: {
  readonly type?: string;
  readonly service?: string;
  readonly method?: string;
}): NonNullable<HttpRouteMatch["path"]> {
  if (!service && !method) return { type: "PathPrefix", value: "/" };
  if (type === "RegularExpression")
    return { type: "RegularExpression", value: `/${service || "[^/]+"}/${method || "[^/]+"}` };
  if (service && method) return { type: "Exact", value: `/${service}/${method}` };
  if (service) return { type: "PathPrefix", value: `/${service}` };
  return { type: "RegularExpression", value: `/[^/]+/${method}` };
}
