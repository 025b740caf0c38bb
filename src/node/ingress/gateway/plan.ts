import type { k8s } from "../../../api/index.ts";
import { labelPredicate } from "../../../client/index.ts";
import { byPrecedence, hostCovers, type Entry } from "./matching.ts";
import { GRPC_ROUTE } from "./grpc.ts";
import {
  GROUP,
  type BackendReference,
  type Gateway,
  type GatewayListener,
  type HttpRoute,
  type ObjectReference,
  type ParentReference,
  type ReferenceGrant,
} from "./types.ts";

/** Everything that decides what Gateways serve. */
export interface GatewayWorld {
  readonly gateways: readonly Gateway[];
  /** GRPCRoutes too, as what they are of HTTP. */
  readonly routes: readonly HttpRoute[];
  readonly grants: readonly ReferenceGrant[];
  readonly namespaceLabels: (name: string) => Readonly<Record<string, string>>;
  /** Whether a `namespace/name` is there. */
  readonly hasService: (key: string) => boolean;
  readonly hasCertificate: (key: string) => boolean;
}

/** A condition without its times and generation. */
export interface Said {
  readonly type: string;
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
}

export interface ServedListener {
  readonly name: string;
  readonly port: number;
  readonly secure: boolean;
  readonly hostname: string;
  /** `namespace/name` of Secrets. */
  readonly certificates: readonly string[];
  readonly supportedKinds: readonly string[];
  /** In the order of their precedence. */
  readonly entries: readonly Entry[];
  readonly attachedRoutes: number;
  readonly conditions: readonly Said[];
}

export interface RouteParent {
  readonly route: HttpRoute;
  readonly parentRef: ParentReference;
  readonly conditions: readonly Said[];
}

export interface GatewayPlan {
  /** By `namespace/name` of the Gateway. */
  readonly listeners: ReadonlyMap<string, readonly ServedListener[]>;
  readonly parents: readonly RouteParent[];
}

const yes = (type: string, reason: string): Said => ({ type, status: "True", reason, message: "" });
const no = (type: string, reason: string, message: string): Said => ({ type, status: "False", reason, message });
const keyOf = ({ metadata }: Gateway | HttpRoute) => `${metadata?.namespace}/${metadata?.name}`;

/** Which listeners there are, which routes reach them, and what is said of both. Pure. */
export function planGateways(world: GatewayWorld): GatewayPlan {
  const attachments = world.routes.flatMap((route) =>
    (route.spec?.parentRefs ?? []).flatMap((parentRef) => attach(world, route, parentRef)),
  );
  const listeners = new Map(
    world.gateways.map((gateway) => [
      keyOf(gateway),
      (gateway.spec?.listeners ?? []).map((listener) => {
        const here = attachments.filter((one) => one.gateway === gateway && one.listeners.includes(listener));
        return served(
          world,
          gateway,
          listener,
          here.map(({ route }) => route),
        );
      }),
    ]),
  );
  return {
    listeners,
    parents: attachments.map(({ route, parentRef, conditions }) => ({ route, parentRef, conditions })),
  };
}

interface Attachment extends RouteParent {
  readonly gateway: Gateway;
  readonly listeners: readonly GatewayListener[];
}

/** None for a parent that is not ours to speak of. */
function attach(world: GatewayWorld, route: HttpRoute, parentRef: ParentReference): Attachment[] {
  if ((parentRef.group ?? GROUP) !== GROUP || (parentRef.kind ?? "Gateway") !== "Gateway") return [];
  const key = `${parentRef.namespace ?? route.metadata?.namespace}/${parentRef.name}`;
  const gateway = world.gateways.find((one) => keyOf(one) === key);
  if (!gateway) return [];
  const named = (gateway.spec?.listeners ?? []).filter(
    ({ name, port, protocol }) =>
      (parentRef.sectionName ?? name) === name && (parentRef.port ?? port) === port && /^HTTPS?$/.test(protocol),
  );
  const allowing = named.filter((listener) => allows(world, gateway, listener, route));
  const listeners = allowing.filter((listener) => hostnamesOf(listener, route).length > 0);
  const accepted =
    named.length === 0
      ? no("Accepted", "NoMatchingParent", "the Gateway has no such listener")
      : allowing.length === 0
        ? no("Accepted", "NotAllowedByListeners", "no listener takes routes of this namespace")
        : listeners.length === 0
          ? no("Accepted", "NoMatchingListenerHostname", "no listener has a host name in common with the route")
          : yes("Accepted", "Accepted");
  return [{ route, parentRef, gateway, listeners, conditions: [accepted, resolvedRefs(world, route)] }];
}

const ROUTE_KINDS = ["HTTPRoute", GRPC_ROUTE];

