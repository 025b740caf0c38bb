import { createHash } from "node:crypto";
import type { k8s } from "../../api/index.ts";
import {
  nftAddress,
  nftKey,
  nftNumber,
  nftPort,
  nftProtocol,
  parseCidr,
  PROTOCOLS,
  type NftElement,
  type Transport,
} from "../../host/index.ts";
import type { HealthCheck } from "./health-check.ts";
import { portName, type LocalhostPort } from "./localhost-ports.ts";
import { DEFAULT_AFFINITY_S, pickChainName, rememberChainName, slotCount } from "./ruleset.ts";

/** One element that a Service wants in one of the table's sets. */
export interface Wanted {
  readonly set: string;
  readonly element: NftElement;
  /** `address port` of an endpoint over UDP: its flows are cut when the Service no longer has it. */
  readonly udpTarget?: string;
  /** A port over UDP that is translated from now on: flows that began before, and lead elsewhere, are cut. No address: a port of the node. */
  readonly udpOpened?: { readonly address?: string; readonly port: number };
}

/** Where a Service's endpoints are, seen from this node. */
export interface PlanContext {
  readonly nodeName: string;
  /** The node's, for Services that would rather be served nearby. */
  readonly zone?: string | undefined;
  /** Ports (`tcp/80`) on which a LoadBalancer Service answers on the node's loopback too. */
  readonly localhostPorts?: ReadonlySet<string>;
  /** Cluster IPs that a program of this node serves itself (the cluster's DNS): nothing is programmed for them. */
  readonly servedHere?: ReadonlySet<string>;
}

interface Target {
  readonly address: string;
  readonly port: number;
  readonly local: boolean;
  readonly ready: boolean;
  readonly hints?: k8s.EndpointHints | undefined;
}

type ServiceLike = Pick<k8s.Service, "spec" | "status"> & { readonly metadata?: k8s.ObjectMeta | undefined };
type SliceLike = Pick<k8s.EndpointSlice, "addressType" | "endpoints" | "ports">;

/** Services with one of these are somebody else's: another proxy's, or nobody's. */
const FOREIGN_LABELS = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

/** Every element that one Service needs. Pure; order is stable, so that a change of one endpoint changes few elements. */
export function planService(service: ServiceLike, slices: readonly SliceLike[], context: PlanContext): Wanted[] {
  const spec = service.spec ?? {};
  if (spec.type === "ExternalName" || !spec.clusterIP || spec.clusterIP === "None") return [];
  if (context.servedHere?.has(spec.clusterIP)) return [];
  if (FOREIGN_LABELS.some((name) => service.metadata?.labels?.[name] !== undefined)) return [];
  return (spec.ports ?? []).flatMap((port) => {
    const protocol = (port.protocol ?? "TCP").toLowerCase() as Transport;
    if (!(protocol in PROTOCOLS)) return [];
    return ([4, 6] as const).flatMap((family) => planPort(service, { ...port, protocol }, family, slices, context));
  });
}

