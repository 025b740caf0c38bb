import type { k8s } from "../../../api/index.ts";
import { defineResource } from "../../../client/index.ts";

/** The Gateway API's standard channel, as much of it as is served. https://gateway-api.sigs.k8s.io/reference/spec/ */
export const GROUP = "gateway.networking.k8s.io";

interface Meta {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: k8s.ObjectMeta;
}
export interface GatewayClass extends Meta {
  readonly spec?: { readonly controllerName: string };
  readonly status?: { readonly conditions?: readonly k8s.Condition[] };
}
export interface ObjectReference {
  readonly group?: string;
  readonly kind?: string;
  readonly name: string;
  readonly namespace?: string;
}
export interface GatewayListener {
  readonly name: string;
  readonly hostname?: string;
  readonly port: number;
  readonly protocol: string;
  readonly tls?: { readonly mode?: string; readonly certificateRefs?: readonly ObjectReference[] };
  readonly allowedRoutes?: {
    readonly namespaces?: { readonly from?: string; readonly selector?: k8s.LabelSelector };
    readonly kinds?: readonly { readonly group?: string; readonly kind: string }[];
  };
}
export interface Gateway extends Meta {
  readonly spec?: {
    readonly gatewayClassName: string;
    readonly listeners: readonly GatewayListener[];
    readonly addresses?: readonly { readonly type?: string; readonly value?: string }[];
  };
  readonly status?: { readonly addresses?: readonly { readonly type?: string; readonly value: string }[] };
}
export interface ParentReference extends ObjectReference {
  readonly sectionName?: string;
  readonly port?: number;
}
export interface ValueMatch {
  readonly type?: string;
  readonly name: string;
  readonly value: string;
}
export interface HttpRouteMatch {
  readonly path?: { readonly type?: string; readonly value?: string };
  readonly headers?: readonly ValueMatch[];
  readonly queryParams?: readonly ValueMatch[];
  readonly method?: string;
}
export interface PathModifier {
  readonly type: string;
  readonly replaceFullPath?: string;
  readonly replacePrefixMatch?: string;
}
export interface HeaderModifier {
  readonly set?: readonly { readonly name: string; readonly value: string }[];
  readonly add?: readonly { readonly name: string; readonly value: string }[];
  readonly remove?: readonly string[];
}
export interface HttpRouteFilter {
  readonly type: string;
  readonly requestHeaderModifier?: HeaderModifier;
  readonly responseHeaderModifier?: HeaderModifier;
  readonly requestMirror?: {
    readonly backendRef: BackendReference;
    /** Of a hundred requests. */
    readonly percent?: number;
    readonly fraction?: { readonly numerator: number; readonly denominator?: number };
  };
  readonly requestRedirect?: {
    readonly scheme?: string;
    readonly hostname?: string;
    readonly path?: PathModifier;
    readonly port?: number;
    readonly statusCode?: number;
  };
  readonly urlRewrite?: { readonly hostname?: string; readonly path?: PathModifier };
}
export interface BackendReference extends ObjectReference {
  readonly port?: number;
  readonly weight?: number;
  readonly filters?: readonly HttpRouteFilter[];
}
export interface HttpRouteRule {
  readonly matches?: readonly HttpRouteMatch[];
  readonly filters?: readonly HttpRouteFilter[];
  readonly backendRefs?: readonly BackendReference[];
  /** Like `10s`; `0s` is without limit. */
  readonly timeouts?: { readonly request?: string; readonly backendRequest?: string };
}
export interface HttpRoute extends Meta {
  readonly spec?: {
    readonly parentRefs?: readonly ParentReference[];
    readonly hostnames?: readonly string[];
    readonly rules?: readonly HttpRouteRule[];
  };
  readonly status?: { readonly parents?: readonly RouteParentStatus[] };
}
export interface GrpcRoute extends Meta {
  readonly spec?: {
    readonly parentRefs?: readonly ParentReference[];
    readonly hostnames?: readonly string[];
    readonly rules?: readonly {
      readonly matches?: readonly {
        readonly method?: { readonly type?: string; readonly service?: string; readonly method?: string };
        readonly headers?: readonly ValueMatch[];
      }[];
      readonly filters?: readonly HttpRouteFilter[];
      readonly backendRefs?: readonly BackendReference[];
    }[];
  };
  readonly status?: { readonly parents?: readonly RouteParentStatus[] };
}
export interface RouteParentStatus {
  readonly parentRef: ParentReference;
  readonly controllerName: string;
  readonly conditions: readonly k8s.Condition[];
}
export interface ReferenceGrant extends Meta {
  readonly spec?: {
    readonly from: readonly { readonly group: string; readonly kind: string; readonly namespace: string }[];
    readonly to: readonly { readonly group: string; readonly kind: string; readonly name?: string }[];
  };
}

export const gatewayClasses = defineResource<GatewayClass>(`${GROUP}/v1`, "gatewayclasses", "GatewayClass", false);
export const gateways = defineResource<Gateway>(`${GROUP}/v1`, "gateways", "Gateway");
export const httpRoutes = defineResource<HttpRoute>(`${GROUP}/v1`, "httproutes", "HTTPRoute");
export const grpcRoutes = defineResource<GrpcRoute>(`${GROUP}/v1`, "grpcroutes", "GRPCRoute");
export const referenceGrants = defineResource<ReferenceGrant>(`${GROUP}/v1beta1`, "referencegrants", "ReferenceGrant");