function kindOf(route: HttpRoute): string {
  return route.kind ?? "HTTPRoute";
}

/** Which kinds a listener takes, and whether it names one that is not served here. */
function kindsOf({ allowedRoutes }: GatewayListener): { readonly kinds: string[]; readonly unknown: boolean } {
  const wanted = allowedRoutes?.kinds ?? [];
  if (wanted.length === 0) return { kinds: ROUTE_KINDS, unknown: false };
  const known = wanted.filter(({ group = GROUP, kind }) => group === GROUP && ROUTE_KINDS.includes(kind));
  return { kinds: known.map(({ kind }) => kind), unknown: known.length < wanted.length };
}

function allows(world: GatewayWorld, gateway: Gateway, listener: GatewayListener, route: HttpRoute): boolean {
  if (!kindsOf(listener).kinds.includes(kindOf(route))) return false;
  const { from = "Same", selector } = listener.allowedRoutes?.namespaces ?? {};
  const namespace = route.metadata?.namespace ?? "";
  if (from === "All") return true;
  if (from === "Selector") return labelPredicate(selector ?? {})(world.namespaceLabels(namespace));
  return from === "Same" && namespace === gateway.metadata?.namespace;
}

/** The host names under which a listener serves a route; empty: none. */
function hostnamesOf({ hostname: own = "" }: GatewayListener, route: HttpRoute): string[] {
  const wanted = route.spec?.hostnames ?? [];
  if (wanted.length === 0) return [own.toLowerCase()];
  return wanted
    .map((name) => name.toLowerCase())
    .flatMap((name) => {
      if (own === "" || name === own.toLowerCase()) return [name];
      const covers = (pattern: string, other: string) =>
        pattern.startsWith("*.") && hostCovers(pattern, other.replace(/^\*\./, "x."));
      if (covers(own.toLowerCase(), name)) return [name];
      return covers(name, own.toLowerCase()) ? [own.toLowerCase()] : [];
    });
}

function served(
  world: GatewayWorld,
  gateway: Gateway,
  listener: GatewayListener,
  routes: readonly HttpRoute[],
): ServedListener {
  const secure = listener.protocol === "HTTPS";
  const references = secure ? (listener.tls?.certificateRefs ?? []) : [];
  const namespace = gateway.metadata?.namespace ?? "";
  const wrong = references.flatMap((reference) => certificateProblem(world, namespace, reference) ?? []);
  const usable = references.filter((reference) => !certificateProblem(world, namespace, reference));
  const known = secure || listener.protocol === "HTTP";
  const { kinds, unknown } = kindsOf(listener);
  const conflict = conflictOf(gateway, listener);
  const passthrough = listener.tls?.mode === "Passthrough";
  const broken = !known || kinds.length === 0 || conflict || (secure && usable.length === 0) || passthrough;
  const entries = routes.flatMap((route) =>
    hostnamesOf(listener, route).flatMap((hostname) =>
      (route.spec?.rules ?? []).flatMap((rule) =>
        (rule.matches?.length ? rule.matches : [{}]).map((match) => ({
          hostname,
          match,
          rule,
          route: keyOf(route),
          grpc: kindOf(route) === GRPC_ROUTE,
          created: String(route.metadata?.creationTimestamp ?? ""),
        })),
      ),
    ),
  );
  return {
    name: listener.name,
    port: listener.port,
    secure,
    hostname: (listener.hostname ?? "").toLowerCase(),
    certificates: usable.map(({ name, namespace: other }) => `${other ?? namespace}/${name}`),
    supportedKinds: kinds,
    entries: byPrecedence(entries),
    attachedRoutes: routes.length,
    conditions: [
      known
        ? yes("Accepted", "Accepted")
        : no("Accepted", "UnsupportedProtocol", `protocol ${listener.protocol} is not served here: HTTP and HTTPS are`),
      unknown
        ? no("ResolvedRefs", "InvalidRouteKinds", `routes that are served here: ${ROUTE_KINDS.join(", ")}`)
        : (wrong[0] ?? yes("ResolvedRefs", "ResolvedRefs")),
      broken ? no("Programmed", "Invalid", "the listener cannot be served") : yes("Programmed", "Programmed"),
      conflict ?? no("Conflicted", "NoConflicts", ""),
    ],
  };
}