function planPort(
  service: ServiceLike,
  port: k8s.ServicePort & { protocol: Transport },
  family: 4 | 6,
  slices: readonly SliceLike[],
  context: PlanContext,
): Wanted[] {
  const spec = service.spec!;
  const clusterIps = ofFamily(spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP ?? ""], family);
  if (clusterIps.length === 0) return [];
  const found = targets(port, family, slices, context.nodeName);
  const all = serving(found);
  // A node whose endpoints all terminate goes on serving by them, though there are ready ones elsewhere.
  const local = serving(found.filter((target) => target.local));
  const near = nearby(all, context);
  const internal = spec.internalTrafficPolicy === "Local" ? local : near;
  // Who asks from within the cluster is served wherever the endpoints are; for others `localOnly` stands before.
  const external = spec.externalTrafficPolicy === "Local" && local.length > 0 ? local : near;
  const localOnly = spec.externalTrafficPolicy === "Local" && local.length === 0 && all.length > 0;
  const outside = externalAddresses(service, port, family, context);
  const sticky =
    spec.sessionAffinity === "ClientIP"
      ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_S)
      : undefined;
  const at = (address: string, from: readonly Target[]) => planAddress(address, family, port, from, sticky);
  return [
    ...clusterIps.map((address) => ({ set: `cluster-ips${family}`, element: { key: nftAddress(address) } })),
    ...clusterIps.flatMap((address) => at(address, internal)),
    ...outside.flatMap((address) => opened(at(address, external), port, { address, port: port.port })),
    ...(localOnly ? localOnlyElements(outside, port, family) : []),
    ...sourceRanges(service, port, family),
    ...(port.nodePort
      ? opened(planNodePort(port.nodePort, family, port.protocol, external, sticky), port, { port: port.nodePort })
      : []),
    ...[...new Set([...all, ...local])].map(({ address }) => ({
      set: `hairpin${family}`,
      element: { key: nftKey(nftAddress(address), nftAddress(address)) },
    })),
  ];
}

/** Addresses of Services are refused while nobody answers; what else a client may send to before there is a Service makes flows that would stay. */
function opened(
  wanted: readonly Wanted[],
  { protocol }: { readonly protocol: Transport },
  udpOpened: NonNullable<Wanted["udpOpened"]>,
): readonly Wanted[] {
  if (protocol !== "udp") return wanted;
  return wanted.map((one) => (one.element.verdict ? { ...one, udpOpened } : one));
}

/**
 * The endpoints that are meant for this node or its zone, when all say for whom they are and some are for here; else all
 * (https://kubernetes.io/docs/reference/networking/virtual-ips/#safeguards).
 */
function nearby(all: readonly Target[], { nodeName, zone }: PlanContext): readonly Target[] {
  const meantFor = (targets: readonly Target[], name: string | undefined, of: "forNodes" | "forZones") => {
    if (name === undefined || !targets.every(({ hints }) => hints?.[of]?.length)) return [];
    return targets.filter(({ hints }) => hints![of]!.some((one) => one.name === name));
  };
  const onNode = meantFor(all, nodeName, "forNodes");
  if (onNode.length > 0) return onNode;
  const inZone = meantFor(all, zone, "forZones");
  return inZone.length > 0 ? inZone : all;
}

/** `externalTrafficPolicy: Local` without an endpoint on this node: who asks from outside of the cluster gets no answer. */
function localOnlyElements(
  addresses: readonly string[],
  port: k8s.ServicePort & { protocol: Transport },
  family: 4 | 6,
): Wanted[] {
  const protocol = nftProtocol(port.protocol);
  const ports = port.nodePort
    ? [{ set: `local-only-ports${family}`, element: { key: nftKey(protocol, nftPort(port.nodePort)) } }]
    : [];
  const toAddress = (address: string) => ({
    set: `local-only${family}`,
    element: { key: nftKey(nftAddress(address), protocol, nftPort(port.port)) },
  });
  return [...addresses.filter((address) => address !== "127.0.0.1").map(toAddress), ...ports];
}

function ofFamily(addresses: readonly string[], family: 4 | 6): string[] {
  return addresses.filter(
    (address) => address !== "" && address !== "None" && address.includes(":") === (family === 6),
  );
}

function externalAddresses(
  service: ServiceLike,
  port: { readonly protocol: Transport; readonly port: number },
  family: 4 | 6,
  context: PlanContext,
): string[] {
  const assigned = loadBalancerAddresses(service);
  const loopback =
    assigned.length > 0 && family === 4 && context.localhostPorts?.has(portName(port)) ? ["127.0.0.1"] : [];
  return [
    ...new Set([...ofFamily(service.spec?.externalIPs ?? [], family), ...ofFamily(assigned, family), ...loopback]),
  ];
}

function loadBalancerAddresses(service: ServiceLike): string[] {
  if (service.spec?.type !== "LoadBalancer") return [];
  const ingress = (service.status?.loadBalancer?.ingress ?? []).filter((one) => one.ipMode !== "Proxy");
  return ingress.flatMap((one) => one.ip ?? []);
}

/** `loadBalancerSourceRanges`: who may use the load balancer's addresses from outside. What the node itself sends is not checked. */
function sourceRanges(service: ServiceLike, port: LocalhostPort, family: 4 | 6): Wanted[] {
  const ranges = service.spec?.loadBalancerSourceRanges ?? [];
  if (ranges.length === 0) return [];
  return ofFamily(loadBalancerAddresses(service), family).flatMap((address) => {
    const parts = [nftAddress(address), nftProtocol(port.protocol), nftPort(port.port)];
    return [
      { set: `restricted${family}`, element: { key: nftKey(...parts) } },
      ...ranges.flatMap((cidr) => {
        const range = parseCidr(cidr.trim());
        if (range.family !== family) return [];
        const { first, last } = cidrEnds(range);
        return [{ set: `sources${family}`, element: { key: nftKey(...parts, first), keyEnd: nftKey(...parts, last) } }];
      }),
    ];
  });
}

function cidrEnds({ bytes, prefixLength }: { bytes: Buffer; prefixLength: number }): { first: Buffer; last: Buffer } {
  const host = (index: number) => 0xff >> Math.min(8, Math.max(0, prefixLength - index * 8));
  return {
    first: Buffer.from(bytes.map((byte, index) => byte & ~host(index))),
    last: Buffer.from(bytes.map((byte, index) => byte | host(index))),
  };
}

/** The ports that a Service wants on localhost: those of a load balancer that has its address. */
export function localhostWishes(service: ServiceLike): LocalhostPort[] {
  if (loadBalancerAddresses(service).length === 0) return [];
  return (service.spec?.ports ?? []).map(({ protocol = "TCP", port }) => ({
    protocol: protocol.toLowerCase() as Transport,
    port,
  }));
}

/** What the Service's health-check node port says of this node; undefined for Services without one. */
export function healthCheckOf(
  service: Pick<k8s.Service, "metadata" | "spec">,
  slices: readonly SliceLike[],
  nodeName: string,
): HealthCheck | undefined {
  const { type, externalTrafficPolicy, healthCheckNodePort: port } = service.spec ?? {};
  if (type !== "LoadBalancer" || externalTrafficPolicy !== "Local" || !port) return undefined;
  const local = slices.flatMap((slice) =>
    (slice.endpoints ?? []).filter((one) => one.nodeName === nodeName && one.conditions?.ready !== false),
  );
  const { namespace = "", name = "" } = service.metadata ?? {};
  return {
    port,
    namespace,
    name,
    localEndpoints: new Set(local.map((one) => one.targetRef?.name ?? one.addresses[0])).size,
  };
}

/** The endpoints that are ready, and those that still serve while they terminate. */
function targets(port: k8s.ServicePort, family: 4 | 6, slices: readonly SliceLike[], nodeName: string): Target[] {
  const found = new Map<string, Target>();
  for (const slice of slices) {
    if (slice.addressType !== `IPv${family}`) continue;
    const number = slice.ports?.find(
      (one) => (one.name ?? "") === (port.name ?? "") && (one.protocol ?? "TCP").toLowerCase() === port.protocol,
    )?.port;
    if (number === undefined) continue;
    for (const { addresses, conditions = {}, nodeName: on, hints } of slice.endpoints ?? []) {
      const address = addresses[0];
      const ready = conditions.ready !== false;
      if (!address || !(ready || (conditions.serving && conditions.terminating))) continue;
      const key = `${address} ${number}`;
      if (ready || !found.has(key)) found.set(key, { address, port: number, local: on === nodeName, ready, hints });
    }
  }
  return [...found].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, target]) => target);
}