/** Listeners that cannot be told apart are not served, none of them. */
function conflictOf(gateway: Gateway, listener: GatewayListener): Said | undefined {
  const others = (gateway.spec?.listeners ?? []).filter(
    (one) => one.name !== listener.name && one.port === listener.port,
  );
  const say = (reason: string, other: GatewayListener, what: string): Said => ({
    type: "Conflicted",
    status: "True",
    reason,
    message: `listener ${other.name} has the same port ${what}`,
  });
  const spoken = others.find(({ protocol }) => protocol !== listener.protocol);
  if (spoken) return say("ProtocolConflict", spoken, "with another protocol");
  const twin = others.find(({ hostname = "" }) => hostname.toLowerCase() === (listener.hostname ?? "").toLowerCase());
  return twin && say("HostnameConflict", twin, "and host name");
}

function certificateProblem(world: GatewayWorld, namespace: string, reference: ObjectReference): Said | undefined {
  const { group = "", kind = "Secret", name, namespace: other = namespace } = reference;
  if (group !== "" || kind !== "Secret")
    return no("ResolvedRefs", "InvalidCertificateRef", `a certificate is a Secret, not a ${kind}`);
  if (!isGranted(world.grants, { kind: "Gateway", namespace }, { group, kind, name, namespace: other }))
    return no(
      "ResolvedRefs",
      "RefNotPermitted",
      `no ReferenceGrant in ${other} lets Gateways of ${namespace} use Secret ${name}`,
    );
  if (!world.hasCertificate(`${other}/${name}`))
    return no("ResolvedRefs", "InvalidCertificateRef", `Secret ${other}/${name} has no certificate`);
  return undefined;
}

/** A request for a rule with any other is refused: leaving a filter out might let through what it was to stop. */
export const SERVED_FILTERS: ReadonlySet<string> = new Set([
  "RequestHeaderModifier",
  "ResponseHeaderModifier",
  "RequestMirror",
  "RequestRedirect",
  "URLRewrite",
]);

function resolvedRefs(world: GatewayWorld, route: HttpRoute): Said {
  const namespace = route.metadata?.namespace ?? "";
  for (const rule of route.spec?.rules ?? []) {
    const backends = rule.backendRefs ?? [];
    const filters = [...(rule.filters ?? []), ...backends.flatMap((one) => one.filters ?? [])];
    const mirrors = filters.flatMap(({ requestMirror }) => requestMirror?.backendRef ?? []);
    for (const reference of [...backends, ...mirrors]) {
      const problem = backendProblem(world, kindOf(route), namespace, reference);
      if (problem) return no("ResolvedRefs", problem.reason, problem.message);
    }
    const foreign = filters.find(({ type }) => !SERVED_FILTERS.has(type));
    if (foreign) return no("ResolvedRefs", "InvalidKind", `the filter ${foreign.type} is not served here`);
  }
  return yes("ResolvedRefs", "ResolvedRefs");
}

/** Why a route of a namespace cannot use a backend. */
export function backendProblem(
  world: Pick<GatewayWorld, "grants" | "hasService">,
  routeKind: string,
  namespace: string,
  { group = "", kind = "Service", name, namespace: other = namespace }: BackendReference,
): { readonly reason: string; readonly message: string } | undefined {
  if (group !== "" || kind !== "Service") return { reason: "InvalidKind", message: `${kind} ${name} is no Service` };
  if (!isGranted(world.grants, { kind: routeKind, namespace }, { group, kind, name, namespace: other }))
    return {
      reason: "RefNotPermitted",
      message: `no ReferenceGrant in ${other} lets ${routeKind}s of ${namespace} use Service ${name}`,
    };
  if (!world.hasService(`${other}/${name}`))
    return { reason: "BackendNotFound", message: `Service ${other}/${name} does not exist` };
  return undefined;
}

/** Within a namespace nothing needs to be granted. https://gateway-api.sigs.k8s.io/api-types/referencegrant/ */
function isGranted(
  grants: readonly ReferenceGrant[],
  from: { readonly kind: string; readonly namespace: string },
  to: { readonly group: string; readonly kind: string; readonly name: string; readonly namespace: string },
): boolean {
  if (from.namespace === to.namespace) return true;
  return grants.some(
    ({ metadata, spec }) =>
      metadata?.namespace === to.namespace &&
      spec?.from.some((one) => one.group === GROUP && one.kind === from.kind && one.namespace === from.namespace) &&
      spec.to.some((one) => one.group === to.group && one.kind === to.kind && (one.name ?? to.name) === to.name),
  );
}

/** With times and generation; what is said unchanged keeps its time. */
export function conditions(
  said: readonly Said[],
  before: readonly k8s.Condition[] | undefined,
  generation: number,
  nowText: string,
): k8s.Condition[] {
  return said.map(({ type, status, reason, message }) => {
    const old = before?.find((condition) => condition.type === type);
    const lastTransitionTime = old?.status === status ? old.lastTransitionTime : nowText;
    return { type, status, reason, message, observedGeneration: generation, lastTransitionTime };
  });
}