/**
 * Those that take traffic: the ready ones, or when there are none, the terminating ones
 * (https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions).
 */
function serving(found: readonly Target[]): readonly Target[] {
  const ready = found.filter((target) => target.ready);
  return ready.length > 0 ? ready : found;
}

function planAddress(
  address: string,
  family: 4 | 6,
  port: k8s.ServicePort & { protocol: Transport },
  from: readonly Target[],
  sticky: number | undefined,
): Wanted[] {
  const parts = [nftAddress(address), nftProtocol(port.protocol), nftPort(port.port)];
  return pickElements(
    parts,
    { empty: `empty${family}`, verdicts: `services${family}`, prefix: "", family },
    from,
    sticky,
  );
}

function planNodePort(
  nodePort: number,
  family: 4 | 6,
  protocol: Transport,
  from: readonly Target[],
  sticky: number | undefined,
): Wanted[] {
  const parts = [nftProtocol(protocol), nftPort(nodePort)];
  const sets = { empty: `empty-ports${family}`, verdicts: `ports${family}`, prefix: "port-", family } as const;
  return pickElements(parts, sets, from, sticky);
}

interface SetNames {
  readonly empty: string;
  readonly verdicts: string;
  /** Of the other sets: `port-` for ports of the node. */
  readonly prefix: "" | "port-";
  readonly family: 4 | 6;
}

/** The way from an address and port to one of the endpoints: to a chain that picks a slot, and from slot to endpoint. */
function pickElements(
  parts: readonly Buffer[],
  sets: SetNames,
  from: readonly Target[],
  stickySeconds: number | undefined,
): Wanted[] {
  const { prefix, family } = sets;
  if (from.length === 0) return [{ set: sets.empty, element: { key: nftKey(...parts) } }];
  const slots = slotCount(from.length);
  const sticky = stickySeconds !== undefined;
  const chain = pickChainName(slots, { sticky, nodePort: prefix !== "" });
  const slotKey = (slot: number) => nftKey(...parts, nftNumber(slot));
  return [
    { set: sets.verdicts, element: { key: nftKey(...parts), verdict: { kind: "goto", chain } } },
    ...(sticky ? rememberElements(parts, sets, from, stickySeconds) : []),
    ...Array.from({ length: slots }, (_, slot) => {
      const target = from[slot % from.length]!;
      return sticky
        ? { set: `${prefix}slots${family}`, element: { key: slotKey(slot), value: identity(target) } }
        : {
            set: `${prefix}endpoints${family}`,
            element: { key: slotKey(slot), value: destination(target) },
            ...udpTarget(parts, target),
          };
    }),
  ];
}

/** What a Service with affinity needs besides: for how long clients are remembered, and which endpoint a remembered number is. */
function rememberElements(
  parts: readonly Buffer[],
  { prefix, family }: SetNames,
  from: readonly Target[],
  seconds: number,
): Wanted[] {
  const chain = rememberChainName(seconds);
  return [
    { set: `${prefix}remember${family}`, element: { key: nftKey(...parts), verdict: { kind: "jump", chain } } },
    ...from.map((target) => ({
      set: `${prefix}identified${family}`,
      element: { key: nftKey(...parts, identity(target)), value: destination(target) },
      ...udpTarget(parts, target),
    })),
  ];
}

/** The protocol stands before the port, which is last. */
function udpTarget(parts: readonly Buffer[], { address, port }: Target): { udpTarget?: string } {
  return parts.at(-2)?.[0] === PROTOCOLS.udp ? { udpTarget: `${address} ${port}` } : {};
}

function destination(target: Target): Buffer {
  return nftKey(nftAddress(target.address), nftPort(target.port));
}

/** A number that stays an endpoint's own while others come and go. Two of 4,096 share one by a chance of 1 in 500, and then a client might change over. */
function identity(target: Target): Buffer {
  return createHash("sha256").update(`${target.address} ${target.port}`).digest().subarray(0, 4);
}
